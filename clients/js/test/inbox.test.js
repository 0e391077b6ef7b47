// The list joined with the stream: no gap at page load, whatever comes first.

import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Fault } from "../src/http.js";
import { createInbox } from "../src/inbox.js";
import { golden } from "./help.js";

/** A client whose list and stream the test has in its hands. */
class FakeClient {
  /** @type {Map<string, Set<Function>>} */
  handlers = new Map();
  state = { state: "stopped" };
  /** @type {string | null} */
  cursor = null;
  /** @type {((answer: any) => void)[]} */
  asked = [];
  /** @type {unknown[]} */
  marks = [];
  /** @type {(string | null)[]} */
  connects = [];
  /** @type {Error | null} */
  failing = null;

  on(/** @type {string} */ name, /** @type {Function} */ handler) {
    const all = this.handlers.get(name) ?? new Set();
    this.handlers.set(name, all.add(handler));
    return () => all.delete(handler);
  }

  emit(/** @type {string} */ name, /** @type {any} */ detail) {
    for (const handler of this.handlers.get(name) ?? []) handler(detail, { alert: false });
  }

  call(/** @type {string} */ path) {
    if (this.failing) return Promise.reject(this.failing);
    return new Promise((resolve) => { this.asked.push((answer) => resolve({ path, ...answer })); });
  }

  async mark(/** @type {string} */ state, /** @type {object} */ what) {
    this.marks.push([state, what]);
    if (this.failing) throw this.failing;
  }

  connect(/** @type {string | null} */ cursor) {
    this.connects.push(cursor);
    this.cursor = cursor;
    this.state = { state: "live" };
  }
}

const entry = (/** @type {number} */ nr) => (
  { type: "system-message", id: `ab-${nr}`, timestamp: "", data: { notification_id: `n${nr}`, message: "", severity: "info", critical: false } });
const listed = (/** @type {number} */ nr, state = "unread") => ({ ...entry(nr), state });

/** @type {FakeClient} */
let client;
/** @type {ReturnType<typeof createInbox>} */
let inbox;
const shown = () => inbox.snapshot.notifications.map(({ id, state }) => `${id} ${state}`);

/** @param {any[]} notifications */
async function answer(notifications, cursor = "ab-9", unread = notifications.length) {
  await vi.waitUntil(() => client.asked.length > 0);
  client.asked.shift()?.({ notifications, cursor, unread });
  await new Promise((resolve) => { setTimeout(resolve, 0); });
}

beforeEach(() => {
  client = new FakeClient();
  inbox = createInbox(/** @type {any} */ (client), { pageSize: 2 });
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

it("reads the list, then connects at its cursor", async () => {
  inbox.start();
  expect(inbox.snapshot.loading).toBe(true);
  await answer([listed(9), listed(7, "read")], "ab-9", 1);
  expect(client.connects).toEqual(["ab-9"]);
  expect(inbox.snapshot).toMatchObject({ unread: 1, hasMore: true, loading: false });
  client.emit("entry", entry(10));
  client.emit("entry", entry(10));
  expect(shown()).toEqual(["ab-10 unread", "ab-9 unread", "ab-7 read"]);
  expect(inbox.snapshot.unread).toBe(2);
});

it("joins what a live stream brought while the list was read", async () => {
  client.connect("ab-5");
  inbox.start();
  client.emit("entry", entry(9)); // in the list too
  client.emit("entry", entry(10));
  await answer([listed(9)], "ab-9");
  expect(shown()).toEqual(["ab-10 unread", "ab-9 unread"]);
  expect(client.connects).toEqual(["ab-5"]);
});

it("reads again when a stream without a cursor began after the list", async () => {
  vi.spyOn(Math, "random").mockReturnValue(0);
  client.connect(null);
  inbox.start();
  client.emit("recovered", { recovered: false, reason: "no-cursor", cursor: "ab-12" });
  await answer([listed(9)], "ab-9");
  await answer([listed(12), listed(9)], "ab-12");
  expect(shown()).toEqual(["ab-12 unread", "ab-9 unread"]);
});

it("takes a list of the new epoch after a restore", async () => {
  client.connect(null);
  inbox.start();
  client.emit("recovered", { recovered: false, reason: "no-cursor", cursor: "ab-12" });
  await answer([listed(9)], "ab-12");
  client.emit("recovered", { recovered: false, reason: "other-epoch", cursor: "cd-2" });
  await answer([listed(1)], "cd-2");
  expect([shown(), client.asked.length]).toEqual([["ab-1 unread"], 0]);
});

it("waits longer and longer for a list that cannot be compared with the stream", async () => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(1);
  client.call = vi.fn(async () => ({ notifications: [], cursor: "cd-2", unread: 0 }));
  client.connect(null);
  inbox.start();
  client.emit("recovered", { recovered: false, reason: "no-cursor", cursor: "ab-12" });
  await vi.advanceTimersByTimeAsync(10_000);
  expect(/** @type {any} */ (client.call).mock.calls.length).toBeLessThan(6);
  client.emit("recovered", { recovered: false, reason: "other-epoch", cursor: "cd-2" });
  await vi.advanceTimersByTimeAsync(0);
  expect(inbox.snapshot.loading).toBe(false);
});

it("reads anew after a gap", async () => {
  inbox.start();
  await answer([listed(9)]);
  client.emit("recovered", { recovered: true, reason: null, cursor: "ab-9" });
  expect(client.asked).toEqual([]);
  client.emit("recovered", { recovered: false, reason: "trimmed", cursor: "ab-90" });
  await answer([listed(80)], "ab-90");
  expect(shown()).toEqual(["ab-80 unread"]);
});

it("follows marks of other tabs, and asks for the count when they concern what it does not hold", async () => {
  inbox.start();
  await answer([listed(9), listed(8)], "ab-9", 5);
  client.emit("entry", { type: "notification-updated", id: "ab-10", data: { state: "read", notification_ids: ["n9"] } });
  client.emit("entry", { type: "notification-updated", id: "ab-11", data: { state: "seen", notification_ids: ["n9"] } });
  expect([shown(), inbox.snapshot.unread]).toEqual([["ab-9 read", "ab-8 unread"], 4]);
  client.emit("entry", { type: "notification-updated", id: "ab-12", data: { state: "withdrawn", notification_ids: ["n8", "n3"] } });
  expect(shown()).toEqual(["ab-9 read"]);
  await answer([], "ab-12", 2);
  expect(inbox.snapshot.unread).toBe(2);
  client.emit("entry", { type: "notification-updated", id: "ab-13", data: { state: "read", up_to: "ab-12" } });
  expect(inbox.snapshot.unread).toBe(0);
});

it("marks at once, and takes it back when that fails", async () => {
  inbox.start();
  await answer([listed(9), listed(8)]);
  await inbox.markRead(["n9"]);
  expect([shown(), inbox.snapshot.unread]).toEqual([["ab-9 read", "ab-8 unread"], 1]);
  await inbox.markRead([]);
  await inbox.markRead();
  expect(client.marks).toEqual([["read", { ids: ["n9"] }], ["read", { upTo: "ab-9" }]]);
  client.emit("entry", entry(10));
  client.failing = new Error("offline");
  const marking = inbox.markRead(["n10"]);
  expect(shown()[0]).toBe("ab-10 read");
  await expect(marking).rejects.toThrow("offline");
  expect(shown()[0]).toBe("ab-10 unread");
});

it("takes back only what that call did", async () => {
  inbox.start();
  await answer([listed(9), listed(8)]);
  client.emit("entry", entry(10));
  client.failing = new Error("offline");
  const marking = inbox.markRead(["n9", "n10"]);
  client.emit("entry", { type: "notification-updated", id: "ab-11", data: { state: "archived", notification_ids: ["n10"] } });
  client.emit("entry", { type: "notification-updated", id: "ab-12", data: { state: "read", notification_ids: ["n8"] } });
  await expect(marking).rejects.toThrow("offline");
  expect(shown()).toEqual(["ab-10 archived", "ab-9 unread", "ab-8 read"]);
});

it("has older pages", async () => {
  inbox.start();
  await answer([listed(9), listed(8)]);
  const more = inbox.loadMore();
  client.emit("entry", entry(10));
  await answer([listed(8), listed(7)]);
  await more;
  expect(shown().map((each) => each.split(" ")[0])).toEqual(["ab-10", "ab-9", "ab-8", "ab-7"]);
  const last = inbox.loadMore();
  await answer([listed(6)]);
  await last;
  expect(inbox.snapshot.hasMore).toBe(false);
});

it("tries again when the list cannot be read, and ends with its last user", async () => {
  vi.spyOn(Math, "random").mockReturnValue(0);
  client.failing = new Error("server not reachable");
  inbox.start();
  inbox.start();
  await vi.waitUntil(() => inbox.snapshot.error !== null);
  client.failing = null;
  await answer([listed(9)]);
  expect(inbox.snapshot.error).toBeNull();
  inbox.stop();
  client.emit("entry", entry(10));
  inbox.stop();
  client.emit("entry", entry(11));
  expect(shown()).toEqual(["ab-10 unread", "ab-9 unread"]);
});

it("reads anew when a stream begins after a failure for good, as at sign-in", async () => {
  client.failing = new Fault("signed out: there is no token", { status: 401, stop: true });
  inbox.start();
  await vi.waitUntil(() => inbox.snapshot.error !== null);
  client.failing = null;
  client.connect(null);
  client.emit("recovered", { recovered: false, reason: "no-cursor", cursor: "ab-9" });
  await answer([listed(9)]);
  expect([shown(), inbox.snapshot.error]).toEqual([["ab-9 unread"], null]);
  client.emit("entry", entry(10));
  expect(shown()).toEqual(["ab-10 unread", "ab-9 unread"]);
});

it("does so too when the stream went on where it was", async () => {
  inbox.start();
  await answer([listed(9)]);
  inbox.stop();
  client.failing = new Fault("signed out: there is no token", { status: 401, stop: true });
  inbox.start();
  await vi.waitUntil(() => inbox.snapshot.error !== null);
  client.failing = null;
  client.emit("recovered", { recovered: true, reason: null, cursor: "ab-9" });
  await answer([listed(10), listed(9)], "ab-10");
  expect(shown()).toEqual(["ab-10 unread", "ab-9 unread"]);
});

it("begins anew after a stop in the midst of reading", async () => {
  client.connect(null);
  inbox.start();
  inbox.stop();
  client.asked.shift();
  inbox.start();
  await answer([listed(9)]);
  client.emit("entry", entry(10));
  expect(shown()).toEqual(["ab-10 unread", "ab-9 unread"]);
});

it("understands each notification of the wire", async () => {
  inbox.start();
  await answer([], "6f1c9a02-40", 0);
  for (const message of golden("messages.json").to_client) if (message.id) client.emit("entry", message);
  expect(inbox.snapshot.notifications.map(({ type, state }) => [type, state])).toEqual([
    ["x-parcel", "unread"], ["job-completed", "read"], ["system-message", "read"], ["deal-notification", "read"],
  ]);
});
