// Types of the package's own; those of the wire are in messages.d.ts, which is generated.

import type {
  ClientMessage, ConnectionEstablished, Cursor, CustomMessage, DealNotification, DealNotificationData, ErrorData,
  JobCompleted, JobCompletedData, MarkState, NotificationUpdated, NotificationUpdatedData, RecoveryReason,
  ReconnectData, State, SystemMessage, SystemMessageData,
} from "./messages.js";

export * from "./messages.js";

/** Which transport to use: `auto` is WebSocket, and SSE where that does not work. */
export type Transport = "auto" | "websocket" | "sse";
export type Kind = "websocket" | "sse";

/** Gives the user's JWT. With `refresh` the last one ended or was refused: give a new one, or null when signed out. */
export type GetToken = (how: { refresh: boolean }) => Promise<string | null> | string | null;

/** One entry of the log. */
export type Entry = DealNotification | SystemMessage | JobCompleted | CustomMessage | NotificationUpdated;

/** A notification as `GET /v1/notifications` lists it. */
export type Notification = (DealNotification | SystemMessage | JobCompleted | CustomMessage) & { state: State };

/** How an entry came. `alert` is true in one tab only, and only for what is new: the place for a toast. */
export interface Arrival { alert: boolean }

export interface ConnectionState {
  state: "stopped" | "connecting" | "live" | "waiting";
  /** Why it is not live, in words. */
  reason: string | null;
  transport: Kind | null;
  /** When the next try begins, ms since 1970. */
  retryAt: number | null;
  /** HTTP status or close code of a refusal. */
  status: number | null;
  userId: string | null;
  /** Whether this tab holds the connection; the others hear of it from this one. */
  leader: boolean;
}

/** The start of a stream: whether it follows what came before without a gap. */
export interface Recovery { recovered: boolean; reason: RecoveryReason | null; cursor: Cursor }

export type CustomEvents = { [Name in `x-${string}`]: CustomMessage };

export interface ClientEvents extends CustomEvents {
  "deal-notification": DealNotification;
  "system-message": SystemMessage;
  "job-completed": JobCompleted;
  "notification-updated": NotificationUpdated;
  /** Each of the above and `x-…`. */
  entry: Entry;
  state: ConnectionState;
  recovered: Recovery;
  error: ErrorData;
  reconnect: ReconnectData;
}

export interface ClientOptions {
  /** Where notifyd is; the page's own origin when absent. */
  url?: string | URL | undefined;
  /** Absent where the cookie `accessToken` says who the user is. */
  getToken?: GetToken | undefined;
  transport?: Transport | undefined;
  /** `false`: this tab alone. A name: tabs with the same name share one connection. Absent: those with the same user. */
  share?: boolean | string | undefined;
  /** Where there is no `WebSocket`, as in Node before 22: that of the package `ws`. */
  WebSocket?: WebSocketConstructor | undefined;
}

export type WebSocketConstructor = new (url: string | URL) => WebSocket;

/** What to mark: some, or everything up to a cursor. */
export type MarkTarget = { ids: string[]; upTo?: never } | { upTo: Cursor; ids?: never };

export interface Client {
  readonly state: ConnectionState;
  /** The last entry given to the application. */
  readonly cursor: Cursor | null;
  readonly transport: Transport;
  on<Name extends keyof ClientEvents & string>(
    name: Name, handler: (detail: ClientEvents[Name], how: Arrival) => void): () => void;
  /** Start, after `cursor` when one is given. */
  connect(cursor?: Cursor | null): void;
  disconnect(reason?: string): void;
  /** Everything up to here was received; the client does this by itself. */
  ack(upTo?: Cursor): Promise<void>;
  /** Raise the state of notifications for all of the user's tabs and devices. Rejects with Fault. */
  mark(state: MarkState, what: MarkTarget): Promise<void>;
  /** Say something on the WebSocket. False when this tab has none that is open. */
  send(message: ClientMessage): boolean;
  /** A call of the HTTP API as this user. Rejects with Fault. */
  call(path: string, how?: { method?: string; body?: unknown }): Promise<any>;
  /** Try now instead of later. */
  retryNow(): void;
  /** Go over to another transport; the cursor goes along. */
  setTransport(transport: Transport): void;
}

/** The application's own types, `x-…`. */
export type CustomBusEvents = { [Name in `notification:x-${string}`]: CustomMessage["data"] };

export interface BusEvents extends CustomBusEvents {
  "notification:deal": DealNotificationData;
  "notification:system": SystemMessageData;
  "notification:job": JobCompletedData;
  "notification:updated": NotificationUpdatedData;
}

export interface Bus<Events extends Record<string, any> = BusEvents> {
  dispatch<Name extends keyof Events & string>(event: Name, data: Events[Name]): void;
  subscribe<Name extends keyof Events & string>(event: Name, handler: (data: Events[Name]) => void): () => void;
}

/** What a connection tells whoever owns it. */
export interface Sink {
  /** An entry, after `prev`: nothing of this user's lies between the two. */
  entry(message: Entry, prev: Cursor | null): void;
  /** The stream's position moved from `prev` to `cursor` without an entry. */
  position(cursor: Cursor, prev: Cursor | null): void;
  established(message: ConnectionEstablished): void;
  state(state: Omit<ConnectionState, "leader">): void;
  error(data: ErrorData): void;
  reconnect(data: ReconnectData): void;
}
