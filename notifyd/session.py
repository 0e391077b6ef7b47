"""One client's side of the wire protocol: what it said and when → what to do about it.

Pure: no I/O, no clock, no Trio. Whoever owns the connection hands in messages and moments and carries out
the actions in order. `now` is monotonic seconds; only a token's expiry is looked up on the wall clock,
`now_ms` (milliseconds since 1970).
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

from notifyd.errors import CloseCode, ProtocolError
from notifyd.limits import Limits
from notifyd.messages import (
    Ack,
    Auth,
    ClientPing,
    Cursor,
    Mark,
    MarkData,
    Pong,
    decode_client_message,
    error,
    parse_cursor,
)

if TYPE_CHECKING:
    from msgspec import Struct

    from notifyd.errors import ErrorCode
    from notifyd.messages import ClientMessage

#: Milliseconds that a connection outlives its token, for clocks that differ and refreshes on their way.
EXPIRY_LEEWAY_MS: Final = 30_000
_DEFAULTS: Final = Limits()


# --- the states ---------------------------------------------------------------------------------------


class State(Enum):
    """Where a connection is in its life."""

    UNAUTHENTICATED = auto()
    OPEN = auto()
    CLOSING = auto()  # our Close is on its way; nothing the client says counts any more
    CLOSED = auto()


class Input(Enum):
    """What moves a connection on."""

    TOKEN_ACCEPTED = auto()
    CLOSE = auto()  # from either side
    GONE = auto()  # the transport has ended


#: Everything that affects the state stands here; a pair that is missing changes nothing.
_TRANSITIONS: Final[dict[tuple[State, Input], State]] = {
    (State.UNAUTHENTICATED, Input.TOKEN_ACCEPTED): State.OPEN,
    (State.UNAUTHENTICATED, Input.CLOSE): State.CLOSING,
    (State.UNAUTHENTICATED, Input.GONE): State.CLOSED,
    (State.OPEN, Input.TOKEN_ACCEPTED): State.OPEN,
    (State.OPEN, Input.CLOSE): State.CLOSING,
    (State.OPEN, Input.GONE): State.CLOSED,
    (State.CLOSING, Input.GONE): State.CLOSED,
}


# --- the actions --------------------------------------------------------------------------------------


class Say(NamedTuple):
    """Send a message of the server's own."""

    data: Struct


class Verify(NamedTuple):
    """Find out whose token this is, then call `accepted` or `refused`."""

    token: str


class Establish(NamedTuple):
    """The client is known now: begin its stream."""


class Acknowledge(NamedTuple):
    """The client has everything up to `cursor`."""

    cursor: Cursor


class AcknowledgePinged(NamedTuple):
    """The client has everything that was written before the ping it answered."""


class SetState(NamedTuple):
    """Mark notifications."""

    data: MarkData
    up_to: Cursor | None


class Close(NamedTuple):
    """Send a Close; nothing is sent after it."""

    code: CloseCode


Action = Say | Verify | Establish | Acknowledge | AcknowledgePinged | SetState | Close


# --- the machine --------------------------------------------------------------------------------------


class Session:
    """The protocol state of one client. Every method returns what is to be done, in order."""

    __slots__ = (
        "_control_due",
        "_limits",
        "_message_due",
        "auth_started",
        "expires_ms",
        "has_acked",
        "state",
        "user_id",
    )

    def __init__(self, now: float, limits: Limits = _DEFAULTS) -> None:
        self._limits = limits
        self.state = State.UNAUTHENTICATED
        self.user_id = ""
        self.expires_ms = 0
        self.has_acked = False
        self.auth_started = now
        self._message_due = 0.0
        self._control_due = 0.0

    def accepted(self, user_id: str, expires_ms: int) -> list[Action]:
        """A token proved to be this user's: the first one, or a refresh, which is for the same user only."""
        if self.state is State.UNAUTHENTICATED:
            self._move(Input.TOKEN_ACCEPTED)
            self.user_id = user_id
            self.expires_ms = expires_ms
            return [Establish()]
        if self.state is not State.OPEN:
            return []
        if user_id != self.user_id:
            return self._end("unauthorized", "the token is another user's", CloseCode.BAD_TOKEN)
        self.expires_ms = max(self.expires_ms, expires_ms)
        return []

    def refused(self) -> list[Action]:
        """A token proved nothing. A connection that had a valid one lives on until that expires."""
        if self.state is State.UNAUTHENTICATED:
            return self._end("unauthorized", "the token is not valid", CloseCode.BAD_TOKEN)
        if self.state is State.OPEN:
            return [Say(error("unauthorized", "the token is not valid"))]
        return []

    def handle(self, message: str | bytes, now: float) -> list[Action]:
        """One message of the client. What cannot be understood is answered, and the connection goes on."""
        if self.state not in (State.UNAUTHENTICATED, State.OPEN):
            return []
        self._message_due = max(self._message_due, now) + 1 / self._limits.message_rate
        if self._message_due - now > self._limits.message_burst / self._limits.message_rate:
            return self._end("rate_limited", "too many messages", CloseCode.TOO_FAST)
        try:
            return self._obey(decode_client_message(message))
        except ProtocolError as fault:
            if self.state is State.UNAUTHENTICATED:
                return self._not_auth()
            return [Say(error(fault.code, fault.message))]

    def control_frame(self, now: float) -> list[Action]:
        """A Ping or Pong frame came, whatever is in it."""
        if self.state not in (State.UNAUTHENTICATED, State.OPEN):
            return []
        self._control_due = max(self._control_due, now) + 1 / self._limits.control_rate
        if self._control_due - now > self._limits.control_burst / self._limits.control_rate:
            return self._end("rate_limited", "too many control frames", CloseCode.TOO_FAST)
        return []

    def pong(self) -> list[Action]:
        """The client answered a ping, by a frame or by a message."""
        return [AcknowledgePinged()] if self.state is State.OPEN and not self.has_acked else []

    def tick(self, now: float, now_ms: int, resumed_at: float = 0.0) -> list[Action]:
        """Time has passed. `resumed_at`: when this process last came back from a pause, in which no client
        could be heard."""
        if (
            self.state is State.UNAUTHENTICATED
            and now >= max(self.auth_started, resumed_at) + self._limits.auth_seconds
        ):
            return self._end("unauthorized", "no token came in time", CloseCode.BAD_TOKEN)
        if self.state is State.OPEN and now_ms >= self.expires_ms + EXPIRY_LEEWAY_MS:
            return self._end("token_expired", "the token has expired", CloseCode.TOKEN_EXPIRED)
        return []

    def due(self, now: float, now_ms: int) -> float:
        """The monotonic moment of the next `tick` that may do something, as far as is known now."""
        if self.state is State.UNAUTHENTICATED:
            return max(self.auth_started + self._limits.auth_seconds, now)
        return now + max(0.0, (self.expires_ms + EXPIRY_LEEWAY_MS - now_ms) / 1000)

    def close(self) -> None:
        """A Close was sent, or came from the client."""
        self._move(Input.CLOSE)

    def gone(self) -> None:
        """The transport has ended."""
        self._move(Input.GONE)

    # --- inside ---------------------------------------------------------------------------------------

    def _move(self, given: Input) -> None:
        self.state = _TRANSITIONS.get((self.state, given), self.state)

    def _end(self, code: ErrorCode, text: str, close: CloseCode) -> list[Action]:
        self._move(Input.CLOSE)
        return [Say(error(code, text)), Close(close)]

    def _not_auth(self) -> list[Action]:
        return self._end("unauthorized", "the first message must be auth", CloseCode.BAD_TOKEN)

    def _obey(self, message: ClientMessage) -> list[Action]:
        if isinstance(message, Auth):
            return [Verify(message.data.token)]
        if self.state is State.UNAUTHENTICATED:
            return self._not_auth()
        if isinstance(message, Ack):
            cursor = _cursor(message.data.up_to)
            self.has_acked = True
            return [Acknowledge(cursor)]
        if isinstance(message, Mark):
            up_to = message.data.up_to
            return [SetState(message.data, _cursor(up_to) if isinstance(up_to, str) else None)]
        return [Say(Pong())] if isinstance(message, ClientPing) else self.pong()


def _cursor(text: str) -> Cursor:
    cursor = parse_cursor(text)
    if cursor is None:
        raise ProtocolError("bad_message", "up_to is not a cursor")
    return cursor
