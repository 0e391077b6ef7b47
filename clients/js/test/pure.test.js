// The parts that know no I/O.

import { describe, expect, it, vi } from "vitest";
import { backoff } from "../src/backoff.js";
import { bridge, createEventBus } from "../src/bus.js";
import { CLOSE_CODES, shouldReconnect } from "../src/codes.js";
import { notAfter, parseCursor } from "../src/cursor.js";
import { Delivery } from "../src/delivery.js";
import { Emitter } from "../src/emitter.js";
import { createParser } from "../src/sse-parser.js";
import { TokenKeeper, claimsOf, expiryOf } from "../src/token.js";
import { golden, tokenOf } from "./help.js";

it("has the close codes of the server", () => {
  expect(CLOSE_CODES).toEqual(golden("close_codes.json"));
  expect([4000, 4499].map(shouldReconnect)).toEqual([true, true]);
  expect([1005, 3000, 4500, 4999].map(shouldReconnect)).toEqual([false, false, false, false]);
});

describe("backoff", () => {
  it("doubles its bound to 30 s and goes on without end", () => {
    const bounds = [0, 1, 2, 3, 4, 5, 6, 1e6].map((attempt) => backoff(attempt, () => 1));
    expect(bounds).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
  });

  it("lies anywhere below its bound, but does not spin", () => {
    expect(backoff(9, () => 0.5)).toBe(15_000);
    expect(backoff(9, () => 0)).toBe(250);
  });
});

describe("cursors", () => {
  it.each(["", "-1", "ab-", "ab-01", "ab--1", "a b-1", "ab-1x", null])("refuses %j", (text) => {
    expect(parseCursor(text)).toBeNull();
  });

  it("compares beyond 2^53, and only within an epoch", () => {
    expect(notAfter("ab-9007199254740993", "ab-9007199254740992")).toBe(false);
    expect(notAfter("ab-9007199254740992", "ab-9007199254740993")).toBe(true);
    expect(notAfter("ab-1", "cd-2")).toBe(false);
    expect(notAfter(null, "cd-2")).toBe(false);
  });
});

describe("the parser of event streams", () => {
  const stream = ": hello\nretry: 3000\n\nid: ab-1\ndata: {\"a\":1}\n\ndata:two\r\ndata: lines\r\n\r\nevent: x\n\ndata: open";

  it.each([1, 2, 3, 7, 1000])("reads the same in pieces of %i", (size) => {
    /** @type {string[]} */
    const heard = [];
    const parser = createParser((data) => heard.push(data));
    for (let start = 0; start < stream.length; start += size) parser.push(stream.slice(start, start + size));
    expect(heard).toEqual(['{"a":1}', "two\nlines"]);
  });
});

describe("tokens", () => {
  it("are read, and what is none is null", () => {
    expect(expiryOf(tokenOf({ exp: 1_769_860_800 }))).toBe(1_769_860_800_000);
    expect(claimsOf(tokenOf({ sub: "Zoë" }))).toEqual({ sub: "Zoë" });
    expect([expiryOf("x"), expiryOf(null), claimsOf("a.b.c")]).toEqual([null, null, null]);
  });

  it("are asked for once at a time, kept, and asked for anew when they end soon", async () => {
    const soon = tokenOf({ exp: Date.now() / 1000 + 2 });
    const good = tokenOf({ exp: Date.now() / 1000 + 900 });
    const getToken = vi.fn(async ({ refresh }) => (refresh ? good : soon));
    const keeper = new TokenKeeper(getToken);
    expect(await Promise.all([keeper.get(), keeper.get()])).toEqual([soon, soon]);
    expect(await keeper.get()).toBe(good);
    expect(await keeper.get()).toBe(good);
    expect(getToken.mock.calls).toEqual([[{ refresh: false }], [{ refresh: true }]]);
  });

  it("are judged by the time since they came, not by a clock that is wrong", async () => {
    vi.useFakeTimers();
    const issued = Date.now() / 1000 - 86_400; // as a clock a day ahead sees it
    const token = tokenOf({ iat: issued, exp: issued + 900 });
    const getToken = vi.fn(async () => token);
    const keeper = new TokenKeeper(getToken);
    expect([await keeper.get(), await keeper.get()]).toEqual([token, token]);
    expect(getToken).toHaveBeenCalledTimes(1);
    vi.advanceTimersByTime(900_000);
    expect(await keeper.get()).toBe(token); // old, says the clock; only the server can refuse it
    expect(getToken.mock.calls.at(-1)).toEqual([{ refresh: true }]);
    await expect(keeper.get({ refresh: true })).rejects.toMatchObject({ stop: true, status: 401 });
    const bare = vi.fn(async () => tokenOf({ exp: issued })); // not even that says how long
    const other = new TokenKeeper(bare);
    expect(await other.get()).toBe(await other.get());
    expect(bare).toHaveBeenCalledTimes(1);
    vi.useRealTimers();
  });

  it("are forgotten when the next one is not to be had for good", async () => {
    const getToken = vi.fn(({ refresh }) => (refresh ? null : "t"));
    const keeper = new TokenKeeper(getToken);
    await keeper.get();
    await expect(keeper.get({ refresh: true })).rejects.toMatchObject({ stop: true });
    await keeper.get();
    expect(getToken).toHaveBeenCalledTimes(3);
  });

  it("end it when there is none, or only the refused one", async () => {
    await expect(new TokenKeeper(() => null).get()).rejects.toMatchObject({ stop: true, status: 401 });
    const keeper = new TokenKeeper(() => "same");
    await keeper.get();
    await expect(keeper.get({ refresh: true })).rejects.toMatchObject({ stop: true });
    await expect(new TokenKeeper(() => { throw new Error("503"); }).get()).rejects.toMatchObject({ stop: false });
  });
});

describe("delivery", () => {
  /** @param {number} nr @returns {any} */
  const entry = (nr) => ({ type: "system-message", id: `ab-${nr}`, data: { notification_id: `n${nr}` }, timestamp: "" });

  function make() {
    const emitter = /** @type {Emitter<import("../src/types.js").ClientEvents>} */ (new Emitter());
    /** @type {[string, boolean][]} */
    const given = [];
    emitter.on("entry", ({ id }, { alert }) => given.push([id, alert]));
    const delivery = new Delivery(emitter);
    delivery.cursor = "ab-5";
    return { delivery, given };
  }

  it("gives each entry once, whatever is repeated", () => {
    const { delivery, given } = make();
    for (const [nr, prev] of [[6, 5], [6, 5], [9, 6], [5, 4], [9, 6]]) {
      expect(delivery.entry(entry(Number(nr)), `ab-${prev}`, nr === 9)).toBe(true);
    }
    expect(given).toEqual([["ab-6", false], ["ab-9", true]]);
  });

  it("says when something before an entry is missing, and gives nothing", () => {
    const { delivery, given } = make();
    expect(delivery.entry(entry(9), "ab-7", true)).toBe(false);
    expect(delivery.position("ab-9", "ab-7")).toBe(false);
    expect(delivery.entry(entry(9), "cd-5", true)).toBe(false);
    expect(given).toEqual([]);
    expect(delivery.position("ab-8", "ab-5")).toBe(true);
    expect(delivery.cursor).toBe("ab-8");
  });

  it("goes on at the head after a gap, and where it was without one", () => {
    const { delivery } = make();
    delivery.recovered({ recovered: true, reason: null, cursor: "ab-2" });
    delivery.recovered({ recovered: false, reason: "no-cursor", cursor: "ab-9" });
    expect(delivery.cursor).toBe("ab-5");
    delivery.recovered({ recovered: false, reason: "trimmed", cursor: "ab-90" });
    expect(delivery.cursor).toBe("ab-90");
  });
});

describe("the event bus", () => {
  it("has the original's names for the messages of a client", () => {
    const emitter = /** @type {Emitter<import("../src/types.js").ClientEvents>} */ (new Emitter());
    const bus = createEventBus();
    /** @type {unknown[]} */
    const heard = [];
    const names = /** @type {const} */ (["notification:deal", "notification:system", "notification:job", "notification:updated"]);
    for (const name of names) bus.subscribe(name, (data) => heard.push([name, data]));
    const end = bridge({ on: emitter.on.bind(emitter) }, bus);
    const entries = golden("messages.json").to_client.filter((/** @type {any} */ { id }) => id);
    for (const message of entries) emitter.emit("entry", message);
    const [deal, system, job, some, all] = entries.map((/** @type {any} */ { data }) => data);
    expect(heard).toEqual([
      ["notification:deal", deal], ["notification:system", system], ["notification:job", job],
      ["notification:updated", some], ["notification:updated", all],
    ]);
    end();
    emitter.emit("entry", entries[0]);
    expect(heard).toHaveLength(5);
  });

  it("is disturbed by no handler that throws or leaves", () => {
    const reported = vi.fn();
    vi.stubGlobal("reportError", reported);
    const bus = createEventBus();
    const heard = vi.fn();
    const leave = bus.subscribe("notification:system", () => { leave(); throw new Error("mine"); });
    bus.subscribe("notification:system", heard);
    const data = golden("messages.json").to_client[2].data;
    bus.dispatch("notification:system", data);
    bus.dispatch("notification:system", data);
    expect(heard).toHaveBeenCalledTimes(2);
    expect(reported).toHaveBeenCalledTimes(1);
    vi.unstubAllGlobals();
  });
});
