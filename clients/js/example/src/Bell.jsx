/** @param {{unread: number, open: boolean, toggle: () => void}} props */
export function Bell({ unread, open, toggle }) {
  return (
    <button type="button" className="bell" aria-expanded={open} aria-controls="inbox" onClick={toggle}
      aria-label={unread === 0 ? "Notifications, all read" : `Notifications, ${unread} unread`}>
      <svg viewBox="0 0 24 24" width="24" height="24" aria-hidden="true">
        <path fill="currentColor" d="M12 22a2.5 2.5 0 0 0 2.4-2H9.6A2.5 2.5 0 0 0 12 22Zm7-6v-5a7 7 0 0 0-5.5-6.8V3.5a1.5 1.5 0 0 0-3 0v.7A7 7 0 0 0 5 11v5l-2 2v1h18v-1Z" />
      </svg>
      {unread > 0 && <span className="badge" aria-hidden="true">{unread > 99 ? "99+" : unread}</span>}
    </button>
  );
}
