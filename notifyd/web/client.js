// Built from clients/js/src by `make client`; sources ea7d823e2e79fb559001bcfcba5c14147e5c7c67e766206bb4a3bab92084e18c
// src/backoff.js
var FIRST_MS = 1e3;
var MAX_MS = 3e4;
var LEAST_MS = 250;
function backoff(attempt, random) {
	return Math.max(LEAST_MS, random() * Math.min(MAX_MS, FIRST_MS * 2 ** Math.min(attempt, 16)));
}
// src/emitter.js
var Emitter = class {
	#handlers = new Map();
	on(name, handler) {
		const handlers = this.#handlers.get(name) ?? new Set();
		this.#handlers.set(name, handlers.add(handler));
		return () => {
			handlers.delete(handler);
		};
	}
	emit(name, detail, more) {
		for (const handler of [...this.#handlers.get(name) ?? []]) try {
			handler(detail, more);
		} catch (error) {
			reportLater(error);
		}
	}
};
function reportLater(error) {
	if (typeof reportError === "function") reportError(error);
	else queueMicrotask(() => {
		throw error;
	});
}
// src/bus.js
var EVENT_OF = {
	"deal-notification": "notification:deal",
	"system-message": "notification:system",
	"job-completed": "notification:job",
	"notification-updated": "notification:updated"
};
function createEventBus() {
	const emitter = new Emitter();
	return {
		dispatch: (event, data) => emitter.emit(event, data),
		subscribe: (event, handler) => emitter.on(event, handler)
	};
}
function bridge(client, bus) {
	return client.on("entry", (message) => {
		const event = EVENT_OF[message.type] ?? `notification:${message.type}`;
		bus.dispatch(event, message.data);
	});
}
// src/http.js
var PATIENCE_MS = 8e3;
var Fault = class extends Error {
	constructor(message, { status = 0, stop = false, afterMs = null, code = null } = {}) {
		super(message);
		this.name = "Fault";
		this.status = status;
		this.stop = stop;
		this.afterMs = afterMs;
		this.code = code;
	}
};
function retryAfterMs(response, now) {
	const text = response.headers.get("retry-after");
	if (!text) return null;
	const ms = /^\d+$/.test(text) ? Number(text) * 1e3 : Date.parse(text) - now;
	return ms > 0 ? ms : null;
}
async function faultOf(response) {
	const problem = await response.json().catch(() => null);
	return new Fault(problem?.detail ?? problem?.title ?? `the server answered ${response.status}`, {
		status: response.status,
		stop: response.status === 403,
		afterMs: retryAfterMs(response, Date.now())
	});
}
var bearer = (token) => token === null ? {} : { authorization: `Bearer ${token}` };
async function call(url, { method = "GET", token = null, body } = {}) {
	const headers = {
		accept: "application/json",
		...bearer(token)
	};
	if (body !== void 0) Object.assign(headers, { "content-type": "application/json" });
	let response;
	try {
		response = await fetch(url, {
			method,
			headers,
			body: body === void 0 ? null : JSON.stringify(body),
			cache: "no-store",
			credentials: "same-origin",
			signal: AbortSignal.timeout(PATIENCE_MS)
		});
	} catch {
		throw new Fault("server not reachable");
	}
	if (!response.ok) throw await faultOf(response);
	return response.json().catch(() => null);
}
// src/codes.js
var CLOSE_CODES = Object.freeze({
	1e3: ["normal", false],
	1001: ["server drains", true],
	1002: ["protocol error", false],
	1003: ["binary messages are not accepted", false],
	1006: ["connection lost", true],
	1007: ["invalid UTF-8", false],
	1008: ["policy violation", false],
	1009: ["message too big", false],
	1011: ["internal error", true],
	1012: ["server restarts", true],
	1013: ["server overloaded", true],
	4001: ["token expired", true],
	4012: ["no answer to pings", true],
	4029: ["too many messages", true],
	4501: ["bad token", false],
	4503: ["token revoked", false],
	4504: ["too many connections", false]
});
var shouldReconnect = (code) => code >= 4e3 && code < 4500 || (CLOSE_CODES[code]?.[1] ?? false);
// src/cursor.js
function parseCursor(text) {
	const match = /^([0-9A-Za-z]{1,40})-(0|[1-9][0-9]{0,18})$/.exec(text ?? "");
	return match && {
		epoch: match[1],
		seq: BigInt(match[2])
	};
}
function notAfter(a, b) {
	const [left, right] = [parseCursor(a), parseCursor(b)];
	return left !== null && right !== null && left.epoch === right.epoch && left.seq <= right.seq;
}
// src/machine.js
var FIRST_MESSAGE_MS = Object.freeze({
	websocket: 3e3,
	sse: 8e3
});
var SILENCE_MARGIN_MS = 1e4;
var PROBE_MS = 4e3;
var STEADY_MS = 5e3;
var WEBSOCKET_AGAIN_MS = 3e5;
var ACK_WITHIN_MS = 1e3;
var WAKE_EVERY_MS = 1e3;
var MAX_TIMER_MS = 2 ** 31 - 1;
var MAX_WAIT_MS = 36e5;
var Machine = class {
	#out = [];
	#wanted = false;
	#attempt = 0;
	#attemptedAt = -Infinity;
	#heardAt = 0;
	#refresh = false;
	#refused = false;
	#webSocketFailed = false;
	#heartbeatMs = 3e4;
	#slot = null;
	#acking = false;
	#random;
	transport;
	sseUntil;
	cursor = null;
	kind = "websocket";
	connectionId = "";
	state = {
		state: "stopped",
		reason: "not connected",
		transport: null,
		retryAt: null,
		status: null,
		userId: null
	};
	constructor({ transport = "auto", random = Math.random, sseUntil = 0 } = {}) {
		this.transport = transport;
		this.sseUntil = sseUntil;
		this.#random = random;
	}
	get live() {
		return this.state.state === "live";
	}
	connect(cursor, now) {
		this.cursor = cursor ?? this.cursor;
		this.#wanted = true;
		this.#attempt = 0;
		this.#refused = false;
		return this.#try(now);
	}
	disconnect() {
		this.#wanted = false;
		this.#slot = null;
		this.#drop();
		return this.#become("stopped", { reason: "disconnected" });
	}
	rewind(cursor, now) {
		this.cursor = cursor;
		const tries = this.live || this.state.state === "connecting";
		return this.#wanted && tries ? this.#try(now) : this.#done();
	}
	use(transport, now) {
		if (transport === this.transport) return [];
		this.transport = transport;
		this.#remember(0);
		return this.#wanted ? this.#try(now) : this.#done();
	}
	retry(now) {
		return this.#wanted && !this.live ? this.#try(now) : [];
	}
	wake(why, now) {
		if (why === "online") this.#remember(0);
		if (!this.#wanted) return this.#done();
		if (!this.live) {
			const soon = now - this.#attemptedAt < WAKE_EVERY_MS && this.state.state === "connecting";
			return why === "offline" || soon ? this.#done() : this.#try(now);
		}
		if (this.kind === "websocket") {
			this.#put({
				do: "say",
				message: { type: "ping" }
			});
			this.#after("silence", PROBE_MS);
		} else if (why !== "offline" && (why !== "visible" || now - this.#heardAt > this.#heartbeatMs)) return this.#try(now);
		return this.#done();
	}
	dialling() {
		this.#after("first", FIRST_MESSAGE_MS[this.kind]);
		return this.#done();
	}
	heard(message, now) {
		this.#heardAt = now;
		if (this.live) this.#after("silence", this.#heartbeatMs + SILENCE_MARGIN_MS);
		switch (message.type) {
			case "connection-established": return this.#established(message, now);
			case "ping":
				this.#advance("position", message.data.cursor, message.data.cursor);
				if (this.kind === "websocket") this.#put({
					do: "say",
					message: { type: "pong" }
				});
				return this.#done();
			case "pong": return this.#done();
			case "reconnect": return this.#sentAway(message.data, now);
			case "error":
				if (message.data.code === "token_expired") this.#refresh = true;
				return this.#tell("error", message.data);
			default: return this.#entry(message);
		}
	}
	ended(fault, now) {
		if (!this.#wanted) return this.#done();
		const { code } = fault;
		const established = this.live;
		this.#drop();
		if (code === 4001) this.#refresh = true;
		if (fault.stop) return this.#stop(fault);
		if (code === 4501 || fault.status === 401) return this.#tokenRefused(fault, now);
		if (code !== null && code < 4e3 && !established && this.transport === "auto" && this.kind === "websocket") {
			this.#webSocketFailed = true;
			return this.#try(now);
		}
		if (code !== null && code !== 1006) return this.#closed(code, now);
		return this.#wait(fault, now);
	}
	fired(name, now) {
		switch (name) {
			case "first": return this.ended(new Fault("no answer", { code: 1006 }), now);
			case "silence": return this.ended(new Fault("connection went silent", { code: 1006 }), now);
			case "steady":
				this.#attempt = 0;
				return this.#done();
			case "ack":
				this.#acking = false;
				if (this.cursor) this.#put({
					do: "ack",
					upTo: this.cursor
				});
				return this.#done();
			case "renew":
				this.#put({ do: "renew" });
				return this.#done();
			default: return this.#try(now);
		}
	}
	tokenEnds(left) {
		if (left !== null) this.#after("renew", Math.max(1e3, left - Math.min(6e4, left / 2)));
		return this.#done();
	}
	#try(now) {
		this.#drop();
		this.#attemptedAt = now;
		const sse = this.transport === "sse" || this.transport === "auto" && (this.#webSocketFailed || now < this.sseUntil);
		this.kind = sse ? "sse" : "websocket";
		this.#put({
			do: "open",
			kind: this.kind,
			cursor: this.cursor,
			refresh: this.#refresh
		});
		return this.#become("connecting", {
			transport: this.kind,
			reason: this.state.reason
		});
	}
	#established(message, now) {
		const { data } = message;
		if (!data.recovered || this.cursor === null) this.cursor = data.cursor;
		this.#heartbeatMs = data.heartbeat_interval_ms;
		this.connectionId = data.connection_id;
		this.#refused = this.#refresh = false;
		this.#slot = null;
		if (this.#webSocketFailed) this.#remember(now + WEBSOCKET_AGAIN_MS);
		this.#webSocketFailed = false;
		this.#cancel("first");
		this.#after("silence", this.#heartbeatMs + SILENCE_MARGIN_MS);
		this.#after("steady", STEADY_MS);
		this.#put({
			do: "tell",
			event: "established",
			detail: message
		});
		const out = this.#become("live", {
			transport: this.kind,
			userId: data.user_id
		});
		const ends = data.token_expires_at && Date.parse(data.token_expires_at) - Date.parse(message.timestamp);
		return [...out, ...this.tokenEnds(ends || null)];
	}
	#sentAway(data, now) {
		const ms = Math.min(MAX_WAIT_MS, data.after_ms);
		this.#slot = {
			at: now + ms,
			reason: data.reason
		};
		this.#after("slot", ms);
		return this.#tell("reconnect", data);
	}
	#entry(message) {
		if (!message.id || !this.#advance("entry", message.id, message)) return this.#done();
		if (!this.#acking) this.#after("ack", this.#random() * ACK_WITHIN_MS);
		this.#acking = true;
		return this.#done();
	}
	#advance(event, next, detail) {
		if (notAfter(next, this.cursor)) return false;
		this.#put({
			do: "tell",
			event,
			detail,
			prev: this.cursor
		});
		this.cursor = next;
		return true;
	}
	#closed(code, now) {
		const [reason] = CLOSE_CODES[code] ?? [`closed with ${code}`];
		const fault = new Fault(this.#slot?.reason ?? reason, { code });
		return shouldReconnect(code) ? this.#wait(fault, now) : this.#stop(fault);
	}
	#tokenRefused(fault, now) {
		if (this.#refused) return this.#stop(new Fault("signed out: token refused", {
			...fault,
			status: 401
		}));
		this.#refused = this.#refresh = true;
		return this.#try(now);
	}
	#wait(fault, now) {
		const slot = this.#slot && Math.max(0, this.#slot.at - now);
		this.#slot = null;
		this.#webSocketFailed = false;
		const atOnce = fault.code === 4001 && this.#attempt === 0;
		const ms = Math.min(MAX_WAIT_MS, fault.afterMs ?? slot ?? (atOnce ? 0 : backoff(this.#attempt, this.#random)));
		this.#attempt += 1;
		this.#after("retry", ms);
		return this.#become("waiting", {
			reason: fault.message,
			retryAt: now + ms,
			status: fault.status || fault.code
		});
	}
	#stop(fault) {
		this.#wanted = false;
		return this.#become("stopped", {
			reason: fault.message,
			status: fault.status || fault.code
		});
	}
	#drop() {
		this.#acking = false;
		this.#put({ do: "close" });
	}
	#remember(until) {
		if (until !== this.sseUntil) this.#put({
			do: "remember",
			sseUntil: until
		});
		this.sseUntil = until;
	}
	#put(effect) {
		this.#out.push(effect);
	}
	#after(name, ms) {
		this.#put({
			do: "timer",
			name,
			ms: Math.min(MAX_TIMER_MS, ms)
		});
	}
	#cancel(name) {
		this.#put({
			do: "timer",
			name,
			ms: -1
		});
	}
	#tell(event, detail) {
		this.#put({
			do: "tell",
			event,
			detail
		});
		return this.#done();
	}
	#become(state, { reason = null, transport = null, retryAt = null, status = null, userId = this.state.userId }) {
		this.state = {
			state,
			reason,
			transport,
			retryAt,
			status,
			userId
		};
		this.#put({ do: "state" });
		return this.#done();
	}
	#done() {
		const out = this.#out;
		this.#out = [];
		return out;
	}
};
// src/token.js
var EXPIRES_SOON_MS = 5e3;
function claimsOf(token) {
	try {
		const part = (token?.split(".")[1]).replaceAll("-", "+").replaceAll("_", "/");
		const bytes = Uint8Array.from(atob(part), (letter) => letter.charCodeAt(0));
		return JSON.parse(new TextDecoder().decode(bytes));
	} catch {
		return null;
	}
}
var expiryOf = (token) => (claimsOf(token)?.exp ?? 0) * 1e3 || null;
function lifetimeOf(token, now) {
	const { exp, iat } = claimsOf(token) ?? {};
	const left = exp * 1e3 - now;
	return (left > 0 ? left : (exp - iat) * 1e3) || null;
}
var TokenKeeper = class {
	#token = null;
	#until = Infinity;
	#asked = null;
	#getToken;
	constructor(getToken) {
		this.#getToken = getToken;
	}
	async get({ refresh = false } = {}) {
		const old = this.#until < Date.now() + EXPIRES_SOON_MS;
		if (!this.#getToken || this.#token !== null && !refresh && !old) return this.#token;
		this.#asked ??= this.#ask(this.#getToken, refresh, old).finally(() => {
			this.#asked = null;
		});
		return this.#asked;
	}
	expire() {
		this.#until = 0;
	}
	async #ask(getToken, refresh, old) {
		let token;
		try {
			token = await getToken({ refresh: refresh || old });
		} catch (fault) {
			throw fault instanceof Fault ? fault : new Fault(`no token: ${fault?.message ?? fault}`);
		}
		const refused = refresh && token === this.#token;
		this.#token = token || null;
		if (!token) throw new Fault("signed out: there is no token", {
			status: 401,
			stop: true
		});
		if (refused) throw new Fault("signed out: token refused", {
			status: 401,
			stop: true
		});
		const now = Date.now();
		this.#until = now + (lifetimeOf(token, now) ?? Infinity);
		return token;
	}
};
// src/sse-parser.js
function createParser(heard) {
	let rest = "";
	let data = [];
	function take(line) {
		if (line === "") {
			if (data.length > 0) heard(data.join("\n"));
			data = [];
		} else if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
	}
	return { push(text) {
		const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
		rest = lines.pop();
		for (const line of lines) take(line);
	} };
}
// src/transport-sse.js
function openEvents({ base, token, cursor }, { heard, ended }) {
	const abort = new AbortController();
	const headers = {
		accept: "text/event-stream",
		...bearer(token)
	};
	if (cursor) headers["last-event-id"] = cursor;
	async function read() {
		const response = await fetch(new URL("/events", base), {
			headers,
			signal: abort.signal,
			cache: "no-store",
			credentials: "same-origin"
		});
		if (!response.ok || response.body === null) throw await faultOf(response);
		const parser = createParser((data) => {
			if (!abort.signal.aborted) heard(data);
		});
		const reader = response.body.getReader();
		const decoder = new TextDecoder();
		for (;;) {
			const { done, value } = await reader.read();
			if (done) throw new Fault("connection lost", { code: 1006 });
			parser.push(decoder.decode(value, { stream: true }));
		}
	}
	read().catch((error) => {
		if (abort.signal.aborted) return;
		ended(error instanceof Fault ? error : new Fault("server not reachable", { code: 1006 }));
	});
	return {
		say: () => false,
		close: () => abort.abort()
	};
}
// src/transport-websocket.js
function openWebSocket({ base, token, cursor, WebSocket }, { heard, ended }) {
	const url = new URL("/ws", base);
	url.protocol = url.protocol.replace("http", "ws");
	if (cursor) url.searchParams.set("last_event_id", cursor);
	const socket = new WebSocket(url);
	const say = (message) => {
		if (socket.readyState !== 1) return false;
		socket.send(JSON.stringify(message));
		return true;
	};
	socket.onopen = () => token !== null && say({
		type: "auth",
		data: { token }
	});
	socket.onmessage = ({ data }) => heard(data);
	socket.onclose = ({ code }) => ended(new Fault("connection lost", { code: code === 1005 ? 1006 : code }));
	socket.onerror = () => {};
	return {
		say,
		close() {
			socket.onopen = socket.onmessage = socket.onclose = null;
			socket.close(1e3);
		}
	};
}
// src/connection.js
var REVOKED = 4503;
var REMEMBERED = "notifyd.sse-until";
var memory = {
	read() {
		try {
			return Number(globalThis.sessionStorage?.getItem(REMEMBERED)) || 0;
		} catch {
			return 0;
		}
	},
	write(until) {
		try {
			globalThis.sessionStorage?.setItem(REMEMBERED, String(until));
		} catch {}
	}
};
var Connection = class {
	#link = null;
	#generation = 0;
	#timers = new Map();
	#machine;
	#base;
	#keeper;
	#ack;
	#sink;
	#WebSocket;
	constructor({ base, keeper, ack, sink, transport = "auto", WebSocket }) {
		const usable = WebSocket !== void 0 || transport === "websocket";
		this.#machine = new Machine({
			transport: usable ? transport : "sse",
			sseUntil: memory.read()
		});
		this.#base = base;
		this.#keeper = keeper;
		this.#ack = ack;
		this.#sink = sink;
		this.#WebSocket = WebSocket;
	}
	get cursor() {
		return this.#machine.cursor;
	}
	get state() {
		return this.#machine.state;
	}
	get id() {
		return this.#machine.connectionId || void 0;
	}
	connect(cursor) {
		this.#run(this.#machine.connect(cursor, Date.now()));
	}
	rewind(cursor) {
		this.#run(this.#machine.rewind(cursor, Date.now()));
	}
	disconnect() {
		this.#run(this.#machine.disconnect());
	}
	wake(why) {
		this.#run(this.#machine.wake(why, Date.now()));
	}
	retry() {
		this.#run(this.#machine.retry(Date.now()));
	}
	use(transport) {
		this.#run(this.#machine.use(transport, Date.now()));
	}
	say(message) {
		return this.#machine.live && (this.#link?.say(message) ?? false);
	}
	#run(effects) {
		for (const effect of effects) this.#carryOut(effect);
	}
	#carryOut(effect) {
		switch (effect.do) {
			case "open":
				this.#open(effect);
				break;
			case "close":
				this.#close();
				break;
			case "timer":
				this.#after(effect.name, effect.ms);
				break;
			case "say":
				this.#link?.say(effect.message);
				break;
			case "state":
				this.#sink.state(this.#machine.state);
				break;
			case "remember":
				memory.write(effect.sseUntil);
				break;
			case "ack":
				this.#ack(effect.upTo).catch(() => {});
				break;
			case "renew":
				this.#renew();
				break;
			case "tell": this.#tell(effect);
		}
	}
	#tell({ event, detail, prev = null }) {
		switch (event) {
			case "entry": return this.#sink.entry(detail, prev);
			case "position": return this.#sink.position(detail, prev);
			default: return this.#sink[event](detail);
		}
	}
	async #open({ kind, cursor, refresh }) {
		const generation = ++this.#generation;
		const current = () => generation === this.#generation;
		const ears = {
			heard: (text) => {
				if (current()) this.#run(this.#machine.heard(JSON.parse(text), Date.now()));
			},
			ended: (fault) => {
				if (!current()) return;
				if (fault.code === REVOKED) this.#keeper.expire();
				this.#run(this.#machine.ended(fault, Date.now()));
			}
		};
		try {
			const token = await this.#keeper.get({ refresh });
			if (!current()) return;
			this.#run(this.#machine.dialling());
			const to = {
				base: this.#base,
				token,
				cursor
			};
			this.#link = kind === "sse" ? openEvents(to, ears) : openWebSocket({
				...to,
				WebSocket: this.#webSocket()
			}, ears);
		} catch (error) {
			ears.ended(error instanceof Fault ? error : new Fault(String(error), { stop: true }));
		}
	}
	#webSocket() {
		if (!this.#WebSocket) throw new Fault("there is no WebSocket here: give one as `WebSocket`", { stop: true });
		return this.#WebSocket;
	}
	#close() {
		this.#generation += 1;
		for (const timer of this.#timers.values()) clearTimeout(timer);
		this.#timers.clear();
		this.#link?.close();
		this.#link = null;
	}
	async #renew() {
		const generation = this.#generation;
		try {
			const token = await this.#keeper.get({ refresh: true });
			if (generation !== this.#generation || token === null) return;
			if (!this.say({
				type: "auth",
				data: { token }
			})) {
				const body = {
					connection_id: this.#machine.connectionId,
					token
				};
				await call(new URL("/v1/auth", this.#base), {
					method: "POST",
					token,
					body
				});
			}
			if (generation === this.#generation) this.#run(this.#machine.tokenEnds(lifetimeOf(token, Date.now())));
		} catch {}
	}
	#after(name, ms) {
		clearTimeout(this.#timers.get(name));
		this.#timers.delete(name);
		if (ms < 0) return;
		this.#timers.set(name, setTimeout(() => {
			this.#timers.delete(name);
			this.#run(this.#machine.fired(name, Date.now()));
		}, ms));
	}
};
// src/delivery.js
var Delivery = class {
	cursor = null;
	#emitter;
	constructor(emitter) {
		this.#emitter = emitter;
	}
	entry(message, prev, alert) {
		if (notAfter(message.id, this.cursor)) return true;
		if (!notAfter(prev, this.cursor)) return false;
		this.cursor = message.id;
		this.#emitter.emit(message.type, message, { alert });
		this.#emitter.emit("entry", message, { alert });
		return true;
	}
	position(cursor, prev) {
		if (notAfter(cursor, this.cursor)) return true;
		if (!notAfter(prev, this.cursor)) return false;
		this.cursor = cursor;
		return true;
	}
	recovered(recovery) {
		if (this.cursor === null || !recovery.recovered && recovery.reason !== "no-cursor") this.cursor = recovery.cursor;
		this.#emitter.emit("recovered", recovery);
	}
};
// src/election.js
function elect(name, { won, lost }) {
	const leaving = new AbortController();
	let queued = false;
	let release = () => {};
	function request(lock, steal) {
		if (!steal && queued) return;
		if (!steal) queued = true;
		const hold = () => {
			if (!steal) queued = false;
			if (leaving.signal.aborted) return void 0;
			won();
			return new Promise((resolve) => {
				release = () => resolve(null);
			});
		};
		navigator.locks.request(lock, steal ? { steal } : { signal: leaving.signal }, hold).catch(() => {
			if (leaving.signal.aborted) return;
			lost();
			request(lock, false);
		});
	}
	if (name === null) won();
	else request(name, false);
	return {
		steal() {
			if (name !== null) request(name, true);
		},
		leave() {
			leaving.abort();
			release();
		}
	};
}
// src/tabs.js
var TOLD = 500;
var TICK_MS = 600;
var JOIN_EVERY_MS = 200;
var SEEN_MS = 2e3;
var ALERT_MS = 6e4;
var rank = () => document.hidden ? 0 : document.hasFocus() ? 2 : 1;
var Tabs = class {
	#id = Math.random().toString(36).slice(2);
	#leading = false;
	#unanswered = 0;
	#joinedAt = 0;
	#told = [];
	#looked = new Map();
	#ahead = 0;
	#channel = null;
	#election = null;
	#ticking;
	#name;
	#delivery;
	#connection;
	#out;
	constructor({ name, delivery, connect, out }) {
		this.#name = name;
		this.#delivery = delivery;
		this.#out = out;
		this.#connection = connect({
			entry: (message, prev) => this.#tell({
				kind: "entry",
				message,
				prev,
				alert: this.#alerted(message)
			}),
			position: (cursor, prev) => this.#tell({
				kind: "position",
				cursor,
				prev
			}),
			established: (message) => {
				this.#ahead = Date.parse(message.timestamp) - Date.now();
				const { recovered, reason, cursor } = message.data;
				this.#told = [];
				this.#tell({
					kind: "recovered",
					recovery: {
						recovered,
						reason,
						cursor
					}
				});
			},
			state: (state) => {
				if (this.#leading) this.#tell({
					kind: "state",
					state
				});
			},
			error: (detail) => this.#tell({
				kind: "event",
				name: "error",
				detail
			}),
			reconnect: (detail) => this.#tell({
				kind: "event",
				name: "reconnect",
				detail
			})
		});
	}
	get connection() {
		return this.#leading ? this.#connection : null;
	}
	start() {
		if (this.#name !== null) {
			this.#channel = new BroadcastChannel(this.#name);
			this.#channel.onmessage = ({ data }) => this.#heard(data);
			this.#ticking = setInterval(() => this.#tick(), TICK_MS);
			this.#join();
		}
		this.#election = elect(this.#name, {
			won: () => this.#lead(),
			lost: () => this.#follow()
		});
	}
	stop() {
		clearInterval(this.#ticking);
		this.#leading = false;
		this.#connection.disconnect();
		this.#election?.leave();
		this.#channel?.close();
		this.#election = this.#channel = null;
	}
	wake(why) {
		if (this.#leading) this.#connection.wake(why);
		else if (this.#unanswered === 0) this.#tick();
	}
	retry() {
		if (this.#leading) this.#connection.retry();
		else this.#post({ kind: "retry" });
	}
	use(transport) {
		if (!this.#leading) this.#post({
			kind: "use",
			transport
		});
		this.#connection.use(transport);
	}
	#lead() {
		this.#leading = true;
		this.#told = [];
		this.#post({ kind: "lead" });
		this.#connection.connect(this.#delivery.cursor);
	}
	#follow() {
		this.#leading = false;
		this.#unanswered = this.#joinedAt = 0;
		this.#connection.disconnect();
		this.#join();
	}
	#tell(message) {
		if (!this.#leading) return;
		this.#post(message);
		if (this.#channel && (message.kind === "entry" || message.kind === "position")) this.#told.push(message);
		if (this.#told.length > TOLD) this.#told.shift();
		this.#take(message);
	}
	#alerted(message) {
		const now = Date.now();
		if (message.type === "notification-updated" || now + this.#ahead - Date.parse(message.timestamp) > ALERT_MS) return "";
		let [best, most] = [this.#id, this.#name === null ? 0 : rank()];
		for (const [id, [value, at]] of this.#looked) if (now - at > SEEN_MS) this.#looked.delete(id);
		else if (value > most) [best, most] = [id, value];
		return best;
	}
	#serve(cursor, to) {
		this.#post({
			kind: "state",
			state: this.#connection.state
		}, to);
		const { cursor: position } = this.#connection;
		if (position === null) return;
		const from = this.#told[0]?.prev ?? position;
		if (cursor === null) this.#post({
			kind: "recovered",
			recovery: {
				recovered: false,
				reason: "no-cursor",
				cursor: position
			}
		}, to);
		else if (notAfter(from, cursor)) {
			const lacks = this.#told.filter((each) => !notAfter(each.kind === "entry" ? each.message.id : each.cursor, cursor));
			for (const each of lacks) this.#post(each, to);
		} else this.#connection.rewind(cursor);
	}
	#heard(message) {
		if (message.to !== void 0 && message.to !== this.#id) return;
		switch (message.kind) {
			case "join":
				if (this.#leading) this.#serve(message.cursor, message.id);
				break;
			case "ask":
				if (!this.#leading) break;
				this.#looked.set(message.id, [message.rank, Date.now()]);
				this.#post({ kind: "here" });
				break;
			case "retry":
				if (this.#leading) this.#connection.retry();
				break;
			case "use":
				this.#connection.use(message.transport);
				break;
			default:
				this.#unanswered = 0;
				if (!this.#leading) this.#take(message);
		}
	}
	#take(message) {
		switch (message.kind) {
			case "entry":
				this.#expect(this.#delivery.entry(message.message, message.prev, message.alert === this.#id));
				break;
			case "position":
				this.#expect(this.#delivery.position(message.cursor, message.prev));
				break;
			case "recovered":
				this.#recovered(message.recovery);
				break;
			case "state":
				this.#out.state({
					...message.state,
					leader: this.#leading
				});
				break;
			case "event":
				this.#out.event(message.name, message.detail);
				break;
			case "lead": this.#join();
		}
	}
	#recovered(recovery) {
		this.#delivery.recovered(recovery);
		this.#expect(notAfter(recovery.cursor, this.#delivery.cursor));
	}
	#expect(complete) {
		const { cursor } = this.#delivery;
		if (complete) return;
		if (!this.#leading) this.#join();
		else if (cursor !== null) this.#connection.rewind(cursor);
	}
	#join() {
		if (this.#leading || Date.now() - this.#joinedAt < JOIN_EVERY_MS) return;
		this.#joinedAt = Date.now();
		this.#post({
			kind: "join",
			id: this.#id,
			cursor: this.#delivery.cursor
		});
	}
	#tick() {
		if (this.#leading || this.#name === null || document.hidden) return;
		this.#unanswered += 1;
		if (this.#unanswered > 2) {
			this.#unanswered = 0;
			this.#election?.steal();
		} else this.#post({
			kind: "ask",
			id: this.#id,
			rank: rank()
		});
	}
	#post(message, to) {
		this.#channel?.postMessage(to === void 0 ? message : {
			...message,
			to
		});
	}
};
// src/client.js
var FLEETING = new Set([
	"exp",
	"iat",
	"nbf",
	"jti"
]);
var STOPPED = {
	state: "stopped",
	reason: "not connected",
	transport: null,
	retryAt: null,
	status: null,
	userId: null,
	leader: false
};
var inBrowser = () => typeof document !== "undefined" && typeof BroadcastChannel !== "undefined";
var NotifydClient = class {
	#emitter = new Emitter();
	#delivery = new Delivery(this.#emitter);
	#state = STOPPED;
	#tabs = null;
	#run = 0;
	#waking = new AbortController();
	#options;
	#base;
	#keeper;
	#transport;
	constructor(options = {}) {
		this.#options = options;
		this.#base = new URL(options.url ?? globalThis.location?.origin);
		this.#keeper = new TokenKeeper(options.getToken);
		this.#transport = options.transport ?? "auto";
	}
	get state() {
		return this.#state;
	}
	get cursor() {
		return this.#delivery.cursor;
	}
	get transport() {
		return this.#transport;
	}
	on(name, handler) {
		return this.#emitter.on(name, handler);
	}
	connect(cursor = null) {
		this.#end();
		this.#delivery.cursor = cursor ?? this.#delivery.cursor;
		this.#become({
			...STOPPED,
			state: "connecting",
			reason: null
		});
		this.#waking = new AbortController();
		this.#listen(this.#waking.signal);
		this.#start(0);
	}
	disconnect(reason = "disconnected") {
		this.#end();
		this.#become({
			...STOPPED,
			reason
		});
	}
	retryNow() {
		this.#tabs?.retry();
	}
	setTransport(transport) {
		if (transport === this.#transport) return;
		this.#transport = transport;
		this.#tabs?.use(transport);
	}
	async ack(upTo = this.cursor ?? void 0) {
		if (upTo === void 0) return;
		const data = { up_to: upTo };
		if (this.send({
			type: "ack",
			data
		})) return;
		const body = {
			...data,
			connection_id: this.#tabs?.connection?.id
		};
		await this.call("/v1/notifications/ack", {
			method: "POST",
			body
		});
	}
	async mark(state, { ids, upTo }) {
		const body = ids ? {
			state,
			notification_ids: ids
		} : {
			state,
			up_to: upTo
		};
		await this.call("/v1/notifications/mark", {
			method: "POST",
			body
		});
	}
	send(message) {
		return this.#tabs?.connection?.say(message) ?? false;
	}
	async call(path, how = {}) {
		const url = new URL(path, this.#base);
		try {
			return await call(url, {
				...how,
				token: await this.#keeper.get()
			});
		} catch (fault) {
			if (!this.#options.getToken || !(fault instanceof Fault) || fault.status !== 401 || fault.stop) throw fault;
			return call(url, {
				...how,
				token: await this.#keeper.get({ refresh: true })
			});
		}
	}
	async #start(attempt) {
		const run = this.#run;
		try {
			const name = await this.#shareName();
			if (run !== this.#run) return;
			this.#tabs = new Tabs({
				name,
				delivery: this.#delivery,
				connect: (sink) => new Connection({
					base: this.#base,
					keeper: this.#keeper,
					ack: (upTo) => this.ack(upTo),
					sink,
					transport: this.#transport,
					WebSocket: this.#options.WebSocket ?? globalThis.WebSocket
				}),
				out: {
					state: (state) => this.#become(state),
					event: (event, detail) => this.#emitter.emit(event, detail)
				}
			});
			this.#tabs.start();
		} catch (error) {
			if (run === this.#run) this.#failed(error, attempt);
		}
	}
	#failed(fault, attempt) {
		const { message: reason, status } = fault;
		if (fault.stop) {
			this.#end();
			return this.#become({
				...STOPPED,
				reason,
				status
			});
		}
		const run = this.#run;
		const ms = backoff(attempt, Math.random);
		setTimeout(() => {
			if (run === this.#run) this.#start(attempt + 1);
		}, ms);
		return this.#become({
			...STOPPED,
			state: "waiting",
			reason,
			retryAt: Date.now() + ms
		});
	}
	async #shareName() {
		const { share = true, getToken } = this.#options;
		if (share === false || !inBrowser() || !navigator.locks) return null;
		const where = `notifyd ${this.#base.origin}`;
		if (typeof share === "string") return `${where} ${share}`;
		if (!getToken) return where;
		const claims = claimsOf(await this.#keeper.get());
		if (claims === null) return null;
		return `${where} ${JSON.stringify(Object.entries(claims).filter(([name]) => !FLEETING.has(name)).sort())}`;
	}
	#end() {
		this.#run += 1;
		this.#waking.abort();
		this.#tabs?.stop();
		this.#tabs = null;
	}
	#become(state) {
		this.#state = state;
		this.#emitter.emit("state", state);
	}
	#listen(signal) {
		if (!inBrowser()) return;
		addEventListener("online", () => this.#tabs?.wake("online"), { signal });
		addEventListener("offline", () => this.#tabs?.wake("offline"), { signal });
		const visible = () => {
			if (!document.hidden) this.#tabs?.wake("visible");
		};
		document.addEventListener("visibilitychange", visible, { signal });
		document.addEventListener("resume", visible, { signal });
		addEventListener("pagehide", () => this.#tabs?.stop(), { signal });
		addEventListener("pageshow", ({ persisted }) => {
			if (persisted) this.connect();
		}, { signal });
	}
};
var createClient = (options) => new NotifydClient(options);
export { CLOSE_CODES, Fault, backoff, bridge, call, claimsOf, createClient, createEventBus, expiryOf, notAfter, parseCursor, shouldReconnect };
