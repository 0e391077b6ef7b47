// Tabs of one browser: who leads, what the others are told, on channels and locks of the test's own.

import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Delivery } from "../src/delivery.js";
import { Emitter } from "../src/emitter.js";
import { Tabs } from "../src/tabs.js";

/** @type {Set<FakeChannel>} */
const channels = new Set();

class FakeChannel {
  /** @type {(event: {data: any}) => void} */
  onmessage = () => {};
  constructor() { channels.add(this); }
  close() { channels.delete(this); }
  postMessage(/** @type {any} */ data) {
    sent.push(data);
    for (const other of channels) if (other !== this) other.onmessage({ data });
  }
}

/** @type {any[]} */
let sent;
/** @type {{steal?: boolean}[]} */
let requests;
let held = false;
/** @type {Tabs[]} */
const open = [];

beforeEach(() => {
  vi.useFakeTimers();
  [sent, requests, held] = [[], [], false];
  vi.stubGlobal("BroadcastChannel", FakeChannel);
  vi.stubGlobal("document", { hidden: false, hasFocus: () => true });
  vi.stubGlobal("navigator", {
    locks: {
      request: (/** @type {string} */ _, /** @type {{steal?: boolean}} */ how, /** @type {() => unknown} */ hold) => {
        requests.push(how);
        if (held && !how.steal) return new Promise(() => {});
        held = true;
        return Promise.resolve(hold());
      },
    },
  });
});

afterEach(() => {
  for (const tabs of open.splice(0)) tabs.stop();
  channels.clear();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** @param {string | null} name @param {string | null} cursor */
function tab(name, cursor = null) {
  const delivery = new Delivery(new Emitter());
  delivery.cursor = cursor;
  const connection = { cursor: "ab-3", state: {}, connect: vi.fn(), disconnect: vi.fn(), rewind: vi.fn(), wake: vi.fn() };
  /** @type {any} */
  let sink;
  const tabs = new Tabs({
    name, delivery,
    connect: (given) => { sink = given; return /** @type {any} */ (connection); },
    out: { state: () => {}, event: () => {} },
  });
  open.push(tabs);
  tabs.start();
  return { tabs, delivery, connection, sink };
}

const entry = (/** @type {number} */ nr) => (/** @type {any} */ (
  { type: "x-parcel", id: `ab-${nr}`, timestamp: new Date().toISOString(), data: { notification_id: `n${nr}` } }));

it("does not take the lead for several events at once, but when nobody answers", () => {
  held = true; // by a tab that has not had its turn yet
  const { tabs } = tab("7");
  for (const why of /** @type {const} */ (["online", "visible", "visible", "visible"])) tabs.wake(why);
  expect(requests.filter(({ steal }) => steal)).toEqual([]);
  expect(sent.filter(({ kind }) => kind === "ask")).toHaveLength(1);
  vi.advanceTimersByTime(1_200);
  expect(requests.filter(({ steal }) => steal)).toHaveLength(1);
});

it("tells a tab that comes late only what it lacks", () => {
  const leader = tab("7", "ab-0");
  for (const nr of [1, 2, 3]) leader.sink.entry(entry(nr), `ab-${nr - 1}`);
  sent = [];
  const { delivery } = tab("7", "ab-2");
  expect(sent.filter(({ kind }) => kind === "entry").map(({ message }) => message.id)).toEqual(["ab-3"]);
  expect(delivery.cursor).toBe("ab-3");
  expect(leader.connection.rewind).not.toHaveBeenCalled();
});

it("needs neither channel nor lock alone", () => {
  const { sink, delivery } = tab(null, "ab-0");
  sink.entry(entry(1), "ab-0");
  expect([delivery.cursor, channels.size, requests]).toEqual(["ab-1", 0, []]);
});
