// One connection to the server: carries out what the machine says, with real timers, sockets and tokens.

import { Fault, call } from "./http.js";
import { Machine } from "./machine.js";
import { lifetimeOf } from "./token.js";
import { openEvents } from "./transport-sse.js";
import { openWebSocket } from "./transport-websocket.js";

const REVOKED = 4503;
const REMEMBERED = "notifyd.sse-until";

/** What this tab remembers of its network. */
const memory = {
  read() {
    try {
      return Number(globalThis.sessionStorage?.getItem(REMEMBERED)) || 0;
    } catch {
      return 0; // storage is forbidden here
    }
  },
  /** @param {number} until */
  write(until) {
    try {
      globalThis.sessionStorage?.setItem(REMEMBERED, String(until));
    } catch { /* it is only a shortcut */ }
  },
};

export class Connection {
  /** @type {import("./transport-websocket.js").Link | null} */
  #link = null;
  #generation = 0; // of the link; what an older one brings is not listened to
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  #timers = new Map();
  #machine;
  #base;
  #keeper;
  #ack;
  #sink;
  #WebSocket;

  /**
   * @param {{base: URL, keeper: import("./token.js").TokenKeeper, ack: (upTo: string) => Promise<void>,
   *   sink: import("./types.js").Sink, transport?: import("./types.js").Transport, WebSocket?: import("./types.js").WebSocketConstructor | undefined}} parts
   */
  constructor({ base, keeper, ack, sink, transport = "auto", WebSocket }) {
    const usable = WebSocket !== undefined || transport === "websocket";
    this.#machine = new Machine({ transport: usable ? transport : "sse", sseUntil: memory.read() });
    this.#base = base;
    this.#keeper = keeper;
    this.#ack = ack;
    this.#sink = sink;
    this.#WebSocket = WebSocket;
  }

  get cursor() { return this.#machine.cursor; }
  get state() { return this.#machine.state; }
  get id() { return this.#machine.connectionId || undefined; }

  /** @param {string | null} cursor */
  connect(cursor) { this.#run(this.#machine.connect(cursor, Date.now())); }

  /** @param {string} cursor */
  rewind(cursor) { this.#run(this.#machine.rewind(cursor, Date.now())); }

  disconnect() { this.#run(this.#machine.disconnect()); }

  /** @param {"online" | "offline" | "visible"} why */
  wake(why) { this.#run(this.#machine.wake(why, Date.now())); }

  retry() { this.#run(this.#machine.retry(Date.now())); }

  /** @param {import("./types.js").Transport} transport */
  use(transport) { this.#run(this.#machine.use(transport, Date.now())); }

  /** @param {import("./messages.js").ClientMessage} message */
  say(message) { return this.#machine.live && (this.#link?.say(message) ?? false); }

  /** @param {import("./machine.js").Effect[]} effects */
  #run(effects) {
    for (const effect of effects) this.#carryOut(effect);
  }

  /** @param {import("./machine.js").Effect} effect */
  #carryOut(effect) {
    switch (effect.do) {
      case "open": this.#open(effect); break;
      case "close": this.#close(); break;
      case "timer": this.#after(effect.name, effect.ms); break;
      case "say": this.#link?.say(effect.message); break;
      case "state": this.#sink.state(this.#machine.state); break;
      case "remember": memory.write(effect.sseUntil); break;
      case "ack": this.#ack(effect.upTo).catch(() => {}); break; // the next one says the same and more
      case "renew": this.#renew(); break;
      case "tell": this.#tell(effect); break;
    }
  }

  /** @param {Extract<import("./machine.js").Effect, {do: "tell"}>} effect */
  #tell({ event, detail, prev = null }) {
    switch (event) {
      case "entry": return this.#sink.entry(detail, prev);
      case "position": return this.#sink.position(detail, prev);
      default: return this.#sink[event](detail);
    }
  }

  /** @param {Extract<import("./machine.js").Effect, {do: "open"}>} how */
  async #open({ kind, cursor, refresh }) {
    const generation = ++this.#generation;
    const current = () => generation === this.#generation;
    const ears = {
      /** @param {string} text */
      heard: (text) => { if (current()) this.#run(this.#machine.heard(JSON.parse(text), Date.now())); },
      /** @param {Fault} fault */
      ended: (fault) => {
        if (!current()) return;
        if (fault.code === REVOKED) this.#keeper.expire(); // or the next connect would bring it again
        this.#run(this.#machine.ended(fault, Date.now()));
      },
    };
    try {
      const token = await this.#keeper.get({ refresh });
      if (!current()) return;
      this.#run(this.#machine.dialling());
      const to = { base: this.#base, token, cursor };
      this.#link = kind === "sse" ? openEvents(to, ears) : openWebSocket({ ...to, WebSocket: this.#webSocket() }, ears);
    } catch (error) {
      ears.ended(error instanceof Fault ? error : new Fault(String(error), { stop: true }));
    }
  }

  #webSocket() {
    if (!this.#WebSocket) throw new Fault("there is no WebSocket here: give one as `WebSocket`", { stop: true });
    return this.#WebSocket;
  }

  #close() {
    this.#generation += 1;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#link?.close();
    this.#link = null;
  }

  /** A fresh token for the live connection, before the old one ends. */
  async #renew() {
    const generation = this.#generation;
    try {
      const token = await this.#keeper.get({ refresh: true });
      if (generation !== this.#generation || token === null) return;
      if (!this.say({ type: "auth", data: { token } })) {
        const body = { connection_id: this.#machine.connectionId, token };
        await call(new URL("/v1/auth", this.#base), { method: "POST", token, body });
      }
      if (generation === this.#generation) this.#run(this.#machine.tokenEnds(lifetimeOf(token, Date.now())));
    } catch { /* the close code will say what follows */ }
  }

  /** @param {string} name @param {number} ms */
  #after(name, ms) {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
    if (ms < 0) return;
    this.#timers.set(name, setTimeout(() => {
      this.#timers.delete(name);
      this.#run(this.#machine.fired(/** @type {import("./machine.js").Timer} */ (name), Date.now()));
    }, ms));
  }
}
