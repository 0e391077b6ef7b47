// One user as an operator sees them: found by how the id begins, with connections, inbox and watches.

import { $, busy, h, when } from "./dom.js";
import { TRANSPORTS, ruleWords } from "./format.js";
import { failed, toast } from "./toast.js";

const PAGE = 20;

const query = (values) => new URLSearchParams(Object.entries(values).filter(([, value]) => value)).toString();
const counted = (count, one) => `${count} ${one}${count === 1 ? "" : "s"}`;

function connectionLine(each) {
  const tag = { live: ["live", "live"], "catching-up": ["late", "catching up"], ended: ["", "ended"] }[each.state];
  const about = each.state === "ended"
    ? ["from ", each.connected_at && when(each.connected_at), each.closed_at ? h("span", {}, " to ", when(each.closed_at)) : null,
      `, closed with ${each.close_code ?? "nothing known"}${each.close_reason ? `: ${each.close_reason}` : ""}`]
    : [each.connected_at ? "since " : "just now", each.connected_at && when(each.connected_at),
      `, at ${each.cursor}`, each.queued_bytes ? `, ${each.queued_bytes} bytes wait` : ""];
  return h("li", {},
    h("strong", {}, TRANSPORTS[each.transport], h("span", { class: `tag ${tag[0]}` }, tag[1])),
    h("p", {}, about));
}

export function inWords({ type, data }) {
  if (type === "deal-notification") return data.deals.map((deal) => `${deal.item_name} at ${deal.store_name}`).join(", ");
  return data.message ?? data.job_name ?? JSON.stringify({ ...data, notification_id: undefined });
}

export class UserView {
  #ask;
  #ledger;
  #userId = null;
  #open = 0; // connections

  constructor(ask, ledger) {
    this.#ask = ask;
    this.#ledger = ledger;
    $("find-form").onsubmit = (event) => this.#on(event, () => this.#find($("find").value));
    $("again").onclick = ({ currentTarget }) => busy(currentTarget, () => this.#read(), failed);
    $("disconnect").onclick = () => this.#confirm();
    $("confirm").onclose = () => {
      if ($("confirm").returnValue === "yes") busy($("disconnect"), () => this.#disconnect(), failed);
    };
    $("test-form").onsubmit = (event) => this.#on(event, () => this.#test());
    $("older").onclick = ({ currentTarget }) => busy(currentTarget, () => this.#readInbox(currentTarget.dataset.before), failed);
    $("more-watches").onclick = ({ currentTarget }) => busy(currentTarget, () => this.#readWatches(currentTarget.dataset.after), failed);
  }

  #on(event, action) {
    event.preventDefault();
    return busy(event.submitter ?? event.currentTarget, action, failed);
  }

  async #find(text) {
    const search = text.trim();
    const { users } = await this.#ask(`/v1/inspect/users?${query({ search })}`);
    const known = users.some((user) => user.user_id === search);
    $("found").replaceChildren(...users.map((user) => this.#foundButton(user.user_id, counted(user.connections, "connection"))));
    if (search && !known) $("found").append(this.#foundButton(search, "not known here"));
    $("none-found").textContent = users.length ? "" : search ? `Nobody whose id begins with ${search} was ever seen here.` : "Nobody was ever seen here.";
    if (known && users.length === 1) await this.choose(search);
  }

  #foundButton(userId, about) {
    const button = h("button", {
      type: "button", "aria-pressed": String(userId === this.#userId), "data-user": userId,
      onclick: () => busy(button, () => this.choose(userId), failed),
    }, userId, " ", h("small", {}, about));
    return h("li", {}, button);
  }

  async choose(userId) {
    this.#userId = userId;
    for (const button of $("found").querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset.user === userId));
    }
    $("user-name").textContent = userId;
    $("trace-user").value = userId;
    await this.#read();
    $("user").hidden = false;
    $("user-name").focus();
  }

  /** What was asked for one user is not shown for another who was chosen meanwhile. */
  async #read() {
    await Promise.all([this.#readConnections(), this.#readInbox(), this.#readWatches()]);
  }

  async #about(path, more = {}) {
    const userId = this.#userId;
    const answer = await this.#ask(`/v1/inspect/${path}?${query({ user_id: userId, ...more })}`);
    return userId === this.#userId ? answer : null;
  }

  async #readConnections() {
    const answer = await this.#about("connections");
    if (!answer) return;
    this.#open = answer.connections.filter((each) => each.state !== "ended").length;
    $("connections").replaceChildren(...answer.connections.map(connectionLine));
    $("disconnect").disabled = this.#open === 0;
  }

  async #readInbox(before) {
    const answer = await this.#about("notifications", { before, limit: PAGE });
    if (!answer) return;
    const { notifications, unread } = answer;
    const lines = notifications.map((item) => this.#inboxLine(item));
    if (before) $("inbox").append(...lines);
    else $("inbox").replaceChildren(...lines);
    $("unread").textContent = unread ? `${unread} unread` : "";
    $("older").hidden = notifications.length < PAGE;
    $("older").dataset.before = notifications.at(-1)?.id ?? "";
  }

  #inboxLine(item) {
    const id = item.data.notification_id;
    const button = h("button", {
      type: "button", class: "quiet", "aria-label": `Ledger of “${inWords(item)}”`,
      onclick: () => busy(button, () => this.#ledger.trace(this.#userId, id), failed),
    }, "Ledger");
    return h("li", { "data-id": id }, h("strong", {}, inWords(item)),
      h("p", {}, `${item.type}, ${item.state}, `, when(item.timestamp)), button);
  }

  async #readWatches(after) {
    const answer = await this.#about("watches", { after, limit: PAGE });
    if (!answer) return;
    const lines = answer.watches.map((watch) => this.#watchLine(watch));
    if (after) $("watches").append(...lines);
    else $("watches").replaceChildren(...lines);
    $("more-watches").hidden = answer.watches.length < PAGE;
    $("more-watches").dataset.after = answer.watches.at(-1)?.watch_id ?? "";
  }

  #watchLine(watch) {
    const name = watch.search === null ? watch.item_name ?? watch.item_id : `“${watch.search}”`;
    const button = h("button", {
      type: "button", class: "quiet", "aria-label": `Explain the watch ${watch.watch_id}`,
      onclick: () => busy(button, () => this.#ledger.explain(this.#userId, watch.watch_id), failed),
    }, "Explain");
    return h("li", {}, h("strong", {}, name),
      h("p", {}, `${ruleWords(watch.rule, watch.rule.currency ?? "USD")}, as ${watch.watch_id}`), button);
  }

  #confirm() {
    $("confirm-text").textContent = `Close ${counted(this.#open, "connection")} of ${this.#userId}? A page on WebSocket stays disconnected until it is loaded again; one on SSE comes back by itself.`;
    $("confirm-yes").textContent = "Disconnect";
    $("confirm").returnValue = "no";
    $("confirm").showModal();
  }

  async #disconnect() {
    const path = `/v1/users/${encodeURIComponent(this.#userId)}/disconnect`;
    const { closed } = await this.#ask(path, { method: "POST" });
    toast(`${counted(closed, "connection")} closed.`);
    await this.#readConnections();
  }

  async #test() {
    const path = `/v1/users/${encodeURIComponent(this.#userId)}/test`;
    const body = { message: $("test").value };
    const { notification_id: id, live_connections: live } = await this.#ask(path, { method: "POST", body });
    toast(`Stored. ${live ? `${counted(live, "connection")} will show it.` : "The user is not connected and will find it later."}`);
    await this.#readInbox();
    await this.#ledger.follow(this.#userId, id);
  }
}
