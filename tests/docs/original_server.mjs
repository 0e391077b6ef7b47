// What the original's server.ts and websocketService.server.ts do: the socket at /ws of an Express server.
import jwt from "jsonwebtoken";
import { WebSocketServer } from "ws";

const SECRET = process.env.NOTIFYD_JWT_SECRET;
const message = (type, data) => JSON.stringify({ type, data, timestamp: new Date().toISOString() });

class WebSocketService {
  #clients = new Map();

  initialize(server) {
    const wss = new WebSocketServer({ server, path: "/ws" });
    wss.on("connection", (ws, request) => this.#connect(ws, new URL(request.url, "http://here")));
  }

  #connect(ws, url) {
    let userId;
    try {
      userId = String(jwt.verify(url.searchParams.get("token"), SECRET).user_id);
    } catch {
      return ws.close(1008);
    }
    const own = this.#clients.get(userId) ?? new Set();
    this.#clients.set(userId, own.add(ws));
    ws.on("close", () => own.delete(ws));
    ws.send(message("connection-established", { user_id: userId, message: "original" }));
  }

  #send(sockets, text) {
    for (const ws of sockets) ws.send(text);
  }

  broadcastDealNotification(userId, data) {
    this.#send(this.#clients.get(String(userId)) ?? [], message("deal-notification", data));
  }

  broadcastSystemMessage(userId, data) {
    this.#send(this.#clients.get(String(userId)) ?? [], message("system-message", data));
  }

  broadcastToAll(data) {
    for (const own of this.#clients.values()) this.#send(own, message("system-message", data));
  }

  shutdown() {
    for (const own of this.#clients.values()) for (const ws of own) ws.close(1001);
  }
}

export const websocketService = new WebSocketService();
