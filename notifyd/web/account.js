// Who is signed in. In the demo a user is chosen and the server gives short tokens; elsewhere one token is
// pasted. It lives in sessionStorage of this tab and nowhere else.

import { Fault, call, expiryOf } from "/client.js";

const KEY = "notifyd.account";

/** The demo's users, or null where there is no demo. */
export async function demoUsers() {
  try {
    return (await call("/demo/users")).users;
  } catch (fault) {
    if (fault.status === 404) return null;
    throw fault;
  }
}

function userOf(token) {
  try {
    const claims = JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
    return String(claims.sub ?? claims.user_id ?? "you");
  } catch {
    throw new Fault("That is not a token: a token has three parts with dots between them.");
  }
}

export class Account {
  constructor(stored) {
    Object.assign(this, stored); // { userId, name, demo, token }
  }

  /** The account of this tab, or null. */
  static restore() {
    const text = sessionStorage.getItem(KEY);
    return text === null ? null : new Account(JSON.parse(text));
  }

  static async demo({ user_id: userId, name }) {
    const account = new Account({ userId, name, demo: true, token: null });
    await account.freshToken({ refresh: true });
    return account;
  }

  static async pasted(text) {
    const token = text.trim();
    const userId = userOf(token);
    if ((expiryOf(token) ?? Infinity) < Date.now()) throw new Fault("This token has expired.");
    await call("/v1/notifications?limit=1", { token });
    const account = new Account({ userId, name: userId, demo: false, token });
    account.#keep();
    return account;
  }

  /** A token that the server accepts: the one at hand, or in the demo a new one. */
  async freshToken({ refresh = false } = {}) {
    const old = this.token === null || (expiryOf(this.token) ?? Infinity) < Date.now() + 10_000;
    if (this.demo && (refresh || old)) {
      this.token = (await call("/demo/login", { method: "POST", body: { user_id: this.userId } })).token;
      this.#keep();
    }
    return this.token;
  }

  /** A call of the HTTP API as this user. */
  async call(path, options = {}) {
    try {
      return await call(path, { ...options, token: await this.freshToken() });
    } catch (fault) {
      if (fault.status !== 401 || !this.demo) throw fault;
      return call(path, { ...options, token: await this.freshToken({ refresh: true }) });
    }
  }

  signOut() {
    sessionStorage.removeItem(KEY);
  }

  #keep() {
    sessionStorage.setItem(KEY, JSON.stringify(this));
  }
}
