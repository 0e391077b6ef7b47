// The whole client against a server that speaks the wire protocol, in Node, over real sockets.

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { WebSocket as NodeWebSocket } from "ws";
import { createClient } from "../src/index.js";
import { FakeServer } from "./fake-server.js";
import { tokenOf, until } from "./help.js";

/** @type {FakeServer} */
let server;
/** @type {import("../src/types.js").Client[]} */
const clients = [];
const WebSocket = /** @type {import("../src/types.js").WebSocketConstructor} */ (/** @type {unknown} */ (NodeWebSocket));

/** @param {import("../src/types.js").ClientOptions} [options] */
function connect(options, cursor = /** @type {string | null} */ (null)) {
  const client = createClient({ url: server.url, getToken: () => "t", WebSocket, ...options });
  clients.push(client);
  /** @type {string[]} */
  const entries = [];
  /** @type {import("../src/types.js").ConnectionState[]} */
  const states = [];
  /** @type {import("../src/types.js").Recovery[]} */
  const starts = [];
  client.on("entry", ({ id }) => entries.push(id));
  client.on("state", (state) => states.push(state));
  client.on("recovered", (recovery) => starts.push(recovery));
  client.connect(cursor);
  return { client, entries, states, starts, live: () => until(() => client.state.state === "live") };
}

beforeEach(async () => {
  server = await new FakeServer().start();
  vi.spyOn(Math, "random").mockReturnValue(0); // the shortest of all waits
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.disconnect();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  await server.stop();
});

const ids = (/** @type {any[]} */ messages) => messages.map(({ id }) => id);

describe.each(/** @type {const} */ (["websocket", "sse"]))("over %s", (transport) => {
  it("hears each entry once, across connections that break, and acknowledges", async () => {
    const { client, entries, live, starts } = connect({ transport });
    await live();
    expect(starts).toEqual([{ recovered: false, reason: "no-cursor", cursor: "6f1c9a02-0" }]);
    server.publish("system-message", { message: "one" });
    await until(() => entries.length === 1);
    server.closeAll();
    server.publish("x-parcel", { where: "here" });
    await until(() => entries.length === 2);
    server.streams.forEach((stream) => stream.send(server.log[0]));
    server.publish("job-completed", { job_id: 1 });
    await until(() => entries.length === 3);
    expect(entries).toEqual(ids(server.log));
    expect(client.cursor).toBe(server.head);
    await until(() => JSON.stringify(server.said).includes(`"up_to":"${server.head}"`));
    const posted = server.said.filter(({ path }) => path === "/v1/notifications/ack");
    expect(posted.map(({ body }) => body.connection_id)).toEqual(posted.map(() => expect.stringMatching(/^c\d$/)));
    expect(posted.length > 0).toBe(transport === "sse");
    expect(server.opened.at(-1)).toEqual([transport, "6f1c9a02-1"]);
  });

  it("has typed events, and forgets a handler that left", async () => {
    const { client, live } = connect({ transport });
    const heard = vi.fn();
    const leave = client.on("system-message", ({ data }, { alert }) => heard(data.message, alert));
    await live();
    server.publish("system-message", { message: "one" });
    await until(() => heard.mock.calls.length === 1);
    leave();
    server.publish("system-message", { message: "two" });
    await until(() => client.cursor === server.head);
    expect(heard.mock.calls).toEqual([["one", true]]);
  });

  it("starts after a cursor, and says when that could not be proven", async () => {
    for (let nr = 0; nr < 3; nr += 1) server.publish("system-message", { message: String(nr) });
    const { entries, starts } = connect({ transport }, "6f1c9a02-1");
    await until(() => entries.length === 2);
    expect(entries).toEqual(["6f1c9a02-2", "6f1c9a02-3"]);
    const other = connect({ transport }, "0badcafe-9");
    await until(() => other.starts.length === 1);
    expect([starts[0]?.recovered, other.starts[0]]).toEqual([true, { recovered: false, reason: "other-epoch", cursor: server.head }]);
    server.publish("system-message", { message: "live" });
    await until(() => other.entries.length === 1);
  });

  it("renews its token on the live connection", async () => {
    server.tokenExpiresAt = new Date(Date.now() + 2_000).toISOString();
    const fresh = tokenOf({ exp: Date.now() / 1000 + 900 });
    const { live } = connect({ transport, getToken: ({ refresh }) => (refresh ? fresh : "t") });
    await live();
    await until(() => JSON.stringify(server.said).includes(fresh));
    expect(server.opened).toHaveLength(1);
  });

  it("asks for another token when one is refused, and stops when that is refused too", async () => {
    server.accepts = (token) => token === "good";
    const { live } = connect({ transport, getToken: ({ refresh }) => (refresh ? "good" : "bad") });
    await live();
    const out = connect({ transport, getToken: ({ refresh }) => (refresh ? "worse" : "bad") });
    await until(() => out.client.state.state === "stopped" && out.states.length > 2);
    expect(out.client.state).toMatchObject({ reason: "signed out: token refused", status: 401 });
  });

  it("is silent after disconnect, and goes on where it was", async () => {
    const { client, entries, live } = connect({ transport });
    await live();
    client.disconnect("enough");
    await until(() => server.streams.size === 0);
    expect(client.state).toMatchObject({ state: "stopped", reason: "enough" });
    server.publish("system-message", { message: "missed" });
    client.connect();
    await until(() => entries.length === 1);
  });
});

describe("fallback", () => {
  it.each(/** @type {const} */ (["refuse", "swallow"]))("to SSE where a proxy would %s WebSockets", async (how) => {
    server.webSockets = how;
    const { entries, client } = connect({}, server.head);
    server.publish("system-message", { message: "hello" });
    await until(() => entries.length === 1, 5_000);
    expect(client.state).toMatchObject({ state: "live", transport: "sse" });
  });

  it("opens a stream that was refused by 503 itself, after Retry-After", async () => {
    server.refusals = [{ status: 503, headers: { "retry-after": "1" } }, { status: 429 }];
    const { live, states } = connect({ transport: "sse" });
    await live();
    const waits = states.filter(({ state }) => state === "waiting");
    expect(waits.map(({ reason, status }) => [reason, status])).toEqual([["not now", 503], ["not now", 429]]);
    expect(server.opened).toHaveLength(3);
  });

  it("is all there is where there is no WebSocket", async () => {
    vi.stubGlobal("WebSocket", undefined);
    const client = createClient({ url: server.url, getToken: () => "t" });
    clients.push(client);
    client.connect();
    await until(() => client.state.state === "live");
    expect(client.state.transport).toBe("sse");
    vi.unstubAllGlobals();
  });

  it("goes over by hand, the cursor going along", async () => {
    const { client, entries, live } = connect();
    await live();
    server.publish("system-message", { message: "one" });
    await until(() => entries.length === 1);
    client.setTransport("sse");
    server.publish("system-message", { message: "two" });
    await until(() => entries.length === 2);
    expect(client.state.transport).toBe("sse");
    expect(server.opened.at(-1)).toEqual(["sse", "6f1c9a02-1"]);
  });
});

it("waits for a token that cannot be had now, and needs none where a cookie is", async () => {
  let calls = 0;
  const { live, states } = connect({ getToken: () => { calls += 1; if (calls === 1) throw new Error("503"); return "t"; } });
  await live();
  expect(states.some(({ state, reason }) => state === "waiting" && reason === "no token: 503")).toBe(true);
});

it("gives a slow token its time, on the WebSocket", async () => {
  const timers = vi.spyOn(globalThis, "setTimeout");
  /** @type {(token: string) => void} */
  let give = () => {};
  const { client, live } = connect({ getToken: () => new Promise((resolve) => { give = resolve; }) });
  await until(() => client.state.state === "connecting");
  expect(timers.mock.calls.filter(([, ms]) => ms === 3_000)).toEqual([]);
  give("t");
  await live();
  expect(timers.mock.calls.filter(([, ms]) => ms === 3_000)).toHaveLength(1);
});

it("comes back with another token after its own was revoked", async () => {
  const getToken = vi.fn(({ refresh }) => (refresh ? "new" : "old"));
  const { client, live } = connect({ getToken });
  await live();
  server.closeAll(4503);
  await until(() => client.state.state === "stopped");
  expect(client.state).toMatchObject({ reason: "token revoked", status: 4503 });
  client.connect();
  await live();
  expect(getToken.mock.calls).toEqual([[{ refresh: false }], [{ refresh: true }]]);
});

it("is alone in a page where tabs cannot elect a leader", async () => {
  const channel = vi.fn();
  vi.stubGlobal("BroadcastChannel", channel);
  vi.stubGlobal("document", Object.assign(new EventTarget(), { hidden: false, hasFocus: () => true }));
  vi.stubGlobal("addEventListener", () => {});
  vi.stubGlobal("navigator", {});
  const { client, live } = connect({ share: "7" });
  await live();
  expect([channel.mock.calls, client.state.leader]).toEqual([[], true]);
});

it("marks by HTTP, and tells when that failed", async () => {
  const { client, live } = connect();
  await live();
  await client.mark("read", { ids: ["n1"] });
  await client.mark("seen", { upTo: "6f1c9a02-1" });
  expect(server.said.filter(({ path }) => path === "/v1/notifications/mark").map(({ body }) => body)).toEqual([
    { state: "read", notification_ids: ["n1"] }, { state: "seen", up_to: "6f1c9a02-1" },
  ]);
  expect(client.send({ type: "ping" })).toBe(true);
  await server.stop();
  await expect(client.mark("read", { ids: ["n1"] })).rejects.toThrow("server not reachable");
  server = await new FakeServer().start();
});
