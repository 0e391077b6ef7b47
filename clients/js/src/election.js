// Which tab holds the connection: the one with a lock of the browser's, which gives it on when that tab ends.

/**
 * `won` when this tab leads from now on, `lost` when another has taken it over. Without locks every tab leads.
 * @param {string | null} name null: alone
 * @param {{won(): void, lost(): void}} told
 */
export function elect(name, { won, lost }) {
  const locks = name === null ? undefined : globalThis.navigator?.locks;
  const leaving = new AbortController();
  let queued = false;
  let release = () => {};

  /** @param {string} lock @param {LockManager} manager @param {boolean} steal */
  function request(lock, manager, steal) {
    if (!steal && queued) return;
    if (!steal) queued = true;
    const hold = () => {
      if (!steal) queued = false;
      if (leaving.signal.aborted) return undefined;
      won();
      return new Promise((resolve) => { release = () => resolve(null); });
    };
    manager.request(lock, steal ? { steal } : { signal: leaving.signal }, hold).catch(() => {
      if (leaving.signal.aborted) return;
      lost();
      request(lock, manager, false);
    });
  }

  if (name === null || !locks) won();
  else request(name, locks, false);
  return {
    /** Take it from a tab that no longer answers. */
    steal() { if (name !== null && locks) request(name, locks, true); },
    leave() {
      leaving.abort();
      release();
    },
  };
}
