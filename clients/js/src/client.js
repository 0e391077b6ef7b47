// What an application holds: one client for each user and page.

import { backoff } from "./backoff.js";
import { Connection } from "./connection.js";
import { Delivery } from "./delivery.js";
import { Emitter } from "./emitter.js";
import { Fault, call } from "./http.js";
import { Tabs } from "./tabs.js";
import { TokenKeeper, claimsOf } from "./token.js";

/** Claims that differ between two tokens of one user. */
const FLEETING = new Set(["exp", "iat", "nbf", "jti"]);

/** @type {import("./types.js").ConnectionState} */
const STOPPED = {
  state: "stopped", reason: "not connected", transport: null, retryAt: null, status: null, userId: null, leader: false,
};

const inBrowser = () => typeof document !== "undefined" && typeof BroadcastChannel !== "undefined";

/** @typedef {import("./types.js").Client} Client */

/** @implements {Client} */
export class NotifydClient {
  /** @type {Emitter<import("./types.js").ClientEvents>} */
  #emitter = new Emitter();
  #delivery = new Delivery(this.#emitter);
  #state = STOPPED;
  /** @type {Tabs | null} */
  #tabs = null;
  #run = 0; // connects and disconnects so far
  #waking = new AbortController();
  #options;
  #base;
  #keeper;
  #transport;

  /** @param {import("./types.js").ClientOptions} [options] */
  constructor(options = {}) {
    this.#options = options;
    this.#base = new URL(options.url ?? globalThis.location?.origin);
    this.#keeper = new TokenKeeper(options.getToken);
    this.#transport = options.transport ?? "auto";
  }

  get state() { return this.#state; }
  get cursor() { return this.#delivery.cursor; }
  get transport() { return this.#transport; }

  /**
   * @template {keyof import("./types.js").ClientEvents & string} Name
   * @param {Name} name
   * @param {(detail: import("./types.js").ClientEvents[Name], how: import("./types.js").Arrival) => void} handler
   * @returns {() => void} ends it
   */
  on(name, handler) { return this.#emitter.on(name, handler); }

  /** @param {import("./types.js").Cursor | null} [cursor] */
  connect(cursor = null) {
    this.#end();
    this.#delivery.cursor = cursor ?? this.#delivery.cursor;
    this.#become({ ...STOPPED, state: "connecting", reason: null });
    this.#waking = new AbortController();
    this.#listen(this.#waking.signal);
    this.#start(0);
  }

  disconnect(reason = "disconnected") {
    this.#end();
    this.#become({ ...STOPPED, reason });
  }

  retryNow() { this.#tabs?.retry(); }

  /** @param {import("./types.js").Transport} transport */
  setTransport(transport) {
    if (transport === this.#transport) return;
    this.#transport = transport;
    this.#tabs?.use(transport);
  }

  /** @param {import("./types.js").Cursor} [upTo] */
  async ack(upTo = this.cursor ?? undefined) {
    if (upTo === undefined) return;
    const data = { up_to: upTo };
    if (this.send({ type: "ack", data })) return;
    const body = { ...data, connection_id: this.#tabs?.connection?.id };
    await this.call("/v1/notifications/ack", { method: "POST", body });
  }

  /** @param {import("./messages.js").MarkState} state @param {import("./types.js").MarkTarget} what */
  async mark(state, { ids, upTo }) {
    const body = ids ? { state, notification_ids: ids } : { state, up_to: upTo };
    await this.call("/v1/notifications/mark", { method: "POST", body });
  }

  /** @param {import("./messages.js").ClientMessage} message */
  send(message) { return this.#tabs?.connection?.say(message) ?? false; }

  /** @param {string} path @param {{method?: string, body?: unknown}} [how] */
  async call(path, how = {}) {
    const url = new URL(path, this.#base);
    try {
      return await call(url, { ...how, token: await this.#keeper.get() });
    } catch (fault) {
      if (!this.#options.getToken || !(fault instanceof Fault) || fault.status !== 401 || fault.stop) throw fault;
      return call(url, { ...how, token: await this.#keeper.get({ refresh: true }) });
    }
  }

  // --- inside ---------------------------------------------------------------------------------------------

  /** @param {number} attempt */
  async #start(attempt) {
    const run = this.#run;
    try {
      const name = await this.#shareName();
      if (run !== this.#run) return;
      this.#tabs = new Tabs({
        name,
        delivery: this.#delivery,
        connect: (sink) => new Connection({
          base: this.#base, keeper: this.#keeper, ack: (upTo) => this.ack(upTo), sink, transport: this.#transport,
          WebSocket: this.#options.WebSocket ?? globalThis.WebSocket,
        }),
        out: {
          state: (state) => this.#become(state),
          event: (event, detail) => this.#emitter.emit(event, detail),
        },
      });
      this.#tabs.start();
    } catch (error) {
      if (run === this.#run) this.#failed(/** @type {Fault} */ (error), attempt);
    }
  }

  /** No token, so no name to share the connection by. @param {Fault} fault @param {number} attempt */
  #failed(fault, attempt) {
    const { message: reason, status } = fault;
    if (fault.stop) {
      this.#end();
      return this.#become({ ...STOPPED, reason, status });
    }
    const run = this.#run;
    const ms = backoff(attempt, Math.random);
    setTimeout(() => { if (run === this.#run) this.#start(attempt + 1); }, ms);
    return this.#become({ ...STOPPED, state: "waiting", reason, retryAt: Date.now() + ms });
  }

  /** By which tabs of the same user find each other; null for one that stays alone, as without Web Locks (plain http). */
  async #shareName() {
    const { share = true, getToken } = this.#options;
    if (share === false || !inBrowser() || !navigator.locks) return null;
    const where = `notifyd ${this.#base.origin}`;
    if (typeof share === "string") return `${where} ${share}`;
    if (!getToken) return where;
    const claims = claimsOf(await this.#keeper.get());
    if (claims === null) return null;
    return `${where} ${JSON.stringify(Object.entries(claims).filter(([name]) => !FLEETING.has(name)).sort())}`;
  }

  #end() {
    this.#run += 1;
    this.#waking.abort();
    this.#tabs?.stop();
    this.#tabs = null;
  }

  /** @param {import("./types.js").ConnectionState} state */
  #become(state) {
    this.#state = state;
    this.#emitter.emit("state", state);
  }

  /** The world outside, as long as `signal` lets it. @param {AbortSignal} signal */
  #listen(signal) {
    if (!inBrowser()) return;
    addEventListener("online", () => this.#tabs?.wake("online"), { signal });
    addEventListener("offline", () => this.#tabs?.wake("offline"), { signal });
    const visible = () => { if (!document.hidden) this.#tabs?.wake("visible"); };
    document.addEventListener("visibilitychange", visible, { signal });
    document.addEventListener("resume", visible, { signal });
    // The browser's cache takes no page with an open connection or a lock, and a closed one hands both on.
    addEventListener("pagehide", () => this.#tabs?.stop(), { signal });
    addEventListener("pageshow", ({ persisted }) => { if (persisted) this.connect(); }, { signal });
  }
}

/**
 * A client that is not connected yet.
 * @param {import("./types.js").ClientOptions} [options]
 * @returns {import("./types.js").Client}
 */
export const createClient = (options) => new NotifydClient(options);
