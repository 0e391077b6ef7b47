// A connection over WebSocket. The token travels in the first frame, never in the address.

import { Fault } from "./http.js";

/**
 * @typedef {{heard(text: string): void, ended(fault: Fault): void}} Ears  `ended` at most once, never after `close`
 * @typedef {{say(message: object): boolean, close(): void}} Link  `say` is false when it is too late, or over SSE
 */

/**
 * @param {{base: URL, token: string | null, cursor: string | null, WebSocket: import("./types.js").WebSocketConstructor}} to
 * @param {Ears} ears
 * @returns {Link}
 */
export function openWebSocket({ base, token, cursor, WebSocket }, { heard, ended }) {
  const url = new URL("/ws", base);
  url.protocol = url.protocol.replace("http", "ws");
  if (cursor) url.searchParams.set("last_event_id", cursor);
  const socket = new WebSocket(url);
  /** @param {object} message */
  const say = (message) => {
    if (socket.readyState !== 1) return false;
    socket.send(JSON.stringify(message));
    return true;
  };
  socket.onopen = () => token !== null && say({ type: "auth", data: { token } });
  socket.onmessage = ({ data }) => heard(data);
  socket.onclose = ({ code }) => ended(new Fault("connection lost", { code: code === 1005 ? 1006 : code }));
  socket.onerror = () => {}; // a close follows
  return {
    say,
    close() {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(1000);
    },
  };
}
