// @notifyd/client: one stream of notifications over WebSocket or SSE, one cursor for both, one connection for all
// tabs.
//
//   client ─► tabs ─► connection ─► machine           what happens when; knows no I/O
//               │          └──────► transport-*       WebSocket, SSE
//               └──► delivery ─► emitter              each entry to the application once
//
// bus.js is the original client's event bus. Apart from this, inbox.js is the list of GET /v1/notifications joined
// with the stream, and react.js has the hooks.

export { backoff } from "./backoff.js";
export { bridge, createEventBus } from "./bus.js";
export { createClient } from "./client.js";
export { CLOSE_CODES, shouldReconnect } from "./codes.js";
export { notAfter, parseCursor } from "./cursor.js";
export { Fault, call } from "./http.js";
export { claimsOf, expiryOf } from "./token.js";

/**
 * @typedef {import("./types.js").Client} Client
 * @typedef {import("./types.js").ClientOptions} ClientOptions
 * @typedef {import("./types.js").ConnectionState} ConnectionState
 * @typedef {import("./types.js").Entry} Entry
 * @typedef {import("./types.js").Notification} Notification
 * @typedef {import("./types.js").Deal} Deal
 * @typedef {import("./types.js").Bus} Bus
 * @typedef {import("./types.js").BusEvents} BusEvents
 */
