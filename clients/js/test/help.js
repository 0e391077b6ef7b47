import { readFileSync } from "node:fs";
import { join } from "node:path";
import { cwd } from "node:process";
import { vi } from "vitest";

/** @param {string} name @returns {any} what the Python tests read too */
export const golden = (name) => JSON.parse(readFileSync(join(cwd(), "../../tests/golden", name), "utf8"));

/** A token as a server signs it, but for the signature. @param {object} claims */
export const tokenOf = (claims) => `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.sig`;

/** @param {() => boolean} holds @param {number} [ms] */
export const until = (holds, ms = 5_000) => vi.waitUntil(holds, { timeout: ms, interval: 5 });
