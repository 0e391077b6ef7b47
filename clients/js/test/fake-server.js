// A server that speaks the wire protocol, with a log in memory, and misbehaves when told to.

import { createServer } from "node:http";
import { WebSocketServer } from "ws";

export const EPOCH = "6f1c9a02";

/** @typedef {import("../src/types.js").Entry} Entry */

export class FakeServer {
  /** @type {any[]} */
  log = [];
  /** Streams that are open. @type {Set<{send(message: object): void, end(code?: number): void, kind: string}>} */
  streams = new Set();
  /** What clients said. @type {any[]} */
  said = [];
  /** Handshakes so far: [kind, cursor]. @type {[string, string | null][]} */
  opened = [];
  /** @type {"serve" | "refuse" | "swallow"} */
  webSockets = "serve";
  /** Answered to the next GET /events: status and headers. @type {{status: number, headers?: Record<string, string>}[]} */
  refusals = [];
  /** @type {(token: string | null) => boolean} */
  accepts = (token) => token !== null;
  /** @type {string | null} */
  tokenExpiresAt = null;
  #http = createServer((request, response) => this.#answer(request, response));
  #ws = new WebSocketServer({ noServer: true });
  /** @type {Set<import("node:net").Socket>} */
  #sockets = new Set();
  url = "";

  constructor() {
    this.#http.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    this.#http.on("upgrade", (request, socket, head) => {
      if (this.webSockets === "refuse") return void socket.end("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
      if (this.webSockets === "swallow") return undefined;
      return this.#ws.handleUpgrade(request, /** @type {any} */ (socket), head, (ws) => this.#serve(ws, request));
    });
  }

  async start() {
    await new Promise((resolve) => { this.#http.listen(0, "127.0.0.1", () => resolve(null)); });
    this.url = `http://127.0.0.1:${/** @type {import("node:net").AddressInfo} */ (this.#http.address()).port}`;
    return this;
  }

  async stop() {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => { this.#http.close(() => resolve(null)); });
  }

  get head() { return `${EPOCH}-${this.log.length}`; }

  /** @param {string} type @param {object} data */
  publish(type, data) {
    const nr = this.log.length + 1;
    const message = {
      type, data: { notification_id: `n${nr}`, ...data }, timestamp: new Date().toISOString(), id: `${EPOCH}-${nr}`,
    };
    this.log.push(message);
    for (const stream of this.streams) stream.send(message);
    return message;
  }

  /** Ends every stream; a WebSocket with this code. @param {number} [code] */
  closeAll(code) {
    for (const stream of [...this.streams]) stream.end(code);
  }

  /** @param {import("ws").WebSocket} ws @param {import("node:http").IncomingMessage} request */
  #serve(ws, request) {
    const cursor = new URL(request.url ?? "", this.url).searchParams.get("last_event_id");
    this.opened.push(["websocket", cursor]);
    const stream = {
      kind: "websocket",
      /** @param {object} message */
      send: (message) => ws.send(JSON.stringify(message)),
      /** @param {number} [code] */
      end: (code) => (code === undefined ? ws.terminate() : ws.close(code)),
    };
    ws.on("close", () => this.streams.delete(stream));
    ws.on("message", (raw) => {
      const message = JSON.parse(String(raw));
      this.said.push(message);
      if (message.type === "ping") stream.send({ type: "pong", data: {}, timestamp: new Date().toISOString() });
      if (message.type !== "auth" || this.streams.has(stream)) return;
      if (this.accepts(message.data.token)) this.#welcome(stream, cursor);
      else ws.close(4501);
    });
  }

  /** @param {{send(message: object): void, end(code?: number): void, kind: string}} stream @param {string | null} cursor */
  #welcome(stream, cursor) {
    const [epoch, seq] = cursor?.split("-") ?? [];
    const reason = cursor === null ? "no-cursor" : epoch !== EPOCH ? "other-epoch" : null;
    const from = reason === null ? Number(seq) : this.log.length;
    stream.send({
      type: "connection-established",
      data: {
        user_id: "7", connection_id: `c${this.opened.length}`, cursor: `${EPOCH}-${from}`, recovered: reason === null, reason,
        heartbeat_interval_ms: 30_000, token_expires_at: this.tokenExpiresAt, protocol_version: 1,
      },
      timestamp: new Date().toISOString(),
    });
    for (const message of this.log.slice(from)) stream.send(message);
    this.streams.add(stream);
  }

  /** @param {import("node:http").IncomingMessage} request @param {import("node:http").ServerResponse} response */
  #answer(request, response) {
    const url = new URL(request.url ?? "", this.url);
    const token = request.headers.authorization?.replace("Bearer ", "") ?? null;
    if (url.pathname === "/events") return this.#events(request, response, token);
    if (!this.accepts(token)) return void response.writeHead(401).end("{}");
    let text = "";
    request.on("data", (chunk) => { text += chunk; });
    request.on("end", () => {
      if (text) this.said.push({ path: url.pathname, body: JSON.parse(text) });
      if (request.method === "POST") return void response.writeHead(204).end();
      const notifications = this.log.filter(({ type }) => type !== "notification-updated")
        .map((message) => ({ ...message, state: "unread" })).reverse();
      const limit = Number(url.searchParams.get("limit"));
      const before = url.searchParams.get("before");
      const older = before ? notifications.filter(({ id }) => Number(id.split("-")[1]) < Number(before.split("-")[1])) : notifications;
      const body = { notifications: older.slice(0, limit), cursor: this.head, unread: notifications.length, recovered: true };
      return void response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
    });
    return undefined;
  }

  /** @param {import("node:http").IncomingMessage} request @param {import("node:http").ServerResponse} response @param {string | null} token */
  #events(request, response, token) {
    const cursor = String(request.headers["last-event-id"] ?? "") || null;
    this.opened.push(["sse", cursor]);
    const refusal = this.refusals.shift() ?? (this.accepts(token) ? null : { status: 401 });
    if (refusal) return void response.writeHead(refusal.status, refusal.headers).end(JSON.stringify({ detail: "not now" }));
    response.writeHead(200, { "content-type": "text/event-stream" }).write(": hello\nretry: 3000\n\n");
    const stream = {
      kind: "sse",
      /** @param {{id?: string}} message */
      send: (message) => response.write(`${message.id ? `id: ${message.id}\n` : ""}data: ${JSON.stringify(message)}\n\n`),
      end: () => response.destroy(),
    };
    response.on("close", () => this.streams.delete(stream));
    return this.#welcome(stream, cursor);
  }
}
