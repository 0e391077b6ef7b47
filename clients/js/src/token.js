// The user's token: asked for when it is needed, kept until it ends or was refused.

import { Fault } from "./http.js";

const EXPIRES_SOON_MS = 5_000;

/** @param {string | null} token @returns {Record<string, any> | null} what a JWT says; null when it cannot be read */
export function claimsOf(token) {
  try {
    const part = /** @type {string} */ (token?.split(".")[1]).replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(part), (letter) => letter.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null;
  }
}

/** @param {string | null} token @returns {number | null} ms since 1970 at which a JWT expires */
export const expiryOf = (token) => (claimsOf(token)?.exp ?? 0) * 1000 || null;

/**
 * Milliseconds that a token that has just come can be used for; null when nobody can say. This clock may be wrong: a
 * token that is old by it counts from now.
 * @param {string | null} token
 * @param {number} now
 */
export function lifetimeOf(token, now) {
  const { exp, iat } = claimsOf(token) ?? {};
  const left = exp * 1000 - now;
  return (left > 0 ? left : (exp - iat) * 1000) || null;
}

export class TokenKeeper {
  /** @type {string | null} */
  #token = null;
  #until = Infinity;
  /** @type {Promise<string | null> | null} */
  #asked = null;
  #getToken;

  /** @param {import("./types.js").GetToken | undefined} getToken none: a cookie says who it is */
  constructor(getToken) {
    this.#getToken = getToken;
  }

  /**
   * A token that should not have expired; null where a cookie does its work. Rejects with Fault: with `stop` when the
   * token was refused and there is no other.
   * @param {{refresh?: boolean}} [how] `refresh`: the one at hand was refused, or ends soon
   */
  async get({ refresh = false } = {}) {
    const old = this.#until < Date.now() + EXPIRES_SOON_MS;
    if (!this.#getToken || (this.#token !== null && !refresh && !old)) return this.#token;
    this.#asked ??= this.#ask(this.#getToken, refresh, old).finally(() => { this.#asked = null; });
    return this.#asked;
  }

  /** The one at hand is of no use any more: the next is a new one. */
  expire() { this.#until = 0; }

  /** @param {import("./types.js").GetToken} getToken @param {boolean} refresh @param {boolean} old */
  async #ask(getToken, refresh, old) {
    let token;
    try {
      token = await getToken({ refresh: refresh || old });
    } catch (fault) {
      throw fault instanceof Fault ? fault : new Fault(`no token: ${/** @type {Error} */ (fault)?.message ?? fault}`);
    }
    const refused = refresh && token === this.#token;
    this.#token = token || null;
    if (!token) throw new Fault("signed out: there is no token", { status: 401, stop: true });
    if (refused) throw new Fault("signed out: token refused", { status: 401, stop: true });
    const now = Date.now();
    this.#until = now + (lifetimeOf(token, now) ?? Infinity);
    return token;
  }
}
