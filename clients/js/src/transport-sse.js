// A connection over SSE. It is read by fetch: an EventSource would need the token in its address, hides status
// and Retry-After of a refusal, and is closed for good by a 503.

import { Fault, bearer, faultOf } from "./http.js";
import { createParser } from "./sse-parser.js";

/**
 * @param {{base: URL, token: string | null, cursor: string | null}} to
 * @param {import("./transport-websocket.js").Ears} ears
 * @returns {import("./transport-websocket.js").Link}
 */
export function openEvents({ base, token, cursor }, { heard, ended }) {
  const abort = new AbortController();
  /** @type {Record<string, string>} */
  const headers = { accept: "text/event-stream", ...bearer(token) };
  if (cursor) headers["last-event-id"] = cursor;

  async function read() {
    const response = await fetch(new URL("/events", base), {
      headers, signal: abort.signal, cache: "no-store", credentials: "same-origin",
    });
    if (!response.ok || response.body === null) throw await faultOf(response);
    const parser = createParser((data) => { if (!abort.signal.aborted) heard(data); });
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) throw new Fault("connection lost", { code: 1006 });
      parser.push(decoder.decode(value, { stream: true }));
    }
  }

  read().catch((error) => {
    if (abort.signal.aborted) return;
    ended(error instanceof Fault ? error : new Fault("server not reachable", { code: 1006 }));
  });
  return { say: () => false, close: () => abort.abort() };
}
