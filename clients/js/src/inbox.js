// A user's list: GET /v1/notifications joined with the live stream at its cursor, so that nothing is missed between
// the two. An immutable snapshot for each change, as React's useSyncExternalStore wants it.

import { Fault, backoff, notAfter } from "./index.js";

const PAGE = 30;
const ROOM = 500;
const RANK = Object.freeze({ unread: 0, seen: 1, read: 2, archived: 3, withdrawn: 4 });

/**
 * @typedef {import("./types.js").Notification} Notification
 * @typedef {{notifications: readonly Notification[], unread: number, hasMore: boolean, loading: boolean,
 *   error: Error | null}} Snapshot  newest first
 */

/** @param {{state: import("./types.js").State}} notification */
const isUnread = ({ state }) => RANK[state] < RANK.read;

/** @type {Snapshot} */
export const NOTHING = Object.freeze({ notifications: [], unread: 0, hasMore: false, loading: true, error: null });

class Inbox {
  #snapshot = NOTHING;
  /** @type {Set<() => void>} */
  #listeners = new Set();
  /** @type {(() => void)[]} */
  #ends = [];
  /** @type {import("./types.js").Entry[] | null} */
  #early = null; // what came while the list was read
  /** Where a stream began that is not known to go on: a list read before that may lack something. @type {string | null} */
  #began = null;
  #users = 0;
  /** @type {string | null} */
  #readAt = null;
  #run = 0;
  #client;
  #page;

  /** @param {import("./types.js").Client} client @param {{pageSize?: number}} [options] */
  constructor(client, { pageSize = PAGE } = {}) {
    this.#client = client;
    this.#page = pageSize;
  }

  get snapshot() { return this.#snapshot; }

  /** @param {() => void} listener @returns {() => void} ends it */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => { this.#listeners.delete(listener); };
  }

  /**
   * Read the list, and connect the client at its cursor unless it is connected already. As often as one likes: it
   * goes on until each start has had its stop.
   */
  start() {
    this.#users += 1;
    if (this.#users > 1) return;
    this.#ends.push(
      this.#client.on("entry", (message) => this.#entry(message)),
      this.#client.on("recovered", (recovery) => this.#streamBegan(recovery)),
    );
    this.#load(0);
  }

  stop() {
    this.#users -= 1;
    if (this.#users > 0) return;
    this.#run += 1;
    this.#early = null;
    for (const end of this.#ends.splice(0)) end();
  }

  /** Mark some as read, or all. Shown at once, and taken back when it fails. Rejects with Fault. @param {string[]} [ids] */
  async markRead(ids) {
    const { cursor } = this.#client;
    if (ids?.length === 0 || (!ids && cursor === null)) return;
    const meant = (/** @type {Notification} */ { data }) => !ids || ids.includes(data.notification_id);
    const raised = this.#snapshot.notifications.filter((each) => isUnread(each) && meant(each));
    this.#raise("read", meant, !ids);
    try {
      await this.#client.mark("read", ids ? { ids } : { upTo: /** @type {string} */ (cursor) });
    } catch (fault) {
      this.#takeBack(raised);
      throw fault;
    }
  }

  /** A page of older ones. Rejects with Fault. */
  async loadMore() {
    const oldest = this.#snapshot.notifications.at(-1);
    if (!oldest || !this.#snapshot.hasMore) return;
    const run = this.#run;
    const { notifications } = await this.#read(`&before=${encodeURIComponent(oldest.id)}`);
    if (run !== this.#run) return;
    const known = new Set(this.#snapshot.notifications.map(({ data }) => data.notification_id));
    const older = notifications.filter(({ data }) => !known.has(data.notification_id));
    this.#become({
      notifications: [...this.#snapshot.notifications, ...older], hasMore: notifications.length === this.#page,
    });
  }

  // --- inside ---------------------------------------------------------------------------------------------

  /** @param {string} more @returns {Promise<{notifications: Notification[], cursor: string, unread: number}>} */
  #read(more) {
    return this.#client.call(`/v1/notifications?limit=${this.#page}${more}`);
  }

  /** @param {import("./types.js").Recovery} recovery */
  #streamBegan({ recovered, reason, cursor }) {
    const fresh = reason === "no-cursor";
    if (!recovered) this.#began = cursor;
    const lacks = fresh ? !this.#early && !notAfter(cursor, this.#readAt) : !recovered;
    if (lacks || this.#snapshot.error) this.#load(0); // after an error, as at sign-in: what is shown is not the list
  }

  /** @param {number} attempt @returns {Promise<void>} */
  async #load(attempt) {
    const run = ++this.#run;
    this.#early = [];
    try {
      const { notifications, cursor, unread } = await this.#read("");
      if (run !== this.#run) return;
      this.#readAt = cursor;
      if (this.#began !== null && !notAfter(this.#began, cursor)) return this.#later(attempt);
      const early = this.#early.filter(({ id }) => !notAfter(id, cursor));
      this.#early = null;
      this.#become({ notifications, unread, hasMore: notifications.length === this.#page, loading: false, error: null });
      if (this.#client.state.state === "stopped") this.#client.connect(cursor);
      for (const message of early) this.#entry(message);
    } catch (error) {
      if (run === this.#run) this.#again(/** @type {Error} */ (error), attempt);
    }
    return undefined;
  }

  /** @param {Error} error @param {number} attempt */
  #again(error, attempt) {
    this.#early = null;
    this.#become({ error, loading: false });
    if (error instanceof Fault && error.stop) return;
    this.#later(attempt);
  }

  /** @param {number} attempt */
  #later(attempt) {
    const run = this.#run;
    setTimeout(() => { if (run === this.#run) this.#load(attempt + 1); }, backoff(attempt, Math.random));
  }

  /** @param {import("./types.js").Entry} message */
  #entry(message) {
    if (this.#early) this.#early.push(message);
    else if (message.type === "notification-updated") this.#update(message.data);
    else if (!this.#snapshot.notifications.some(({ data }) => data.notification_id === message.data.notification_id)) {
      const { notifications, unread } = this.#snapshot;
      const full = notifications.length >= ROOM; // older ones can be asked for again
      this.#become({
        notifications: [{ ...message, state: "unread" }, ...notifications.slice(0, full ? -1 : undefined)],
        unread: unread + 1, hasMore: this.#snapshot.hasMore || full,
      });
    }
  }

  /** @param {import("./messages.js").NotificationUpdatedData} data */
  #update({ state, notification_ids: ids, up_to: upTo }) {
    const meant = ids
      ? (/** @type {Notification} */ { data }) => ids.includes(data.notification_id)
      : (/** @type {Notification} */ { id }) => notAfter(id, upTo);
    const found = this.#raise(state, meant, !ids && RANK[state] >= RANK.read);
    if (ids && found < ids.length) this.#recount(); // some are older than this list: only the server can say
  }

  /**
   * @param {import("./types.js").State} state
   * @param {(notification: Notification) => boolean} meant
   * @param {boolean} older whether that is also so of all that are not in this list
   * @returns {number} how many are meant
   */
  #raise(state, meant, older) {
    let { unread } = this.#snapshot;
    let found = 0;
    const notifications = this.#snapshot.notifications.map((each) => {
      if (!meant(each)) return each;
      found += 1;
      if (RANK[each.state] >= RANK[state]) return each;
      unread -= Number(isUnread(each) && RANK[state] >= RANK.read);
      return { ...each, state };
    }).filter((each) => each.state !== "withdrawn");
    if (older) unread = notifications.filter(isUnread).length;
    this.#become({ notifications, unread });
    return found;
  }

  /** What was marked in vain is as before, unless it is more than read by now. @param {Notification[]} raised */
  #takeBack(raised) {
    const states = new Map(raised.map(({ data, state }) => [data.notification_id, state]));
    const notifications = this.#snapshot.notifications.map((each) => (
      each.state === "read" ? { ...each, state: states.get(each.data.notification_id) ?? "read" } : each));
    this.#become({ notifications });
    this.#recount();
  }

  #recount() {
    const run = this.#run;
    this.#client.call("/v1/notifications?limit=1").then(({ unread }) => {
      if (run === this.#run) this.#become({ unread });
    }, () => {}); // the next list says it
  }

  /** @param {Partial<Snapshot>} changes */
  #become(changes) {
    this.#snapshot = { ...this.#snapshot, ...changes };
    for (const listener of [...this.#listeners]) listener();
  }
}

/**
 * The list of a client's user; `start()` begins.
 * @param {import("./types.js").Client} client
 * @param {{pageSize?: number}} [options]
 */
export const createInbox = (client, options) => new Inbox(client, options);
