/** @param {number} cents @param {string} [currency] */
function money(cents, currency = "USD") {
  const format = new Intl.NumberFormat(undefined, { style: "currency", currency });
  return format.format(cents / 10 ** (format.resolvedOptions().maximumFractionDigits ?? 2));
}

/** @param {{deal: import("@notifyd/client").Deal}} props */
function Deal({ deal }) {
  return (
    <p className="deal">
      <strong>{deal.item_name}</strong>
      <span>{deal.store_name}</span>
      <ins>{money(deal.best_price_in_cents, deal.currency)}</ins>
      {deal.old_price_in_cents && <del>{money(deal.old_price_in_cents, deal.currency)}</del>}
    </p>
  );
}

/** @param {{notification: import("@notifyd/client").Notification}} props */
function Content({ notification }) {
  switch (notification.type) {
    case "deal-notification": return notification.data.deals.map((deal, nr) => <Deal key={nr} deal={deal} />);
    case "system-message": return <p>{notification.data.message}</p>;
    case "job-completed": return <p>{notification.data.job_name}: {notification.data.message ?? notification.data.status}</p>;
    default: return <p>{notification.type}</p>;
  }
}

/** @param {{notification: import("@notifyd/client").Notification, read: () => void}} props */
export function Notification({ notification, read }) {
  const unread = notification.state === "unread" || notification.state === "seen";
  return (
    <li className={unread ? "unread" : ""} data-id={notification.data.notification_id}>
      <Content notification={notification} />
      <footer>
        <time dateTime={notification.timestamp}>{new Date(notification.timestamp).toLocaleTimeString()}</time>
        {unread ? <button type="button" onClick={read}>Mark read</button> : <span>{notification.state}</span>}
      </footer>
    </li>
  );
}
