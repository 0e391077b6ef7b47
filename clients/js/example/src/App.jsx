// A header with the Live indicator and the bell, the list below, toasts above all.

import { useState } from "react";
import { useAlert, useNotifications, useWebSocket } from "@notifyd/client/react";
import { Bell } from "./Bell.jsx";
import { Notification } from "./Notification.jsx";
import { Toasts, useToasts } from "./Toasts.jsx";

function Live() {
  const { isConnected, isConnecting, error } = useWebSocket({ autoConnect: true });
  const [mood, text] = isConnected ? ["live", "Live"] : isConnecting ? ["wait", "Connecting"] : ["off", "Offline"];
  return <p className={`live ${mood}`} role="status" title={error ?? undefined}>{text}</p>;
}

/** @param {import("@notifyd/client/react").Alerted} notification */
function words(notification) {
  switch (notification.type) {
    case "deal-notification": {
      const count = notification.data.deals.length + (notification.data.more_deals ?? 0);
      return `${count} new ${count === 1 ? "deal" : "deals"} found!`;
    }
    case "job-completed": return `${notification.data.job_name}: ${notification.data.status}`;
    case "system-message": return notification.data.message;
    default: return notification.type;
  }
}

export function App() {
  const { notifications, unread, hasMore, loading, error, markRead, markAllRead, loadMore } = useNotifications();
  const [open, setOpen] = useState(true);
  const [toasts, show, hide] = useToasts();
  useAlert((notification) => show(words(notification)));
  const failed = (/** @type {Error} */ fault) => show(fault.message);
  return (
    <>
      <header>
        <h1>Deals</h1>
        <Live />
        <Bell unread={unread} open={open} toggle={() => setOpen(!open)} />
      </header>
      <main id="inbox" hidden={!open}>
        <div className="bar">
          <h2>Notifications</h2>
          <button type="button" disabled={unread === 0} onClick={() => markAllRead().catch(failed)}>Mark all read</button>
        </div>
        {error && <p role="alert">{error.message}</p>}
        {!loading && notifications.length === 0 && <p>Nothing yet.</p>}
        <ul aria-label="Notifications">
          {notifications.map((each) => (
            <Notification key={each.id} notification={each} read={() => markRead(each.data.notification_id).catch(failed)} />
          ))}
        </ul>
        {hasMore && <button type="button" onClick={() => loadMore().catch(failed)}>Older ones</button>}
      </main>
      <Toasts toasts={toasts} hide={hide} />
    </>
  );
}
