// A call of notifyd's HTTP API, and what can go wrong in it.

const PATIENCE_MS = 8_000;

/** What went wrong, in words for a person. `stop` means that trying again would not help. */
export class Fault extends Error {
  /**
   * @param {string} message
   * @param {{status?: number, stop?: boolean, afterMs?: number | null, code?: number | null}} [more]
   *   `afterMs`: the server wants to be left alone so long; `code`: the close code of a WebSocket
   */
  constructor(message, { status = 0, stop = false, afterMs = null, code = null } = {}) {
    super(message);
    this.name = "Fault";
    this.status = status;
    this.stop = stop;
    this.afterMs = afterMs;
    this.code = code;
  }
}

/** @param {Response} response @param {number} now */
function retryAfterMs(response, now) {
  const text = response.headers.get("retry-after");
  if (!text) return null;
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now;
  return ms > 0 ? ms : null;
}

/**
 * The Fault that a refusal is.
 * @param {Response} response
 */
export async function faultOf(response) {
  const problem = await response.json().catch(() => null);
  return new Fault(problem?.detail ?? problem?.title ?? `the server answered ${response.status}`, {
    status: response.status,
    stop: response.status === 403,
    afterMs: retryAfterMs(response, Date.now()),
  });
}

/** @param {string | null} token @returns {Record<string, string>} */
export const bearer = (token) => (token === null ? {} : { authorization: `Bearer ${token}` });

/**
 * A JSON call. Gives the decoded answer, null for an empty one; rejects with Fault.
 * @param {string | URL} url
 * @param {{method?: string, token?: string | null, body?: unknown}} [how]
 * @returns {Promise<any>}
 */
export async function call(url, { method = "GET", token = null, body } = {}) {
  const headers = { accept: "application/json", ...bearer(token) };
  if (body !== undefined) Object.assign(headers, { "content-type": "application/json" });
  let response;
  try {
    response = await fetch(url, {
      method, headers, body: body === undefined ? null : JSON.stringify(body), cache: "no-store",
      credentials: "same-origin", signal: AbortSignal.timeout(PATIENCE_MS),
    });
  } catch {
    throw new Fault("server not reachable");
  }
  if (!response.ok) throw await faultOf(response);
  return response.json().catch(() => null);
}
