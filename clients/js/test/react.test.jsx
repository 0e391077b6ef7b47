// @vitest-environment jsdom
// The hooks in React: StrictMode, batching, server rendering.

import { StrictMode, act, startTransition, useState } from "react";
import { createRoot } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { createClient, createEventBus } from "../src/index.js";
import {
  NotifydProvider, useAlert, useConnectionState, useEventBus, useNotifications, useWebSocket,
} from "../src/react.js";
import { FakeServer } from "./fake-server.js";
import { until } from "./help.js";

/** @type {FakeServer} */
let server;
/** @type {import("react-dom/client").Root} */
let root;

beforeEach(async () => {
  vi.stubGlobal("IS_REACT_ACT_ENVIRONMENT", true);
  server = await new FakeServer().start();
  root = createRoot(document.body.appendChild(document.createElement("main")));
});

afterEach(async () => {
  await act(async () => root.unmount());
  document.body.replaceChildren();
  await until(() => server.streams.size === 0);
  await server.stop();
  vi.unstubAllGlobals();
});

/** Everything over SSE by Node's fetch: jsdom has WebSockets of its own, which tests/browser tries in a real browser. */
const make = () => createClient({ url: server.url, getToken: () => "t", transport: "sse", share: false });

/** @param {import("react").ReactNode} children */
async function render(children, client = make()) {
  await act(async () => root.render(<StrictMode><NotifydProvider client={client}>{children}</NotifydProvider></StrictMode>));
  return client;
}

/** Waits while React works. @param {() => boolean} holds */
const seen = (holds) => act(() => until(holds));
const text = () => document.body.textContent ?? "";

it("makes one connection under StrictMode and hears each message once", async () => {
  /** @type {string[]} */
  const heard = [];
  function Component() {
    const { isConnected, isConnecting } = useWebSocket({ autoConnect: true });
    useEventBus("notification:system", ({ message }) => heard.push(message));
    return isConnected ? "Live" : isConnecting ? "Connecting" : "Offline";
  }
  await render(<><Component /><Component /></>);
  await seen(() => text() === "LiveLive");
  server.publish("system-message", { message: "one" });
  server.publish("system-message", { message: "two" });
  await seen(() => heard.length === 4);
  expect(heard).toEqual(["one", "one", "two", "two"]); // each of the two components
  expect(server.opened).toHaveLength(1);
});

it("puts messages onto the application's own bus, and onto another one when that changes", async () => {
  const [first, second] = [createEventBus(), createEventBus()];
  /** @type {unknown[]} */
  const heard = [];
  first.subscribe("notification:x-parcel", ({ where }) => heard.push(["first", where]));
  second.subscribe("notification:x-parcel", ({ where }) => heard.push(["second", where]));
  function Component() {
    useWebSocket();
    useEventBus("notification:x-parcel", ({ where }) => heard.push(["hook", where]));
    return null;
  }
  const client = make();
  const show = (/** @type {ReturnType<typeof createEventBus>} */ bus) => act(async () => root.render(
    <NotifydProvider client={client} bus={bus}><Component /></NotifydProvider>));
  await show(first);
  await seen(() => server.streams.size === 1);
  server.publish("x-parcel", { where: "here" });
  await seen(() => heard.length === 2);
  await show(second);
  server.publish("x-parcel", { where: "there" });
  await seen(() => heard.length === 4);
  expect(heard.sort()).toEqual([["first", "here"], ["hook", "here"], ["hook", "there"], ["second", "there"]]);
  expect(server.opened).toHaveLength(1);
});

it("loses nothing to batching, renders and transitions", async () => {
  /** @type {string[]} */
  const heard = [];
  function Component() {
    const [count, setCount] = useState(0);
    useWebSocket();
    useEventBus("notification:system", ({ message }) => {
      heard.push(message);
      startTransition(() => setCount(count + 1)); // a handler that closes over old state, as careless ones do
    });
    return <p>{count}</p>;
  }
  await render(<Component />);
  await seen(() => server.streams.size === 1);
  const sent = Array.from({ length: 200 }, (_, nr) => String(nr));
  for (const message of sent) server.publish("system-message", { message });
  await seen(() => heard.length >= 200);
  expect(heard).toEqual(sent);
});

it("lists what there was and what comes, marks and takes older pages", async () => {
  for (let nr = 1; nr <= 32; nr += 1) server.publish("system-message", { message: `m${nr}` });
  function List() {
    const { notifications, unread, markRead, markAllRead, loadMore, hasMore } = useNotifications();
    return (
      <>
        <b>{unread}</b>
        <ul>{notifications.map(({ id, state }) => <li key={id}>{`${id} ${state}`}</li>)}</ul>
        <button id="one" onClick={() => markRead("n32")} />
        <button id="all" onClick={() => markAllRead()} />
        {hasMore && <button id="more" onClick={() => loadMore()} />}
      </>
    );
  }
  await render(<List />);
  const items = () => document.querySelectorAll("li").length;
  const click = (/** @type {string} */ id) => act(async () => /** @type {HTMLElement} */ (document.getElementById(id)).click());
  await seen(() => items() === 30);
  await seen(() => server.streams.size === 1);
  server.publish("x-parcel", { where: "here" });
  await seen(() => items() === 31);
  expect(document.querySelector("b")?.textContent).toBe("33");
  await click("one");
  expect(document.querySelector("b")?.textContent).toBe("32");
  await click("more");
  await seen(() => items() === 33);
  expect(document.getElementById("more")).toBeNull();
  await click("all");
  expect(document.querySelector("b")?.textContent).toBe("0");
  expect(server.opened).toEqual([["sse", "6f1c9a02-32"]]);
});

it("alerts of what is new, and says what state the connection is in", async () => {
  const alerted = vi.fn();
  function Component() {
    const { connect, disconnect } = useWebSocket({ autoConnect: false });
    useAlert(({ type }) => alerted(type));
    return <button onClick={useConnectionState().state === "stopped" ? connect : disconnect}>{useConnectionState().state}</button>;
  }
  await render(<Component />);
  expect(text()).toBe("stopped");
  await act(async () => document.querySelector("button")?.click());
  await seen(() => text() === "live");
  server.publish("job-completed", { job_id: 1, job_name: "Import", status: "completed" });
  server.publish("notification-updated", { state: "read", notification_ids: ["n1"] });
  await seen(() => alerted.mock.calls.length === 1);
  expect(alerted.mock.calls).toEqual([["job-completed"]]);
  await act(async () => document.querySelector("button")?.click());
  await seen(() => text() === "stopped" && server.streams.size === 0);
});

it("disconnects when the last one has gone, and not before", async () => {
  /** @param {{name: string}} props */
  function Component({ name }) { useWebSocket(); return name; }
  const client = await render(<><Component key="a" name="a" /><Component key="b" name="b" /></>);
  await seen(() => server.streams.size === 1);
  await render(<Component key="b" name="b" />, client);
  expect(client.state.state).toBe("live");
  await render(null, client);
  await seen(() => server.streams.size === 0);
  expect(client.state).toMatchObject({ state: "stopped", reason: "not used any more" });
});

it("renders on a server, where nothing connects", () => {
  function Component() {
    const { isConnected } = useWebSocket();
    const { notifications, loading } = useNotifications();
    return <p>{`${isConnected} ${notifications.length} ${loading}`}</p>;
  }
  expect(renderToString(<NotifydProvider url={server.url}><Component /></NotifydProvider>)).toBe("<p>false 0 true</p>");
  expect(server.opened).toEqual([]);
});

it("says that a provider is missing", () => {
  function Component() { useConnectionState(); return null; }
  expect(() => renderToString(<Component />)).toThrow("There is no <NotifydProvider>");
});
