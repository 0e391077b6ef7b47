// notifyd's browser client: one stream of log entries over WebSocket or SSE, one cursor for both.
//
//   const client = new NotifydClient({ getToken: async ({ refresh }) => "…" });
//   client.addEventListener("entry", ({ detail }) => …);    // each entry of the log once, in order
//   client.addEventListener("state", ({ detail }) => …);    // connecting, live, waiting, stopped: and why
//   client.addEventListener("gap", …);                      // the cursor could not be proven: read the list anew
//   client.connect(cursor);
//
// The token goes into the first frame or a header, a one-use ticket into the URL of an EventSource.

/** Close codes: [reason, come back]. RFC 6455 section 7.4 and notifyd's 4000–4999. */
export const CLOSE_CODES = Object.freeze({
  1000: ["normal", false],
  1001: ["server drains", true],
  1002: ["protocol error", false],
  1003: ["binary messages are not accepted", false],
  1006: ["connection lost", true],
  1007: ["invalid UTF-8", false],
  1008: ["policy violation", false],
  1009: ["message too big", false],
  1011: ["internal error", true],
  1012: ["server restarts", true],
  1013: ["server overloaded", true],
  4001: ["token expired", true],
  4012: ["no answer to pings", true],
  4029: ["too many messages", true],
  4501: ["bad token", false],
  4503: ["token revoked", false],
  4504: ["too many connections", false],
});

export const shouldReconnect = (code) => (code >= 4000 && code < 4500) || (CLOSE_CODES[code]?.[1] ?? false);

const FIRST_BACKOFF_MS = 1_000;
const MAX_BACKOFF_MS = 30_000;
const FIRST_MESSAGE_MS = 8_000;
const SILENCE_MARGIN_MS = 10_000;
const PROBE_MS = 4_000;
const STEADY_MS = 5_000; // live this long, the backoff starts anew
const WEBSOCKET_AGAIN_MS = 300_000; // how long SSE is preferred after the WebSocket was refused
const MAX_TIMER_MS = 2 ** 31 - 1;

/** What went wrong, in words for a person; `stop` means that trying again would not help. */
export class Fault extends Error {
  constructor(message, { status = 0, stop = false, afterMs = null } = {}) {
    super(message);
    Object.assign(this, { status, stop, afterMs });
  }
}

/** A JSON call with a bearer token. Gives the decoded answer or throws Fault with the problem's detail. */
export async function call(url, { method = "GET", token = null, body } = {}) {
  const headers = { accept: "application/json" };
  if (token !== null) headers.authorization = `Bearer ${token}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(url, {
      method, headers, body: JSON.stringify(body), cache: "no-store", credentials: "same-origin",
      signal: AbortSignal.timeout(FIRST_MESSAGE_MS),
    });
  } catch {
    throw new Fault("server not reachable");
  }
  const answer = await response.json().catch(() => null);
  if (response.ok) return answer;
  const seconds = Number(response.headers.get("retry-after"));
  throw new Fault(answer?.detail ?? answer?.title ?? `the server answered ${response.status}`, {
    status: response.status,
    stop: response.status === 401 || response.status === 403,
    afterMs: seconds > 0 ? seconds * 1000 : null,
  });
}

export function parseCursor(text) {
  const match = /^([0-9A-Za-z]{1,40})-(0|[1-9][0-9]{0,18})$/.exec(text ?? "");
  return match && { epoch: match[1], seq: BigInt(match[2]) };
}

/** Full jitter: anywhere between nothing and twice the last bound, so that a crowd spreads out. */
export function backoff(attempt, random = Math.random) {
  return Math.max(250, random() * Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(attempt, 16)));
}

/** Milliseconds since 1970 at which a JWT expires, or null when that cannot be read. */
export function expiryOf(token) {
  try {
    const part = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    return JSON.parse(atob(part)).exp * 1000 || null;
  } catch {
    return null;
  }
}

// A link is one connection: `send` (null for SSE; false when it is too late) and `close`. It calls `heard(text)` for each message and
// `ended(code)` at most once, never after `close`.

function openWebSocket(base, token, cursor, { heard, ended }) {
  const url = new URL("/ws", base);
  url.protocol = url.protocol.replace("http", "ws");
  if (cursor) url.searchParams.set("last_event_id", cursor);
  const socket = new WebSocket(url);
  socket.onopen = () => socket.send(JSON.stringify({ type: "auth", data: { token } }));
  socket.onmessage = ({ data }) => heard(data);
  socket.onclose = ({ code }) => ended(code === 1005 ? 1006 : code);
  return {
    kind: "websocket",
    send(message) {
      if (socket.readyState !== WebSocket.OPEN) return false;
      socket.send(JSON.stringify(message));
      return true;
    },
    close() {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(1000);
    },
  };
}

function openEventSource(base, ticket, cursor, { heard, ended }) {
  const url = new URL("/events", base);
  url.searchParams.set("ticket", ticket);
  if (cursor) url.searchParams.set("last_event_id", cursor);
  const source = new EventSource(url);
  const close = () => {
    source.onmessage = source.onerror = null;
    source.close();
  };
  source.onmessage = ({ data }) => heard(data);
  source.onerror = () => {
    close(); // coming back is decided in one place, for both transports
    ended(1006);
  };
  return { kind: "sse", send: null, close };
}

export class NotifydClient extends EventTarget {
  #url;
  #getToken;
  #transport;
  #cursor = null;
  #token = null;
  #link = null;
  #live = false;
  #wanted = false;
  #generation = 0;
  #attempt = 0;
  #attemptedAt = 0;
  #refresh = false; // the next token must be a new one
  #refused = false; // a token has been refused since the last good connection
  #slot = null; // the server sends us away: come back `at`, because of `reason`
  #refusals = 0; // WebSockets refused in a row while HTTP worked
  #sseUntil = 0;
  #heartbeatMs = 30_000;
  #heardAt = 0;
  #connectionId = null;
  #timers = new Map();
  #state = { state: "stopped", reason: "not connected", transport: null, retryAt: null };

  /** `transport` is "auto" (WebSocket, SSE where that is refused) or "sse". `getToken({refresh})` gives a JWT. */
  constructor({ getToken, transport = "auto", url = location.origin }) {
    super();
    this.#getToken = getToken;
    this.#transport = transport;
    this.#url = url;
    addEventListener("online", () => this.#wake("network is back"));
    addEventListener("offline", () => this.#wake("network is gone"));
    addEventListener("pageshow", ({ persisted }) => persisted && this.#wake("page is back"));
    addEventListener("pagehide", () => this.#drop());
    document.addEventListener("visibilitychange", () => !document.hidden && this.#wake("page is visible"));
  }

  get state() { return this.#state; }
  get cursor() { return this.#cursor; }
  get transport() { return this.#transport; }

  /** Start, from `cursor` on when one is given. */
  connect(cursor = this.#cursor) {
    this.#cursor = cursor;
    this.#wanted = true;
    this.#attempt = 0;
    this.#refused = false;
    this.#try();
  }

  disconnect(reason = "disconnected") {
    this.#wanted = false;
    this.#drop();
    this.#become("stopped", { reason });
  }

  /** Go over to the other transport now; the cursor goes along. */
  setTransport(transport) {
    if (transport === this.#transport) return;
    this.#transport = transport;
    this.#sseUntil = this.#refusals = 0;
    if (this.#wanted) this.#try();
  }

  retryNow() {
    if (this.#wanted && !this.#live) this.#try();
  }

  /** Raise the state of `ids`, or of everything up to a cursor. Throws Fault when it cannot be told to the server. */
  async mark(state, { ids, upTo }) {
    const data = ids ? { state, notification_ids: ids } : { state, up_to: upTo };
    const sent = this.#live && this.#link.send?.({ type: "mark", data });
    if (!sent) await this.#post("/v1/notifications/mark", data);
  }

  // --- one attempt ----------------------------------------------------------------------------------

  async #try() {
    this.#drop();
    const generation = this.#generation;
    this.#attemptedAt = Date.now();
    const kind = this.#transport === "sse" || Date.now() < this.#sseUntil ? "sse" : "websocket";
    this.#become("connecting", { transport: kind });
    try {
      const token = await this.#freshToken();
      const ticket = kind === "sse" ? await this.#ticket(token) : null;
      if (generation !== this.#generation) return;
      const events = {
        heard: (text) => generation === this.#generation && this.#heard(JSON.parse(text)),
        ended: (code) => generation === this.#generation && this.#ended(code, kind),
      };
      this.#link = kind === "sse"
        ? openEventSource(this.#url, ticket, this.#cursor, events)
        : openWebSocket(this.#url, token, this.#cursor, events);
      this.#after("silence", FIRST_MESSAGE_MS, () => this.#ended(1006, kind));
    } catch (fault) {
      if (generation === this.#generation) this.#failed(fault);
    }
  }

  async #freshToken() {
    const expires = this.#token && expiryOf(this.#token);
    if (this.#token === null || this.#refresh || (expires !== null && expires < Date.now() + 5_000)) {
      const before = this.#token;
      this.#token = await this.#getToken({ refresh: this.#refresh || before !== null });
      if (this.#refresh && this.#token === before) throw new Fault("signed out: token refused", { stop: true });
      this.#refresh = false;
    }
    return this.#token;
  }

  async #ticket(token) {
    return (await call(new URL("/v1/tickets", this.#url), { method: "POST", token, body: {} })).ticket;
  }

  async #post(path, body) {
    return call(new URL(path, this.#url), { method: "POST", token: await this.#freshToken(), body });
  }

  // --- its end --------------------------------------------------------------------------------------

  #drop() {
    this.#generation += 1;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#link?.close();
    this.#link = null;
    this.#live = false;
  }

  async #ended(code, kind) {
    const established = this.#live;
    this.#drop();
    if (code === 4001) this.#refresh = true;
    if (code === 4501) return this.#failed(new Fault("token refused", { status: 401, stop: true }));
    if (!shouldReconnect(code)) {
      return this.#failed(new Fault(CLOSE_CODES[code]?.[0] ?? `closed with ${code}`, { stop: true }));
    }
    if (established || kind === "sse" || code !== 1006) {
      return this.#failed(new Fault(this.#slot?.reason ?? CLOSE_CODES[code]?.[0] ?? "connection lost"));
    }
    return this.#diagnose();
  }

  /** A browser hides why a WebSocket failed, so an HTTP call finds out: no server, no right, or no WebSocket. */
  async #diagnose() {
    const generation = this.#generation;
    try {
      await this.#ticket(await this.#freshToken());
    } catch (fault) {
      if (generation === this.#generation) this.#failed(fault);
      return;
    }
    if (generation !== this.#generation) return;
    this.#refusals += 1;
    if (this.#refusals > 1) this.#sseUntil = Date.now() + WEBSOCKET_AGAIN_MS;
    this.#failed(new Fault(this.#refusals > 1 ? "WebSocket refused, going over to SSE" : "WebSocket refused"));
  }

  #failed(fault) {
    if (fault.status === 401 && !this.#refused) {
      this.#refused = this.#refresh = true; // once with a new token; the one we hold may only be old
      return this.#later(fault, 0);
    }
    if (!(fault instanceof Fault) || fault.stop) {
      this.#wanted = false;
      const reason = fault.status === 401 ? "signed out: token refused" : fault.message;
      return this.#become("stopped", { reason, status: fault.status });
    }
    const slot = this.#slot && Math.max(0, this.#slot.at - Date.now());
    this.#slot = null;
    const delay = fault.afterMs ?? slot ?? (this.#refresh ? 0 : backoff(this.#attempt));
    this.#attempt += 1;
    return this.#later(fault, delay);
  }

  #later(fault, delay) {
    this.#become("waiting", { reason: fault.message, retryAt: Date.now() + delay });
    this.#after("retry", delay, () => this.#try());
  }

  // --- messages -------------------------------------------------------------------------------------

  #heard(message) {
    this.#heardAt = Date.now();
    this.#after("silence", this.#heartbeatMs + SILENCE_MARGIN_MS, () => this.#ended(1006, this.#link.kind));
    switch (message.type) {
      case "connection-established": return this.#established(message.data);
      case "ping":
        this.#advance(message.data.cursor);
        this.#link.send?.({ type: "pong" });
        return undefined;
      case "pong": return undefined;
      case "reconnect": return this.#sentAway(message.data);
      case "error":
        if (message.data.code === "token_expired") this.#refresh = true;
        return this.#emit("fault", message.data);
      default: return message.id ? this.#entry(message) : undefined;
    }
  }

  #established(data) {
    const gap = !data.recovered && this.#cursor !== null;
    if (gap || this.#cursor === null) this.#cursor = data.cursor;
    this.#heartbeatMs = data.heartbeat_interval_ms;
    this.#connectionId = data.connection_id;
    this.#live = true;
    this.#refused = false;
    if (this.#link.kind === "websocket") this.#refusals = 0;
    this.#after("steady", STEADY_MS, () => { this.#attempt = 0; });
    this.#planRefresh(data.token_expires_at && Date.parse(data.token_expires_at));
    this.#become("live", { transport: this.#link.kind, recovered: data.recovered, reason: data.reason });
    if (gap) this.#emit("gap", { reason: data.reason, cursor: data.cursor });
  }

  #entry(message) {
    if (!this.#advance(message.id)) return;
    this.#after("ack", Math.random() * 1000, () => this.#ack(), { keep: true });
    this.#emit("entry", message);
  }

  /** Moves the cursor forward; false for what lies at or before it in the same epoch. */
  #advance(text) {
    const [next, last] = [parseCursor(text), parseCursor(this.#cursor)];
    if (!next || (last && last.epoch === next.epoch && next.seq <= last.seq)) return false;
    this.#cursor = text;
    return true;
  }

  #ack() {
    const data = { up_to: this.#cursor };
    if (this.#link.send) this.#link.send({ type: "ack", data });
    else this.#post("/v1/notifications/ack", data).catch(() => {}); // the next one says the same and more
  }

  #sentAway({ after_ms, reason }) {
    this.#slot = { at: Date.now() + after_ms, reason };
    this.#emit("slot", { after_ms, reason });
    this.#after("slot", after_ms, () => this.#try());
  }

  #planRefresh(expires) {
    if (!expires) return;
    const left = expires - Date.now();
    this.#after("refresh", Math.min(MAX_TIMER_MS, Math.max(1_000, left - Math.min(60_000, left / 2))), async () => {
      const before = this.#token;
      const token = await this.#getToken({ refresh: true }).catch(() => before);
      if (token === before || !this.#live) return; // the close code will say what follows
      this.#token = token;
      if (this.#link.send) this.#link.send({ type: "auth", data: { token } });
      else await this.#post("/v1/auth", { connection_id: this.#connectionId, token }).catch(() => {});
      this.#planRefresh(expiryOf(token));
    });
  }

  // --- waking up, timers, events ----------------------------------------------------------------------

  #wake(why) {
    if (!this.#wanted) return;
    if (!this.#live) {
      if (why !== "network is gone" && Date.now() - this.#attemptedAt > 1_000) this.#try();
    } else if (this.#link.send) {
      this.#link.send({ type: "ping" });
      this.#after("silence", PROBE_MS, () => this.#ended(1006, "websocket"));
    } else if (Date.now() - this.#heardAt > this.#heartbeatMs || why.startsWith("network is back")) {
      this.#try();
    }
  }

  #after(name, delay, action, { keep = false } = {}) {
    if (keep && this.#timers.has(name)) return;
    clearTimeout(this.#timers.get(name));
    this.#timers.set(name, setTimeout(() => { this.#timers.delete(name); action(); }, delay));
  }

  #become(state, { reason = null, transport = null, retryAt = null, ...rest } = {}) {
    this.#state = { state, reason, transport, retryAt, ...rest };
    this.#emit("state", this.#state);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
