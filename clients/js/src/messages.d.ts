// The messages of notifyd's wire protocol. Do not edit: `make generate` writes this file.

/** What a client hears. */
export type ServerMessage = DealNotification | SystemMessage | JobCompleted | NotificationUpdated | ConnectionEstablished | Ping | Pong | ErrorMessage | Reconnect | CustomMessage;

/** What a client may say. */
export type ClientMessage = ClientPing | ClientPong | Ack | Mark | Auth;

export interface DealNotification {
  type: "deal-notification";
  data: DealNotificationData;
  timestamp: Timestamp;
  id: Cursor;
}

export interface SystemMessage {
  type: "system-message";
  data: SystemMessageData;
  timestamp: Timestamp;
  id: Cursor;
}

export interface JobCompleted {
  type: "job-completed";
  data: JobCompletedData;
  timestamp: Timestamp;
  id: Cursor;
}

export interface NotificationUpdated {
  type: "notification-updated";
  data: NotificationUpdatedData;
  timestamp: Timestamp;
  id: Cursor;
}

export interface ConnectionEstablished {
  type: "connection-established";
  data: ConnectionEstablishedData;
  timestamp: Timestamp;
}

export interface Ping {
  type: "ping";
  data: PingData;
  timestamp: Timestamp;
}

export interface Pong {
  type: "pong";
  data: PongData;
  timestamp: Timestamp;
}

export interface ErrorMessage {
  type: "error";
  data: ErrorData;
  timestamp: Timestamp;
}

export interface Reconnect {
  type: "reconnect";
  data: ReconnectData;
  timestamp: Timestamp;
}

/** A type of the application's own, with whatever the publisher put. */
export interface CustomMessage {
  type: `x-${string}`;
  data: {
    notification_id: string;
    [name: string]: unknown;
  };
  timestamp: Timestamp;
  id: Cursor;
}

/** Everything up to this cursor has been received. */
export interface Ack {
  type: "ack";
  data: AckData;
}

export interface AckData {
  up_to: string;
}

/** First frame of a connection without a token, or a fresh token for a connection that has one. */
export interface Auth {
  type: "auth";
  data: AuthData;
}

export interface AuthData {
  token: string;
}

/** The client asks for a `pong`. */
export interface ClientPing {
  type: "ping";
}

/** The client answers a `ping`; any byte counts as alive, so its content is not looked at. */
export interface ClientPong {
  type: "pong";
}

/** `connection-established`: first message of every stream; `cursor` is where the stream starts. */
export interface ConnectionEstablishedData {
  user_id: string;
  connection_id: string;
  cursor: string;
  recovered: boolean;
  reason: RecoveryReason | null;
  heartbeat_interval_ms: number;
  token_expires_at: string | null;
  protocol_version: number;
}

/** One price worth telling, with the evidence for it. Prices are integer minor units of `currency`. */
export interface Deal {
  item_name: string;
  best_price_in_cents: number;
  store_name: string;
  store_id: number | string;
  item_id?: string;
  currency?: string;
  old_price_in_cents?: number | null;
  baseline?: string | null;
  baseline_price_in_cents?: number | null;
  rank_in_history?: number | null;
  stores_compared?: number | null;
  observed_at?: string;
  valid_until?: string | null;
  url?: string | null;
  image_url?: string | null;
  watch_id?: string;
}

/** `deal-notification`: new deals on what the user watches; at most 50, the rest counted. */
export interface DealNotificationData {
  notification_id: string;
  deals: Deal[];
  user_id: string;
  message: string;
  more_deals?: number;
}

/** `error`: what was wrong with the client's message, for a person and for a program. */
export interface ErrorData {
  code: ErrorCode;
  message: string;
}

/** `job-completed`: a background job of the user has ended. */
export interface JobCompletedData {
  notification_id: string;
  job_id: string | number;
  job_name: string;
  status: string;
  message?: string;
}

/** Raise the state of some notifications, or of all up to a cursor. */
export interface Mark {
  type: "mark";
  data: MarkData;
}

/** Exactly one of `notification_ids` and `up_to`. */
export type MarkData = {
  state: MarkState;
} & ({ notification_ids: string[]; up_to?: never } | { up_to: string; notification_ids?: never });

/** `notification-updated`: the named notifications, or all up to a cursor, now have `state`. */
export type NotificationUpdatedData = {
  state: State;
} & ({ notification_ids: string[]; up_to?: never } | { up_to: string; notification_ids?: never });

/** `ping` from the server: `cursor` is this connection's own position. */
export interface PingData {
  cursor: string;
}

/** `pong`: the answer to a client's `ping`. */
export interface PongData {}

/** `reconnect`: come back after `after_ms`, this client's own slot. */
export interface ReconnectData {
  after_ms: number;
  reason: string;
}

/** `system-message`: an announcement. */
export interface SystemMessageData {
  notification_id: string;
  message: string;
  severity: Severity;
  critical: boolean;
}

/** A cursor: the place in the log, `<epoch>-<seq>` */
export type Cursor = string;

/** ISO 8601 in UTC */
export type Timestamp = string;

export type State = "unread" | "seen" | "read" | "archived" | "withdrawn";

export type MarkState = "seen" | "read" | "archived";

export type Severity = "info" | "warning" | "error";

export type RecoveryReason = "no-cursor" | "other-epoch" | "trimmed" | "future" | "malformed";

export type ErrorCode = "bad_message" | "unknown_type" | "too_large" | "rate_limited" | "unauthorized" | "token_expired" | "forbidden" | "not_found" | "unavailable" | "internal";
