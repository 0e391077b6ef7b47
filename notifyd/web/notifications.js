// The list of notifications, drawn from the inbox's changes.

import { $, busy, h, when } from "./dom.js";
import { ago, dropPercent, money, percent, priceBefore, reason } from "./format.js";
import { isUnread } from "./inbox.js";
import { failed } from "./toast.js";

const SAID_AFTER_MS = 1_000;
const TITLE = "notifyd";

function dealView(deal) {
  const before = priceBefore(deal);
  const drop = dropPercent(deal.best_price_in_cents, before);
  const name = deal.url && /^https?:/.test(deal.url)
    ? h("a", { href: deal.url, rel: "noopener noreferrer", target: "_blank" }, deal.item_name)
    : deal.item_name;
  return h("div", { class: "deal" },
    h("div", { class: "what" },
      h("h2", {}, name),
      h("p", { class: "where" }, deal.store_name),
      h("p", { class: "why" }, reason(deal))),
    h("div", { class: "price" },
      drop > 0 ? h("span", { class: "drop" }, `−${percent(drop)}`) : null,
      h("ins", {}, h("span", { class: "hidden" }, "now "), money(deal.best_price_in_cents, deal.currency)),
      before ? h("del", {}, h("span", { class: "hidden" }, "before "), money(before, deal.currency)) : null));
}

const textView = (title, text, kind) => h("div", { class: `text ${kind}` }, h("h2", {}, title), h("p", {}, text));

function contentView({ type, data }) {
  switch (type) {
    case "deal-notification":
      return [...data.deals.map(dealView), data.more_deals ? h("p", { class: "why" }, `and ${data.more_deals} more`) : null];
    case "system-message":
      return [textView(data.severity === "info" ? "Announcement" : `Announcement · ${data.severity}`, data.message, data.severity)];
    case "job-completed":
      return [textView(`${data.job_name}: ${data.status}`, data.message ?? "The job has ended.", "info")];
    default: {
      const { notification_id: _, ...rest } = data;
      return [textView(type, JSON.stringify(rest), "info")];
    }
  }
}

function inWords({ type, data }) {
  if (type !== "deal-notification") return data.message ?? type;
  return data.deals.map((deal) => `${deal.item_name} ${money(deal.best_price_in_cents, deal.currency)} at ${deal.store_name}`).join(", ");
}

export class NotificationList {
  #inbox;
  #mark;
  #views = new Map();
  #unsaid = [];

  /** `mark(state, {ids, upTo})` tells the server. */
  constructor(inbox, { mark, markAll, older }) {
    this.#inbox = inbox;
    this.#mark = mark;
    inbox.addEventListener("change", ({ detail }) => this.#draw(detail));
    $("mark-all").onclick = ({ currentTarget }) => busy(currentTarget, markAll, failed);
    $("older").onclick = ({ currentTarget }) => busy(currentTarget, older, failed);
    setInterval(() => this.#tick(), 15_000);
  }

  #draw({ reset, live, added, older, changed, gone }) {
    if (reset) this.#clear();
    const list = $("notifications");
    for (const item of reset ? added : older) list.append(this.#view(item));
    if (live) for (const item of added) this.#arrive(item);
    for (const item of changed) this.#redraw(item);
    for (const item of gone) this.#views.get(item.data.notification_id)?.remove();
    const { unread, size, complete } = this.#inbox;
    $("unread").replaceChildren(...(unread ? [String(unread), h("span", {}, " unread")] : size ? ["all read"] : []));
    $("unread").classList.toggle("none", unread === 0);
    $("mark-all").disabled = unread === 0;
    $("empty").hidden = size > 0;
    $("older").hidden = complete || size === 0;
    document.title = unread ? `(${unread}) ${TITLE}` : TITLE;
  }

  #clear() {
    this.#views.clear();
    $("notifications").replaceChildren();
  }

  #arrive(item) {
    const view = this.#view(item);
    view.classList.add("arriving");
    $("notifications").prepend(view);
    this.#unsaid.push(inWords(item));
    if (this.#unsaid.length === 1) setTimeout(() => this.#say(), SAID_AFTER_MS);
  }

  /** For screen readers: one sentence, however many arrived at once. */
  #say() {
    const [last] = this.#unsaid.slice(-1);
    const count = this.#unsaid.length;
    this.#unsaid = [];
    $("said").textContent = count === 1 ? `New: ${last}` : `${count} new notifications, the newest: ${last}`;
  }

  #view(item) {
    const id = item.data.notification_id;
    const kind = item.type === "deal-notification" ? "deals" : "message";
    const button = h("button", { type: "button", class: "quiet", onclick: () => this.#read(id, button) }, "Mark read");
    const view = h("li", { class: `card ${kind}`, "data-id": id, "data-cursor": item.id },
      contentView(item),
      h("footer", {}, when(item.timestamp), h("span", { class: "state" }), button));
    this.#views.set(id, view);
    this.#redraw(item);
    return view;
  }

  #redraw(item) {
    const view = this.#views.get(item.data.notification_id);
    if (!view) return;
    const unread = isUnread(item);
    view.dataset.state = item.state;
    const [state, button] = view.querySelectorAll("footer .state, footer button");
    state.textContent = unread ? "unread" : item.state;
    if (!unread && document.activeElement === button) this.#focusNext(view);
    button.hidden = !unread;
  }

  /** Whoever marks by keyboard stays in the list. */
  #focusNext(view) {
    let next = view.nextElementSibling;
    while (next && next.querySelector("footer button").hidden) next = next.nextElementSibling;
    (next?.querySelector("footer button") ?? $("inbox-title")).focus();
  }

  #read(id, button) {
    return busy(button, async () => {
      const back = this.#inbox.mark("read", [id]);
      try {
        await this.#mark("read", { ids: [id] });
      } catch (fault) {
        back();
        throw fault;
      }
    }, failed);
  }

  #tick() {
    for (const time of $("notifications").querySelectorAll("time")) time.textContent = ago(time.dateTime);
  }
}
