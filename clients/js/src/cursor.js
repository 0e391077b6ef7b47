// A place in the log, `<epoch>-<seq>`. Places of two epochs cannot be compared.

/**
 * @param {string | null | undefined} text
 * @returns {{epoch: string, seq: bigint} | null} null for what is no cursor
 */
export function parseCursor(text) {
  const match = /^([0-9A-Za-z]{1,40})-(0|[1-9][0-9]{0,18})$/.exec(text ?? "");
  return match && { epoch: /** @type {string} */ (match[1]), seq: BigInt(/** @type {string} */ (match[2])) };
}

/**
 * Whether `a` lies at or before `b`; false when that cannot be said.
 * @param {string | null | undefined} a
 * @param {string | null | undefined} b
 */
export function notAfter(a, b) {
  const [left, right] = [parseCursor(a), parseCursor(b)];
  return left !== null && right !== null && left.epoch === right.epoch && left.seq <= right.seq;
}
