// Built from clients/js/src by `make client`; sources ea7d823e2e79fb559001bcfcba5c14147e5c7c67e766206bb4a3bab92084e18c
"use client";
import { createContext, createElement, useCallback, useContext, useEffect, useMemo, useRef, useSyncExternalStore } from "react";
import { Fault, backoff, bridge, createClient, createEventBus, notAfter } from "/client.js";
// src/inbox.js
var PAGE = 30;
var ROOM = 500;
var RANK = Object.freeze({
	unread: 0,
	seen: 1,
	read: 2,
	archived: 3,
	withdrawn: 4
});
var isUnread = ({ state }) => RANK[state] < RANK.read;
var NOTHING = Object.freeze({
	notifications: [],
	unread: 0,
	hasMore: false,
	loading: true,
	error: null
});
var Inbox = class {
	#snapshot = NOTHING;
	#listeners = new Set();
	#ends = [];
	#early = null;
	#began = null;
	#users = 0;
	#readAt = null;
	#run = 0;
	#client;
	#page;
	constructor(client, { pageSize = PAGE } = {}) {
		this.#client = client;
		this.#page = pageSize;
	}
	get snapshot() {
		return this.#snapshot;
	}
	subscribe(listener) {
		this.#listeners.add(listener);
		return () => {
			this.#listeners.delete(listener);
		};
	}
	start() {
		this.#users += 1;
		if (this.#users > 1) return;
		this.#ends.push(this.#client.on("entry", (message) => this.#entry(message)), this.#client.on("recovered", (recovery) => this.#streamBegan(recovery)));
		this.#load(0);
	}
	stop() {
		this.#users -= 1;
		if (this.#users > 0) return;
		this.#run += 1;
		this.#early = null;
		for (const end of this.#ends.splice(0)) end();
	}
	async markRead(ids) {
		const { cursor } = this.#client;
		if (ids?.length === 0 || !ids && cursor === null) return;
		const meant = ({ data }) => !ids || ids.includes(data.notification_id);
		const raised = this.#snapshot.notifications.filter((each) => isUnread(each) && meant(each));
		this.#raise("read", meant, !ids);
		try {
			await this.#client.mark("read", ids ? { ids } : { upTo: cursor });
		} catch (fault) {
			this.#takeBack(raised);
			throw fault;
		}
	}
	async loadMore() {
		const oldest = this.#snapshot.notifications.at(-1);
		if (!oldest || !this.#snapshot.hasMore) return;
		const run = this.#run;
		const { notifications } = await this.#read(`&before=${encodeURIComponent(oldest.id)}`);
		if (run !== this.#run) return;
		const known = new Set(this.#snapshot.notifications.map(({ data }) => data.notification_id));
		const older = notifications.filter(({ data }) => !known.has(data.notification_id));
		this.#become({
			notifications: [...this.#snapshot.notifications, ...older],
			hasMore: notifications.length === this.#page
		});
	}
	#read(more) {
		return this.#client.call(`/v1/notifications?limit=${this.#page}${more}`);
	}
	#streamBegan({ recovered, reason, cursor }) {
		const fresh = reason === "no-cursor";
		if (!recovered) this.#began = cursor;
		if ((fresh ? !this.#early && !notAfter(cursor, this.#readAt) : !recovered) || this.#snapshot.error) this.#load(0);
	}
	async #load(attempt) {
		const run = ++this.#run;
		this.#early = [];
		try {
			const { notifications, cursor, unread } = await this.#read("");
			if (run !== this.#run) return;
			this.#readAt = cursor;
			if (this.#began !== null && !notAfter(this.#began, cursor)) return this.#later(attempt);
			const early = this.#early.filter(({ id }) => !notAfter(id, cursor));
			this.#early = null;
			this.#become({
				notifications,
				unread,
				hasMore: notifications.length === this.#page,
				loading: false,
				error: null
			});
			if (this.#client.state.state === "stopped") this.#client.connect(cursor);
			for (const message of early) this.#entry(message);
		} catch (error) {
			if (run === this.#run) this.#again(error, attempt);
		}
	}
	#again(error, attempt) {
		this.#early = null;
		this.#become({
			error,
			loading: false
		});
		if (error instanceof Fault && error.stop) return;
		this.#later(attempt);
	}
	#later(attempt) {
		const run = this.#run;
		setTimeout(() => {
			if (run === this.#run) this.#load(attempt + 1);
		}, backoff(attempt, Math.random));
	}
	#entry(message) {
		if (this.#early) this.#early.push(message);
		else if (message.type === "notification-updated") this.#update(message.data);
		else if (!this.#snapshot.notifications.some(({ data }) => data.notification_id === message.data.notification_id)) {
			const { notifications, unread } = this.#snapshot;
			const full = notifications.length >= ROOM;
			this.#become({
				notifications: [{
					...message,
					state: "unread"
				}, ...notifications.slice(0, full ? -1 : void 0)],
				unread: unread + 1,
				hasMore: this.#snapshot.hasMore || full
			});
		}
	}
	#update({ state, notification_ids: ids, up_to: upTo }) {
		const meant = ids ? ({ data }) => ids.includes(data.notification_id) : ({ id }) => notAfter(id, upTo);
		const found = this.#raise(state, meant, !ids && RANK[state] >= RANK.read);
		if (ids && found < ids.length) this.#recount();
	}
	#raise(state, meant, older) {
		let { unread } = this.#snapshot;
		let found = 0;
		const notifications = this.#snapshot.notifications.map((each) => {
			if (!meant(each)) return each;
			found += 1;
			if (RANK[each.state] >= RANK[state]) return each;
			unread -= Number(isUnread(each) && RANK[state] >= RANK.read);
			return {
				...each,
				state
			};
		}).filter((each) => each.state !== "withdrawn");
		if (older) unread = notifications.filter(isUnread).length;
		this.#become({
			notifications,
			unread
		});
		return found;
	}
	#takeBack(raised) {
		const states = new Map(raised.map(({ data, state }) => [data.notification_id, state]));
		const notifications = this.#snapshot.notifications.map((each) => each.state === "read" ? {
			...each,
			state: states.get(each.data.notification_id) ?? "read"
		} : each);
		this.#become({ notifications });
		this.#recount();
	}
	#recount() {
		const run = this.#run;
		this.#client.call("/v1/notifications?limit=1").then(({ unread }) => {
			if (run === this.#run) this.#become({ unread });
		}, () => {});
	}
	#become(changes) {
		this.#snapshot = {
			...this.#snapshot,
			...changes
		};
		for (const listener of [...this.#listeners]) listener();
	}
};
var createInbox = (client, options) => new Inbox(client, options);
// src/react.js
var Context = createContext(null);
var ON_SERVER = Object.freeze({
	state: "connecting",
	reason: null,
	transport: null,
	retryAt: null,
	status: null,
	userId: null,
	leader: false
});
var makeParts = (client) => ({
	client,
	bus: createEventBus(),
	inbox: createInbox(client),
	wants: new Set()
});
function useNewest(value) {
	const newest = useRef(value);
	useEffect(() => {
		newest.current = value;
	});
	return newest;
}
function useParts() {
	const parts = useContext(Context);
	if (!parts) throw new Error("There is no <NotifydProvider> around this component");
	return parts;
}
function NotifydProvider({ client, bus, children, ...options }) {
	const newest = useNewest(options.getToken);
	const own = useMemo(() => {
		const { getToken, ...rest } = options;
		const current = getToken && { getToken: (how) => (newest.current ?? getToken)(how) };
		return makeParts(client ?? createClient({
			url: globalThis.location?.origin ?? "http://localhost",
			...rest,
			...current
		}));
	}, [client]);
	const parts = useMemo(() => bus ? {
		...own,
		bus
	} : own, [own, bus]);
	useEffect(() => bridge(parts.client, parts.bus), [parts]);
	return createElement(Context.Provider, { value: parts }, children);
}
var useClient = () => useParts().client;
function useConnectionState() {
	const { client } = useParts();
	const subscribe = useCallback((changed) => client.on("state", changed), [client]);
	return useSyncExternalStore(subscribe, () => client.state, () => ON_SERVER);
}
function useWanted({ client, wants }, wanted, begin) {
	useEffect(() => {
		if (!wanted) return void 0;
		const me = {};
		wants.add(me);
		const end = begin();
		return () => {
			end?.();
			wants.delete(me);
			queueMicrotask(() => {
				if (wants.size === 0) client.disconnect("not used any more");
			});
		};
	}, [
		client,
		wants,
		wanted,
		begin
	]);
}
function useWebSocket({ autoConnect = true, onConnect, onDisconnect } = {}) {
	const parts = useParts();
	const { client } = parts;
	const state = useConnectionState();
	const connect = useCallback(() => {
		if (client.state.state === "stopped") client.connect();
	}, [client]);
	const disconnect = useCallback(() => client.disconnect(), [client]);
	const send = useCallback((message) => client.send(message), [client]);
	useWanted(parts, autoConnect, connect);
	const isConnected = state.state === "live";
	const told = useNewest({
		onConnect,
		onDisconnect
	});
	useEffect(() => {
		if (!isConnected) return void 0;
		told.current.onConnect?.();
		return () => told.current.onDisconnect?.();
	}, [isConnected]);
	return {
		isConnected,
		isConnecting: state.state === "connecting",
		error: state.state === "waiting" || state.state === "stopped" ? state.reason : null,
		connect,
		disconnect,
		send
	};
}
function useEventBus(event, handler) {
	const { bus } = useParts();
	const newest = useNewest(handler);
	useEffect(() => bus.subscribe(event, (data) => newest.current(data)), [bus, event]);
}
function useAlert(handler) {
	const { client } = useParts();
	const newest = useNewest(handler);
	useEffect(() => client.on("entry", (message, { alert }) => {
		if (alert && message.type !== "notification-updated") newest.current(message);
	}), [client]);
}
function useNotifications() {
	const parts = useParts();
	const { inbox } = parts;
	const subscribe = useCallback((changed) => inbox.subscribe(changed), [inbox]);
	const snapshot = useSyncExternalStore(subscribe, () => inbox.snapshot, () => NOTHING);
	useWanted(parts, true, useCallback(() => {
		inbox.start();
		return () => inbox.stop();
	}, [inbox]));
	const markRead = useCallback((...ids) => inbox.markRead(ids), [inbox]);
	const markAllRead = useCallback(() => inbox.markRead(), [inbox]);
	const loadMore = useCallback(() => inbox.loadMore(), [inbox]);
	return {
		...snapshot,
		markRead,
		markAllRead,
		loadMore
	};
}
export { NotifydProvider, useAlert, useClient, useConnectionState, useEventBus, useNotifications, useWebSocket };
