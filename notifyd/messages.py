"""The wire protocol's messages: types, creators, encode and decode. Pure: no I/O, no clock, no Trio.

Every message is `{"type", "data", "timestamp", "id"}`; `id` is the cursor `<epoch>-<seq>` and stands only
on entries of the log. Times are integer milliseconds since 1970-01-01 UTC everywhere inside notifyd and
become ISO 8601 text (`2026-01-31T12:00:00.000Z`) here.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from notifyd.errors import ErrorCode, ProtocolError

PROTOCOL_VERSION = 1

#: Deals in one message; the rest is counted in `more_deals`.
MAX_DEALS_PER_MESSAGE = 50

State = Literal["unread", "seen", "read", "archived", "withdrawn"]
#: A notification's state only rises in this order; `withdrawn` ends it.
STATE_RANK: dict[State, int] = {"unread": 0, "seen": 1, "read": 2, "archived": 3, "withdrawn": 4}
RANK_STATE: dict[int, State] = {rank: state for state, rank in STATE_RANK.items()}
MarkState = Literal["seen", "read", "archived"]
Severity = Literal["info", "warning", "error"]
RecoveryReason = Literal["no-cursor", "other-epoch", "trimmed", "future", "malformed"]

Id = Annotated[str, Meta(min_length=1, max_length=128)]
Cents = Annotated[int, Meta(ge=0, le=2**53)]


# --- cursor -----------------------------------------------------------------------------------------


class Cursor(NamedTuple):
    """A place in the log: everything up to and including `seq` has been received."""

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"


_CURSOR = re.compile(r"([0-9A-Za-z]{1,40})-(0|[1-9][0-9]{0,18})", re.ASCII)


def parse_cursor(text: str) -> Cursor | None:
    """The cursor that `text` spells, or None when it is not one (at most 60 of `[0-9A-Za-z-]`)."""
    match = _CURSOR.fullmatch(text)
    if match is None or int(match[2]) >= 2**63:
        return None
    return Cursor(match[1], int(match[2]))


# --- time -------------------------------------------------------------------------------------------


def iso(ms: int) -> str:
    """`ms` since 1970 as `2026-01-31T12:00:00.000Z`."""
    return f"{_iso_second(ms // 1000)}.{ms % 1000:03d}Z"


@lru_cache(maxsize=256)
def _iso_second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def parse_time(text: str) -> int:
    """Milliseconds since 1970 of an ISO 8601 time with a zone (`Z` or an offset). Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; write it with Z or an offset")
    return round(moment.timestamp() * 1000)


# --- what the log and the server say -----------------------------------------------------------------


class Deal(Struct, frozen=True, omit_defaults=True):
    """One price worth telling, with the evidence for it. Prices are integer minor units of `currency`."""

    item_name: Annotated[str, Meta(max_length=500)]
    best_price_in_cents: Cents
    store_name: Annotated[str, Meta(max_length=500)]
    store_id: int | Id
    item_id: Id | UnsetType = UNSET
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] | UnsetType = UNSET
    old_price_in_cents: Cents | UnsetType | None = UNSET
    baseline: str | UnsetType | None = UNSET
    baseline_price_in_cents: Cents | UnsetType | None = UNSET
    rank_in_history: int | UnsetType | None = UNSET
    stores_compared: int | UnsetType | None = UNSET
    observed_at: str | UnsetType = UNSET
    valid_until: str | UnsetType | None = UNSET
    url: Annotated[str, Meta(max_length=2000)] | UnsetType | None = UNSET
    image_url: Annotated[str, Meta(max_length=2000)] | UnsetType | None = UNSET
    watch_id: Id | UnsetType = UNSET


class DealNotification(Struct, frozen=True, omit_defaults=True):
    """`deal-notification`: new deals on what the user watches; at most 50, the rest counted."""

    notification_id: str
    deals: list[Deal]
    user_id: str
    message: str
    more_deals: int | UnsetType = UNSET


class SystemMessage(Struct, frozen=True):
    """`system-message`: an announcement."""

    notification_id: str
    message: str
    severity: Severity = "info"
    critical: bool = False


class JobCompleted(Struct, frozen=True, omit_defaults=True):
    """`job-completed`: a background job of the user has ended."""

    notification_id: str
    job_id: str | int
    job_name: str
    status: str
    message: str | UnsetType = UNSET


class NotificationUpdated(Struct, frozen=True, omit_defaults=True):
    """`notification-updated`: the named notifications, or all up to a cursor, now have `state`."""

    state: State
    notification_ids: list[str] | UnsetType = UNSET
    up_to: str | UnsetType = UNSET


class ConnectionEstablished(Struct, frozen=True):
    """`connection-established`: first message of every stream; `cursor` is where the stream starts."""

    user_id: str
    connection_id: str
    cursor: str
    recovered: bool
    reason: RecoveryReason | None
    heartbeat_interval_ms: int
    token_expires_at: str | None
    protocol_version: int = PROTOCOL_VERSION


class Ping(Struct, frozen=True):
    """`ping` from the server: `cursor` is this connection's own position."""

    cursor: str


class Pong(Struct, frozen=True):
    """`pong`: the answer to a client's `ping`."""


class ErrorData(Struct, frozen=True):
    """`error`: what was wrong with the client's message, for a person and for a program."""

    code: ErrorCode
    message: str


class Reconnect(Struct, frozen=True):
    """`reconnect`: come back after `after_ms`, this client's own slot."""

    after_ms: int
    reason: str


ServerData = (
    DealNotification
    | SystemMessage
    | JobCompleted
    | NotificationUpdated
    | ConnectionEstablished
    | Ping
    | Pong
    | ErrorData
    | Reconnect
    | dict[str, Any]
)

SERVER_TYPES: dict[str, type[Struct]] = {
    "deal-notification": DealNotification,
    "system-message": SystemMessage,
    "job-completed": JobCompleted,
    "notification-updated": NotificationUpdated,
    "connection-established": ConnectionEstablished,
    "ping": Ping,
    "pong": Pong,
    "error": ErrorData,
    "reconnect": Reconnect,
}
_TYPE_NAMES: dict[type, str] = {model: name for name, model in SERVER_TYPES.items()}


class Message(Struct, frozen=True, omit_defaults=True):
    """One message as a client sees it; `data` is the Struct of its type, or an object for `x-…`."""

    type: str
    data: Any
    timestamp: str
    id: str | UnsetType = UNSET


class _RawMessage(Struct, frozen=True, omit_defaults=True):
    type: str
    data: msgspec.Raw
    timestamp: str
    id: str | UnsetType = UNSET


_encoder = msgspec.json.Encoder()
_raw_decoder = msgspec.json.Decoder(_RawMessage)
_decoders = {name: msgspec.json.Decoder(model) for name, model in SERVER_TYPES.items()}
_any_decoder = msgspec.json.Decoder(dict[str, Any])


def encode_json(value: Any) -> bytes:
    """Compact JSON on one line."""
    return _encoder.encode(value)


def encode_entry(type_: str, data: bytes, created_ms: int, cursor: Cursor) -> bytes:
    """An entry of the log as its message; `data` is the JSON object that the log holds."""
    return _encoder.encode(_RawMessage(type_, msgspec.Raw(data), iso(created_ms), str(cursor)))


def encode(data: Struct, now_ms: int, cursor: Cursor | None = None) -> bytes:
    """A message of the server's own (`ping`, `error`, …); its type follows from the Struct."""
    id_ = UNSET if cursor is None else str(cursor)
    return _encoder.encode(Message(_TYPE_NAMES[type(data)], data, iso(now_ms), id_))


def decode_server_message(raw: bytes | str) -> Message:
    """What a client library reads. Unknown types keep their `data` as an object.

    Raises ProtocolError("bad_message") for anything that is not a message.
    """
    try:
        message = _raw_decoder.decode(raw)
        data = _decoders.get(message.type, _any_decoder).decode(message.data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolError("bad_message", str(error)) from None
    return Message(message.type, data, message.timestamp, message.id)


# --- named creators: what a publisher sends ------------------------------------------------------------


class Draft(NamedTuple):
    """A notification to publish: the body of `POST /v1/notifications` without its addressee."""

    type: str
    data: dict[str, Any]


def deal_notification(deals: list[Deal], *, message: str | None = None) -> Draft:
    """New deals; the sentence over them is the original's unless `message` is given."""
    data: dict[str, Any] = {"deals": msgspec.to_builtins(deals)}
    return Draft("deal-notification", data if message is None else data | {"message": message})


def system_message(message: str, *, severity: Severity = "info", critical: bool = False) -> Draft:
    """An announcement."""
    return Draft("system-message", {"message": message, "severity": severity, "critical": critical})


def job_completed(job_id: str | int, job_name: str, status: str, *, message: str | None = None) -> Draft:
    """A finished background job."""
    data: dict[str, Any] = {"job_id": job_id, "job_name": job_name, "status": status}
    return Draft("job-completed", data if message is None else data | {"message": message})


def custom(type_: str, data: dict[str, Any]) -> Draft:
    """A type of the application's own; its name begins with `x-`."""
    return Draft(type_, data)


def error(code: ErrorCode, message: str) -> ErrorData:
    """What a client is told when its message cannot be obeyed."""
    return ErrorData(code, message)


# --- checking what a publisher sends --------------------------------------------------------------------


class DealInput(Deal, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One price worth telling; prices are integer minor units of `currency`."""


class DealsInput(Struct, frozen=True, forbid_unknown_fields=True):
    """`data` of a `deal-notification`; `message` is made from the number of deals unless it is given."""

    deals: Annotated[list[DealInput], Meta(min_length=1, max_length=1000)]
    message: Annotated[str, Meta(max_length=2000)] | UnsetType = UNSET
    user_id: Id | int | UnsetType = UNSET
    more_deals: Annotated[int, Meta(ge=0)] = 0


class SystemInput(Struct, frozen=True, forbid_unknown_fields=True):
    """`data` of a `system-message`."""

    message: Annotated[str, Meta(min_length=1, max_length=10_000)]
    severity: Severity = "info"
    critical: bool = False


class JobInput(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`data` of a `job-completed`."""

    job_id: Id | int
    job_name: Annotated[str, Meta(max_length=500)]
    status: Annotated[str, Meta(max_length=100)]
    message: Annotated[str, Meta(max_length=10_000)] | UnsetType = UNSET


_INPUTS: dict[str, type[Struct]] = {
    "deal-notification": DealsInput,
    "system-message": SystemInput,
    "job-completed": JobInput,
}
#: How a type of the application's own is spelled.
CUSTOM_TYPE = "x-[a-z0-9][a-z0-9-]{0,61}"
_CUSTOM_TYPE = re.compile(CUSTOM_TYPE, re.ASCII)


def prepare(draft: Draft, *, notification_id: str, user_id: str | None) -> bytes:
    """Check what a publisher wants to send and give the JSON object of `data` that the log stores.

    `user_id` is None for everyone. Raises msgspec.ValidationError with the path of the fault.
    """
    fields: dict[str, Any] = {"notification_id": notification_id}
    if _CUSTOM_TYPE.fullmatch(draft.type):
        return encode_json(fields | _custom_fields(draft.data))
    model = _INPUTS.get(draft.type)
    if model is None:
        known = ", ".join(_INPUTS)
        raise msgspec.ValidationError(
            f"Unknown type {draft.type!r}, expected one of {known}, or x-… - at `$.type`"
        )
    try:
        value = msgspec.convert(draft.data, model)
    except msgspec.ValidationError as fault:
        raise msgspec.ValidationError(_under_data(str(fault))) from None
    if isinstance(value, DealsInput):
        return encode_json(fields | _deal_fields(value, user_id))
    return encode_json(fields | msgspec.to_builtins(value))


def _under_data(text: str) -> str:
    return text.replace("`$", "`$.data") if "`$" in text else f"{text} - at `$.data`"


def _custom_fields(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise msgspec.ValidationError("Expected `object` - at `$.data`")
    if "notification_id" in data:
        raise msgspec.ValidationError("Set by the server alone - at `$.data.notification_id`")
    return data


def _deal_fields(value: DealsInput, user_id: str | None) -> dict[str, Any]:
    if user_id is None:
        raise msgspec.ValidationError("A deal-notification is for users, not for everyone - at `$.type`")
    if value.user_id is not UNSET and str(value.user_id) != user_id:
        raise msgspec.ValidationError("Not the user it is sent to - at `$.data.user_id`")
    total = len(value.deals) + value.more_deals
    told = value.deals[:MAX_DEALS_PER_MESSAGE]
    fields: dict[str, Any] = {
        "deals": msgspec.to_builtins(told),
        "user_id": user_id,
        "message": deals_message(total) if value.message is UNSET else value.message,
    }
    return fields | ({"more_deals": total - len(told)} if total > len(told) else {})


def deals_message(count: int) -> str:
    """The original's sentence over a list of deals."""
    return f"You have {count} new deal(s) on your watched items!"


# --- what a client may send -----------------------------------------------------------------------------


class ClientPing(Struct, frozen=True, tag="ping"):
    """The client asks for a `pong`."""


class ClientPong(Struct, frozen=True, tag="pong"):
    """The client answers a `ping`; any byte counts as alive, so its content is not looked at."""


class _AckData(Struct, frozen=True):
    up_to: Annotated[str, Meta(max_length=64)]


class Ack(Struct, frozen=True, tag="ack"):
    """Everything up to this cursor has been received."""

    data: _AckData


class MarkData(Struct, frozen=True):
    """Exactly one of `notification_ids` and `up_to`."""

    state: MarkState
    notification_ids: Annotated[list[Id], Meta(min_length=1, max_length=1000)] | UnsetType = UNSET
    up_to: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET


class Mark(Struct, frozen=True, tag="mark"):
    """Raise the state of some notifications, or of all up to a cursor."""

    data: MarkData


class _AuthData(Struct, frozen=True):
    token: Annotated[str, Meta(min_length=1, max_length=8192)]


class Auth(Struct, frozen=True, tag="auth"):
    """First frame of a connection without a token, or a fresh token for a connection that has one."""

    data: _AuthData


ClientMessage = ClientPing | ClientPong | Ack | Mark | Auth

_client_decoder: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)


class _TypeOnly(Struct, frozen=True):
    type: str


_type_decoder = msgspec.json.Decoder(_TypeOnly)
_CLIENT_TYPES = frozenset({"ping", "pong", "ack", "mark", "auth"})


def decode_client_message(raw: bytes | str) -> ClientMessage:
    """What the server reads. Any input gives a message or ProtocolError, nothing else."""
    try:
        message = _client_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
        raise _fault(raw, str(fault)) from None
    if isinstance(message, Mark):
        check_mark(message.data)
    return message


def check_mark(data: MarkData) -> None:
    """Raises ProtocolError unless exactly one of `notification_ids` and `up_to` is there."""
    if (data.notification_ids is UNSET) == (data.up_to is UNSET):
        raise ProtocolError("bad_message", "mark takes either notification_ids or up_to")


def _fault(raw: bytes | str, text: str) -> ProtocolError:
    try:
        type_ = _type_decoder.decode(raw).type
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ProtocolError("bad_message", f"not a message: {text}")
    if type_ not in _CLIENT_TYPES:
        return ProtocolError("unknown_type", f"unknown type {type_[:64]!r}")
    return ProtocolError("bad_message", text)
