// How a connection ended, and whether coming back helps. The table of docs/protocol.md; a test compares them.

/** Close codes: [reason, come back]. @type {Readonly<Record<number, readonly [string, boolean]>>} */
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

/** @param {number} code */
export const shouldReconnect = (code) => (code >= 4000 && code < 4500) || (CLOSE_CODES[code]?.[1] ?? false);
