// The life of one connection as a state machine: no I/O, no clock. Each method takes what happened and gives
// the effects to carry out, in order; connection.js does that.
//
//   stopped ──connect──► connecting ──connection-established──► live
//                          ▲   │ended, silence                   │ended, silence
//                          └───┴───────────── waiting ◄──────────┘        (any) ──disconnect, refusal──► stopped

import { backoff } from "./backoff.js";
import { CLOSE_CODES, shouldReconnect } from "./codes.js";
import { notAfter } from "./cursor.js";
import { Fault } from "./http.js";

/** Milliseconds to the first message: a proxy that swallows or buffers a WebSocket is left after the first. */
export const FIRST_MESSAGE_MS = Object.freeze({ websocket: 3_000, sse: 8_000 });
const SILENCE_MARGIN_MS = 10_000;
const PROBE_MS = 4_000;
const STEADY_MS = 5_000; // live this long, the backoff starts anew
const WEBSOCKET_AGAIN_MS = 300_000; // how long SSE is preferred after the WebSocket did not work
const ACK_WITHIN_MS = 1_000;
const WAKE_EVERY_MS = 1_000;
const MAX_TIMER_MS = 2 ** 31 - 1; // a longer one fires at once
const MAX_WAIT_MS = 3_600_000; // so long the server may send us away

/**
 * @typedef {import("./types.js").Kind} Kind
 * @typedef {import("./types.js").Cursor} Cursor
 * @typedef {"first" | "silence" | "retry" | "slot" | "steady" | "ack" | "renew"} Timer
 * @typedef {{do: "open", kind: Kind, cursor: Cursor | null, refresh: boolean}
 *   | {do: "close"}
 *   | {do: "timer", name: Timer, ms: number}
 *   | {do: "state"}
 *   | {do: "say", message: import("./messages.js").ClientMessage}
 *   | {do: "ack", upTo: Cursor}
 *   | {do: "renew"}
 *   | {do: "remember", sseUntil: number}
 *   | {do: "tell", event: "entry" | "position" | "established" | "error" | "reconnect", detail: any, prev?: Cursor | null}
 * } Effect
 */

export class Machine {
  /** @type {Effect[]} */
  #out = [];
  #wanted = false;
  #attempt = 0;
  #attemptedAt = -Infinity;
  #heardAt = 0;
  #refresh = false; // the next token must be a new one
  #refused = false; // a token has been refused since the last good connection
  #webSocketFailed = false; // this try goes on over SSE, since the WebSocket brought nothing
  #heartbeatMs = 30_000;
  /** The server sent us away until then. @type {{at: number, reason: string} | null} */
  #slot = null;
  #acking = false;
  #random;
  /** @type {import("./types.js").Transport} */
  transport;
  sseUntil;
  /** Where the stream is. @type {Cursor | null} */
  cursor = null;
  /** @type {Kind} */
  kind = "websocket";
  connectionId = "";
  /** @type {Omit<import("./types.js").ConnectionState, "leader">} */
  state = { state: "stopped", reason: "not connected", transport: null, retryAt: null, status: null, userId: null };

  /**
   * @param {{transport?: import("./types.js").Transport, random?: () => number, sseUntil?: number}} [options]
   *   `sseUntil`: what an earlier `remember` said
   */
  constructor({ transport = "auto", random = Math.random, sseUntil = 0 } = {}) {
    this.transport = transport;
    this.sseUntil = sseUntil;
    this.#random = random;
  }

  get live() { return this.state.state === "live"; }

  // --- what the application wants -------------------------------------------------------------------------

  /** Start after `cursor`, or where the stream last was. @param {Cursor | null} cursor @param {number} now */
  connect(cursor, now) {
    this.cursor = cursor ?? this.cursor;
    this.#wanted = true;
    this.#attempt = 0;
    this.#refused = false;
    return this.#try(now);
  }

  disconnect() {
    this.#wanted = false;
    this.#slot = null;
    this.#drop();
    return this.#become("stopped", { reason: "disconnected" });
  }

  /** Read the log from an earlier place on once more. @param {Cursor} cursor @param {number} now */
  rewind(cursor, now) {
    this.cursor = cursor;
    const tries = this.live || this.state.state === "connecting";
    return this.#wanted && tries ? this.#try(now) : this.#done();
  }

  /** @param {import("./types.js").Transport} transport @param {number} now */
  use(transport, now) {
    if (transport === this.transport) return [];
    this.transport = transport;
    this.#remember(0);
    return this.#wanted ? this.#try(now) : this.#done();
  }

  /** @param {number} now */
  retry(now) {
    return this.#wanted && !this.live ? this.#try(now) : [];
  }

  /**
   * The world outside changed. A live WebSocket is asked for an answer; a stream that may be dead is opened anew.
   * @param {"online" | "offline" | "visible"} why
   * @param {number} now
   */
  wake(why, now) {
    if (why === "online") this.#remember(0); // another network may let WebSockets through
    if (!this.#wanted) return this.#done();
    if (!this.live) {
      const soon = now - this.#attemptedAt < WAKE_EVERY_MS && this.state.state === "connecting";
      return why === "offline" || soon ? this.#done() : this.#try(now);
    }
    if (this.kind === "websocket") {
      this.#put({ do: "say", message: { type: "ping" } });
      this.#after("silence", PROBE_MS);
    } else if (why !== "offline" && (why !== "visible" || now - this.#heardAt > this.#heartbeatMs)) {
      return this.#try(now);
    }
    return this.#done();
  }

  /** There is a token, and it is dialled now: so much time has the first message. However long the token took. */
  dialling() {
    this.#after("first", FIRST_MESSAGE_MS[this.kind]);
    return this.#done();
  }

  // --- what the wire brings -------------------------------------------------------------------------------

  /** @param {import("./messages.js").ServerMessage} message @param {number} now */
  heard(message, now) {
    this.#heardAt = now;
    if (this.live) this.#after("silence", this.#heartbeatMs + SILENCE_MARGIN_MS);
    switch (message.type) {
      case "connection-established": return this.#established(message, now);
      case "ping":
        this.#advance("position", message.data.cursor, message.data.cursor);
        if (this.kind === "websocket") this.#put({ do: "say", message: { type: "pong" } });
        return this.#done();
      case "pong": return this.#done();
      case "reconnect":
        return this.#sentAway(message.data, now);
      case "error":
        if (message.data.code === "token_expired") this.#refresh = true;
        return this.#tell("error", message.data);
      default: return this.#entry(/** @type {import("./types.js").Entry} */ (message));
    }
  }

  /**
   * The connection ended, or could not be opened. @param {Fault} fault `code` for a close code
   * @param {number} now
   */
  ended(fault, now) {
    if (!this.#wanted) return this.#done();
    const { code } = fault;
    const established = this.live;
    this.#drop();
    if (code === 4001) this.#refresh = true;
    if (fault.stop) return this.#stop(fault);
    if (code === 4501 || fault.status === 401) return this.#tokenRefused(fault, now);
    if (code !== null && code < 4000 && !established && this.transport === "auto" && this.kind === "websocket") {
      this.#webSocketFailed = true; // perhaps by a proxy, whatever the code; SSE finds out whether anything is there
      return this.#try(now);
    }
    if (code !== null && code !== 1006) return this.#closed(code, now);
    return this.#wait(fault, now);
  }

  /** A timer of ours has run out. @param {Timer} name @param {number} now */
  fired(name, now) {
    switch (name) {
      case "first": return this.ended(new Fault("no answer", { code: 1006 }), now);
      case "silence": return this.ended(new Fault("connection went silent", { code: 1006 }), now);
      case "steady": this.#attempt = 0; return this.#done();
      case "ack":
        this.#acking = false;
        if (this.cursor) this.#put({ do: "ack", upTo: this.cursor });
        return this.#done();
      case "renew": this.#put({ do: "renew" }); return this.#done();
      default: return this.#try(now); // retry, slot
    }
  }

  /** The token in use ends in `left` ms. @param {number | null} left */
  tokenEnds(left) {
    if (left !== null) this.#after("renew", Math.max(1_000, left - Math.min(60_000, left / 2)));
    return this.#done();
  }

  // --- inside ---------------------------------------------------------------------------------------------

  /** @param {number} now */
  #try(now) {
    this.#drop();
    this.#attemptedAt = now;
    const sse = this.transport === "sse" || (this.transport === "auto" && (this.#webSocketFailed || now < this.sseUntil));
    this.kind = sse ? "sse" : "websocket";
    this.#put({ do: "open", kind: this.kind, cursor: this.cursor, refresh: this.#refresh });
    return this.#become("connecting", { transport: this.kind, reason: this.state.reason });
  }

  /** @param {import("./messages.js").ConnectionEstablished} message @param {number} now */
  #established(message, now) {
    const { data } = message;
    if (!data.recovered || this.cursor === null) this.cursor = data.cursor;
    this.#heartbeatMs = data.heartbeat_interval_ms;
    this.connectionId = data.connection_id;
    this.#refused = this.#refresh = false;
    this.#slot = null;
    if (this.#webSocketFailed) this.#remember(now + WEBSOCKET_AGAIN_MS);
    this.#webSocketFailed = false;
    this.#cancel("first");
    this.#after("silence", this.#heartbeatMs + SILENCE_MARGIN_MS);
    this.#after("steady", STEADY_MS);
    this.#put({ do: "tell", event: "established", detail: message });
    const out = this.#become("live", { transport: this.kind, userId: data.user_id });
    const ends = data.token_expires_at && Date.parse(data.token_expires_at) - Date.parse(message.timestamp);
    return [...out, ...this.tokenEnds(ends || null)];
  }

  /** @param {import("./messages.js").ReconnectData} data @param {number} now */
  #sentAway(data, now) {
    const ms = Math.min(MAX_WAIT_MS, data.after_ms);
    this.#slot = { at: now + ms, reason: data.reason };
    this.#after("slot", ms);
    return this.#tell("reconnect", data);
  }

  /** @param {import("./types.js").Entry} message */
  #entry(message) {
    if (!message.id || !this.#advance("entry", message.id, message)) return this.#done();
    if (!this.#acking) this.#after("ack", this.#random() * ACK_WITHIN_MS);
    this.#acking = true;
    return this.#done();
  }

  /**
   * Moves the cursor forward; false for what lies at or before it in the same epoch.
   * @param {"entry" | "position"} event @param {Cursor} next @param {unknown} detail
   */
  #advance(event, next, detail) {
    if (notAfter(next, this.cursor)) return false;
    this.#put({ do: "tell", event, detail, prev: this.cursor });
    this.cursor = next;
    return true;
  }

  /** @param {number} code @param {number} now */
  #closed(code, now) {
    const [reason] = CLOSE_CODES[code] ?? [`closed with ${code}`];
    const fault = new Fault(this.#slot?.reason ?? reason, { code });
    return shouldReconnect(code) ? this.#wait(fault, now) : this.#stop(fault);
  }

  /** Once with a new token, since the one at hand may only be old. @param {Fault} fault @param {number} now */
  #tokenRefused(fault, now) {
    if (this.#refused) return this.#stop(new Fault("signed out: token refused", { ...fault, status: 401 }));
    this.#refused = this.#refresh = true;
    return this.#try(now);
  }

  /** @param {Fault} fault @param {number} now */
  #wait(fault, now) {
    const slot = this.#slot && Math.max(0, this.#slot.at - now);
    this.#slot = null;
    this.#webSocketFailed = false;
    const atOnce = fault.code === 4001 && this.#attempt === 0; // a login that fails is not asked in a loop
    const ms = Math.min(MAX_WAIT_MS, fault.afterMs ?? slot ?? (atOnce ? 0 : backoff(this.#attempt, this.#random)));
    this.#attempt += 1;
    this.#after("retry", ms);
    return this.#become("waiting", { reason: fault.message, retryAt: now + ms, status: fault.status || fault.code });
  }

  /** @param {Fault} fault */
  #stop(fault) {
    this.#wanted = false;
    return this.#become("stopped", { reason: fault.message, status: fault.status || fault.code });
  }

  #drop() {
    this.#acking = false;
    this.#put({ do: "close" });
  }

  /** @param {number} until */
  #remember(until) {
    if (until !== this.sseUntil) this.#put({ do: "remember", sseUntil: until });
    this.sseUntil = until;
  }

  /** @param {Effect} effect */
  #put(effect) { this.#out.push(effect); }

  /** @param {Timer} name @param {number} ms */
  #after(name, ms) { this.#put({ do: "timer", name, ms: Math.min(MAX_TIMER_MS, ms) }); }

  /** @param {Timer} name */
  #cancel(name) { this.#put({ do: "timer", name, ms: -1 }); }

  /** @param {"error" | "reconnect"} event @param {unknown} detail */
  #tell(event, detail) {
    this.#put({ do: "tell", event, detail });
    return this.#done();
  }

  /**
   * @param {import("./types.js").ConnectionState["state"]} state
   * @param {Partial<import("./types.js").ConnectionState>} more
   */
  #become(state, { reason = null, transport = null, retryAt = null, status = null, userId = this.state.userId }) {
    this.state = { state, reason, transport, retryAt, status, userId };
    this.#put({ do: "state" });
    return this.#done();
  }

  #done() {
    const out = this.#out;
    this.#out = [];
    return out;
  }
}
