// One connection for all tabs. The leading tab has it and tells the others, each of which knows where it is in
// the log: an entry comes with the place before it, so a tab that has missed something sees that and asks. The
// leader answers from what it told last, or lets the server replay from there.

import { notAfter } from "./cursor.js";
import { elect } from "./election.js";

const TOLD = 500; // entries kept for tabs that come late
const TICK_MS = 600; // how often a visible tab asks whether the leader is there: it is taken over after two in vain
const JOIN_EVERY_MS = 200;
const SEEN_MS = 2_000;
const ALERT_MS = 60_000; // older entries come without a toast

/**
 * @typedef {{kind: "entry", message: import("./types.js").Entry, prev: string | null, alert: string}
 *   | {kind: "position", cursor: string, prev: string | null}
 *   | {kind: "recovered", recovery: import("./types.js").Recovery}
 *   | {kind: "state", state: Omit<import("./types.js").ConnectionState, "leader">}
 *   | {kind: "event", name: "error" | "reconnect", detail: any}
 *   | {kind: "here"} | {kind: "lead"}} FromLeader
 * @typedef {{kind: "join", id: string, cursor: string | null}
 *   | {kind: "ask", id: string, rank: number}
 *   | {kind: "retry"}
 *   | {kind: "use", transport: import("./types.js").Transport}} ToLeader
 */

/** How much this tab is looked at. */
const rank = () => (document.hidden ? 0 : document.hasFocus() ? 2 : 1);

export class Tabs {
  #id = Math.random().toString(36).slice(2);
  #leading = false;
  #unanswered = 0;
  #joinedAt = 0;
  /** @type {Extract<FromLeader, {prev: string | null}>[]} */
  #told = [];
  /** Tabs that are looked at: id to [rank, when]. @type {Map<string, [number, number]>} */
  #looked = new Map();
  #ahead = 0; // the server's clock minus ours
  /** @type {BroadcastChannel | null} */
  #channel = null;
  /** @type {ReturnType<typeof elect> | null} */
  #election = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ticking;
  #name;
  #delivery;
  #connection;
  #out;

  /**
   * @param {{name: string | null, delivery: import("./delivery.js").Delivery,
   *   connect: (sink: import("./types.js").Sink) => import("./connection.js").Connection,
   *   out: {state(state: import("./types.js").ConnectionState): void, event(name: "error" | "reconnect", detail: any): void}}} parts
   *   `name` null: this tab alone
   */
  constructor({ name, delivery, connect, out }) {
    this.#name = name;
    this.#delivery = delivery;
    this.#out = out;
    this.#connection = connect({
      entry: (message, prev) => this.#tell({ kind: "entry", message, prev, alert: this.#alerted(message) }),
      position: (cursor, prev) => this.#tell({ kind: "position", cursor, prev }),
      established: (message) => {
        this.#ahead = Date.parse(message.timestamp) - Date.now();
        const { recovered, reason, cursor } = message.data;
        this.#told = [];
        this.#tell({ kind: "recovered", recovery: { recovered, reason, cursor } });
      },
      state: (state) => { if (this.#leading) this.#tell({ kind: "state", state }); },
      error: (detail) => this.#tell({ kind: "event", name: "error", detail }),
      reconnect: (detail) => this.#tell({ kind: "event", name: "reconnect", detail }),
    });
  }

  /** The connection when it is this tab's. */
  get connection() { return this.#leading ? this.#connection : null; }

  start() {
    if (this.#name !== null) {
      this.#channel = new BroadcastChannel(this.#name);
      this.#channel.onmessage = ({ data }) => this.#heard(data);
      this.#ticking = setInterval(() => this.#tick(), TICK_MS);
      this.#join();
    }
    this.#election = elect(this.#name, {
      won: () => this.#lead(),
      lost: () => this.#follow(),
    });
  }

  stop() {
    clearInterval(this.#ticking);
    this.#leading = false;
    this.#connection.disconnect();
    this.#election?.leave();
    this.#channel?.close();
    this.#election = this.#channel = null;
  }

  /** @param {"online" | "offline" | "visible"} why */
  wake(why) {
    if (this.#leading) this.#connection.wake(why);
    else if (this.#unanswered === 0) this.#tick(); // several events at once say no more than one
  }

  retry() {
    if (this.#leading) this.#connection.retry();
    else this.#post({ kind: "retry" });
  }

  /** @param {import("./types.js").Transport} transport */
  use(transport) {
    if (!this.#leading) this.#post({ kind: "use", transport });
    this.#connection.use(transport);
  }

  // --- leading --------------------------------------------------------------------------------------------

  #lead() {
    this.#leading = true;
    this.#told = [];
    this.#post({ kind: "lead" });
    this.#connection.connect(this.#delivery.cursor);
  }

  #follow() {
    this.#leading = false;
    this.#unanswered = this.#joinedAt = 0;
    this.#connection.disconnect();
    this.#join();
  }

  /** To this tab and all others. @param {FromLeader} message */
  #tell(message) {
    if (!this.#leading) return;
    this.#post(message);
    if (this.#channel && (message.kind === "entry" || message.kind === "position")) this.#told.push(message);
    if (this.#told.length > TOLD) this.#told.shift();
    this.#take(message);
  }

  /** Whose toast it is. @param {import("./types.js").Entry} message */
  #alerted(message) {
    const now = Date.now();
    if (message.type === "notification-updated" || now + this.#ahead - Date.parse(message.timestamp) > ALERT_MS) return "";
    let [best, most] = [this.#id, this.#name === null ? 0 : rank()];
    for (const [id, [value, at]] of this.#looked) {
      if (now - at > SEEN_MS) this.#looked.delete(id);
      else if (value > most) [best, most] = [id, value];
    }
    return best;
  }

  /**
   * What lies after `cursor`, once more, for the tab `to`.
   * @param {string | null} cursor @param {string} to
   */
  #serve(cursor, to) {
    this.#post({ kind: "state", state: this.#connection.state }, to);
    const { cursor: position } = this.#connection;
    if (position === null) return;
    const from = this.#told[0]?.prev ?? position;
    if (cursor === null) {
      this.#post({ kind: "recovered", recovery: { recovered: false, reason: "no-cursor", cursor: position } }, to);
    } else if (notAfter(from, cursor)) {
      const lacks = this.#told.filter((each) => !notAfter(each.kind === "entry" ? each.message.id : each.cursor, cursor));
      for (const each of lacks) this.#post(each, to);
    } else this.#connection.rewind(cursor); // the server replays; who has an entry is not given it again
  }

  // --- hearing of it ----------------------------------------------------------------------------------------

  /** @param {(FromLeader | ToLeader) & {to?: string}} message */
  #heard(message) {
    if (message.to !== undefined && message.to !== this.#id) return;
    switch (message.kind) {
      case "join": if (this.#leading) this.#serve(message.cursor, message.id); break;
      case "ask":
        if (!this.#leading) break;
        this.#looked.set(message.id, [message.rank, Date.now()]);
        this.#post({ kind: "here" });
        break;
      case "retry": if (this.#leading) this.#connection.retry(); break;
      case "use": this.#connection.use(message.transport); break;
      default:
        this.#unanswered = 0;
        if (!this.#leading) this.#take(message);
    }
  }

  /** @param {FromLeader} message */
  #take(message) {
    switch (message.kind) {
      case "entry": this.#expect(this.#delivery.entry(message.message, message.prev, message.alert === this.#id)); break;
      case "position": this.#expect(this.#delivery.position(message.cursor, message.prev)); break;
      case "recovered": this.#recovered(message.recovery); break;
      case "state": this.#out.state({ ...message.state, leader: this.#leading }); break;
      case "event": this.#out.event(message.name, message.detail); break;
      case "lead": this.#join(); break;
    }
  }

  /** @param {import("./types.js").Recovery} recovery */
  #recovered(recovery) {
    this.#delivery.recovered(recovery);
    this.#expect(notAfter(recovery.cursor, this.#delivery.cursor));
  }

  /** @param {boolean} complete false: this tab has missed something */
  #expect(complete) {
    const { cursor } = this.#delivery;
    if (complete) return;
    if (!this.#leading) this.#join();
    else if (cursor !== null) this.#connection.rewind(cursor);
  }

  #join() {
    if (this.#leading || Date.now() - this.#joinedAt < JOIN_EVERY_MS) return;
    this.#joinedAt = Date.now();
    this.#post({ kind: "join", id: this.#id, cursor: this.#delivery.cursor });
  }

  /** A tab that is looked at asks whether the leader is there, since that one may be frozen. */
  #tick() {
    if (this.#leading || this.#name === null || document.hidden) return;
    this.#unanswered += 1;
    if (this.#unanswered > 2) {
      this.#unanswered = 0;
      this.#election?.steal();
    } else this.#post({ kind: "ask", id: this.#id, rank: rank() });
  }

  /** @param {FromLeader | ToLeader} message @param {string} [to] one tab's id; to all when absent */
  #post(message, to) {
    this.#channel?.postMessage(to === undefined ? message : { ...message, to });
  }
}
