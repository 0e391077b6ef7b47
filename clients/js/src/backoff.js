// How long to wait before the next try: without end, and spread so that a crowd does not come back at once.

const FIRST_MS = 1_000;
const MAX_MS = 30_000;
const LEAST_MS = 250;

/**
 * Full jitter: anywhere between nothing and a bound that doubles from 1 s to 30 s.
 * @param {number} attempt how many have failed in a row
 * @param {() => number} random
 * @returns {number} milliseconds
 */
export function backoff(attempt, random) {
  return Math.max(LEAST_MS, random() * Math.min(MAX_MS, FIRST_MS * 2 ** Math.min(attempt, 16)));
}
