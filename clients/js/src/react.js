"use client";

// React's view of a client: safe under StrictMode, concurrent rendering and server rendering. Messages go to
// handlers as events and are never kept as "the last message" in state, where batching would lose all but one.

import {
  createContext, createElement, useCallback, useContext, useEffect, useMemo, useRef, useSyncExternalStore,
} from "react";
import { NOTHING, createInbox } from "./inbox.js";
import { bridge, createClient, createEventBus } from "./index.js";

/**
 * @typedef {import("./types.js").Client} Client
 * @typedef {import("./types.js").BusEvents} BusEvents
 * @typedef {Exclude<import("./types.js").Entry, import("./types.js").NotificationUpdated>} Alerted
 * @typedef {{client: Client, bus: import("./types.js").Bus, inbox: ReturnType<typeof createInbox>, wants: Set<object>}} Parts
 */

const Context = createContext(/** @type {Parts | null} */ (null));

/** @type {import("./types.js").ConnectionState} */
const ON_SERVER = Object.freeze({
  state: "connecting", reason: null, transport: null, retryAt: null, status: null, userId: null, leader: false,
});

/** @param {Client} client @returns {Parts} */
const makeParts = (client) => ({ client, bus: createEventBus(), inbox: createInbox(client), wants: new Set() });

/** What the newest render gave, for what runs later. @template Value @param {Value} value */
function useNewest(value) {
  const newest = useRef(value);
  useEffect(() => { newest.current = value; });
  return newest;
}

function useParts() {
  const parts = useContext(Context);
  if (!parts) throw new Error("There is no <NotifydProvider> around this component");
  return parts;
}

/**
 * Holds the client for everything inside. Give `client`, or what `createClient` takes; of the latter the first
 * `getToken` handed over may change from render to render, the other options are read once. With `bus` messages go
 * onto a bus that the application has already.
 * @param {import("./types.js").ClientOptions & {client?: Client, bus?: import("./types.js").Bus,
 *   children?: import("react").ReactNode}} props
 */
export function NotifydProvider({ client, bus, children, ...options }) {
  const newest = useNewest(options.getToken);
  const own = useMemo(() => {
    const { getToken, ...rest } = options;
    const current = getToken && { getToken: (/** @type {{refresh: boolean}} */ how) => (newest.current ?? getToken)(how) };
    // Nothing happens on the server, where there is no page to have an origin.
    return makeParts(client ?? createClient({ url: globalThis.location?.origin ?? "http://localhost", ...rest, ...current }));
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [client]);
  const parts = useMemo(() => (bus ? { ...own, bus } : own), [own, bus]);
  useEffect(() => bridge(parts.client, parts.bus), [parts]);
  return createElement(Context.Provider, { value: parts }, children);
}

/** The client itself, for what the hooks below do not do. */
export const useClient = () => useParts().client;

/** Live, connecting, waiting or stopped, and why. @returns {import("./types.js").ConnectionState} */
export function useConnectionState() {
  const { client } = useParts();
  const subscribe = useCallback((/** @type {() => void} */ changed) => client.on("state", changed), [client]);
  return useSyncExternalStore(subscribe, () => client.state, () => ON_SERVER);
}

/**
 * Connected as long as `wanted` and somebody who wants it is mounted. StrictMode mounts twice within one turn, which
 * must not make two connections: so the last one's leaving counts only when nobody has come by then.
 * @param {Parts} parts @param {boolean} wanted @param {() => (() => void) | void} begin gives what ends it
 */
function useWanted({ client, wants }, wanted, begin) {
  useEffect(() => {
    if (!wanted) return undefined;
    const me = {};
    wants.add(me);
    const end = begin();
    return () => {
      end?.();
      wants.delete(me);
      queueMicrotask(() => { if (wants.size === 0) client.disconnect("not used any more"); });
    };
  }, [client, wants, wanted, begin]);
}

/**
 * The hook of the original client.
 * @param {{autoConnect?: boolean, onConnect?: () => void, onDisconnect?: () => void}} [options]
 */
export function useWebSocket({ autoConnect = true, onConnect, onDisconnect } = {}) {
  const parts = useParts();
  const { client } = parts;
  const state = useConnectionState();
  const connect = useCallback(() => { if (client.state.state === "stopped") client.connect(); }, [client]);
  const disconnect = useCallback(() => client.disconnect(), [client]);
  const send = useCallback((/** @type {import("./types.js").ClientMessage} */ message) => client.send(message), [client]);
  useWanted(parts, autoConnect, connect);
  const isConnected = state.state === "live";
  const told = useNewest({ onConnect, onDisconnect });
  useEffect(() => {
    if (!isConnected) return undefined;
    told.current.onConnect?.();
    return () => told.current.onDisconnect?.();
  }, [isConnected]);
  return {
    isConnected,
    isConnecting: state.state === "connecting",
    error: state.state === "waiting" || state.state === "stopped" ? state.reason : null,
    connect, disconnect, send,
  };
}

/**
 * Calls `handler` with the data of each such event, once. The handler may be a new function in every render.
 * @template {keyof BusEvents & string} Name
 * @param {Name} event
 * @param {(data: BusEvents[Name]) => void} handler
 */
export function useEventBus(event, handler) {
  const { bus } = useParts();
  const newest = useNewest(handler);
  useEffect(() => bus.subscribe(event, (data) => newest.current(data)), [bus, event]);
}

/**
 * Calls `handler` with each new notification in one of the user's tabs only: the place for a toast.
 * @param {(notification: Alerted) => void} handler
 */
export function useAlert(handler) {
  const { client } = useParts();
  const newest = useNewest(handler);
  useEffect(() => client.on("entry", (message, { alert }) => {
    if (alert && message.type !== "notification-updated") newest.current(message);
  }), [client]);
}

/** The user's list, newest first, joined with the live stream; connects when nothing else has. */
export function useNotifications() {
  const parts = useParts();
  const { inbox } = parts;
  const subscribe = useCallback((/** @type {() => void} */ changed) => inbox.subscribe(changed), [inbox]);
  const snapshot = useSyncExternalStore(subscribe, () => inbox.snapshot, () => NOTHING);
  useWanted(parts, true, useCallback(() => {
    inbox.start();
    return () => inbox.stop();
  }, [inbox]));
  const markRead = useCallback((/** @type {string[]} */ ...ids) => inbox.markRead(ids), [inbox]);
  const markAllRead = useCallback(() => inbox.markRead(), [inbox]);
  const loadMore = useCallback(() => inbox.loadMore(), [inbox]);
  return { ...snapshot, markRead, markAllRead, loadMore };
}
