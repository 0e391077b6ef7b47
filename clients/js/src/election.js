// Which tab holds the connection: the one with a lock of the browser's, which gives it on when that tab ends.

/**
 * `won` when this tab leads from now on, `lost` when another has taken it over.
 * @param {string | null} name null: alone, so this one leads; for any other the browser must have Web Locks
 * @param {{won(): void, lost(): void}} told
 */
export function elect(name, { won, lost }) {
  const leaving = new AbortController();
  let queued = false;
  let release = () => {};

  /** @param {string} lock @param {boolean} steal */
  function request(lock, steal) {
    if (!steal && queued) return;
    if (!steal) queued = true;
    const hold = () => {
      if (!steal) queued = false;
      if (leaving.signal.aborted) return undefined;
      won();
      return new Promise((resolve) => { release = () => resolve(null); });
    };
    navigator.locks.request(lock, steal ? { steal } : { signal: leaving.signal }, hold).catch(() => {
      if (leaving.signal.aborted) return;
      lost();
      request(lock, false);
    });
  }

  if (name === null) won();
  else request(name, false);
  return {
    /** Take it from a tab that no longer answers. */
    steal() { if (name !== null) request(name, true); },
    leave() {
      leaving.abort();
      release();
    },
  };
}
