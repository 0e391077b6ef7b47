// What the user has been told: a list joined from GET /v1/notifications and the live entries after its cursor.
// No DOM in here; `change` events say what to draw.

import { notAfter } from "/client.js";

const ROOM = 200; // notifications kept in the page; older ones can be asked for again
const RANK = { unread: 0, seen: 1, read: 2, archived: 3, withdrawn: 4 };
export const isUnread = (item) => RANK[item.state] < RANK.read;

export class Inbox extends EventTarget {
  #items = new Map(); // notification_id → message with `state`, newest first when sorted by id
  #room = ROOM;
  unread = 0;
  complete = true; // nothing older is left on the server

  get size() { return this.#items.size; }
  get(id) { return this.#items.get(id); }

  /** Start anew with a page of the server's list, newest first. */
  load({ notifications, unread }, limit) {
    this.#items = new Map(notifications.map((item) => [item.data.notification_id, item]));
    this.unread = unread;
    this.complete = notifications.length < limit;
    this.#tell({ reset: true, added: notifications });
  }

  /** A page of older ones. */
  append({ notifications }, limit) {
    const added = notifications.filter((item) => !this.#items.has(item.data.notification_id));
    for (const item of added) this.#items.set(item.data.notification_id, item);
    this.complete = notifications.length < limit;
    this.#room += added.length;
    this.#tell({ older: added });
  }

  oldest() {
    return [...this.#items.values()].reduce((old, item) => (!old || notAfter(item.id, old.id) ? item : old), null);
  }

  /** An entry of the log. False when only the server can say how many are unread now. */
  entry(message) {
    if (message.type === "notification-updated") return this.#update(message.data);
    const id = message.data.notification_id;
    if (this.#items.has(id)) return true;
    const item = { ...message, state: "unread" };
    this.#items.set(id, item);
    this.unread += 1;
    this.#tell({ added: [item], live: true, gone: this.#excess() });
    return true;
  }

  #excess() {
    if (this.#items.size <= this.#room) return [];
    const item = this.oldest();
    this.#items.delete(item.data.notification_id);
    this.complete = false;
    return [item];
  }

  /** Raise states at once, before the server's own entry says the same. Gives a function that takes it back. */
  mark(state, ids) {
    const before = ids.map((id) => this.#items.get(id)).filter(Boolean);
    this.#raise(before, state);
    return () => {
      for (const item of before) this.#set(item.data.notification_id, item.state);
      this.#tell({ changed: before.map((item) => this.#items.get(item.data.notification_id)).filter(Boolean) });
    };
  }

  #update({ state, notification_ids: ids, up_to: upTo }) {
    const meant = [...this.#items.values()].filter((item) =>
      ids ? ids.includes(item.data.notification_id) : notAfter(item.id, upTo));
    this.#raise(meant, state);
    if (upTo === undefined) return meant.length === ids.length;
    if (RANK[state] >= RANK.read) {
      this.unread = [...this.#items.values()].filter((item) => isUnread(item) && !notAfter(item.id, upTo)).length;
      this.#tell({});
    }
    return true;
  }

  #raise(items, state) {
    const meant = items.filter((item) => RANK[item.state] < RANK[state]);
    for (const item of meant) this.#set(item.data.notification_id, state);
    const [gone, changed] = state === "withdrawn" ? [meant, []] : [[], meant];
    for (const item of gone) this.#items.delete(item.data.notification_id);
    if (meant.length > 0) {
      this.#tell({ gone, changed: changed.map((item) => this.#items.get(item.data.notification_id)) });
    }
  }

  #set(id, state) {
    const item = this.#items.get(id);
    if (!item) return;
    const next = { ...item, state };
    this.unread += Number(isUnread(next)) - Number(isUnread(item));
    this.#items.set(id, next);
  }

  #tell({ reset = false, live = false, added = [], older = [], changed = [], gone = [] }) {
    this.dispatchEvent(new CustomEvent("change", { detail: { reset, live, added, older, changed, gone } }));
  }
}
