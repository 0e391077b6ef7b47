"""When and how a client comes back, and which entries it has seen. Pure: no I/O, no clock, no Trio."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct

from notifyd.errors import CloseCode, NotifydError, should_reconnect
from notifyd.messages import Cursor, parse_cursor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: RFC 6585 section 4 and RFC 8470 section 5.2: refusals that ask for another try.
_COME_BACK_STATUS = frozenset({408, 425, 429})
#: Seconds a client keeps away that was told it is too fast and not for how long.
TOO_FAST_SECONDS = 5.0
#: A server's wish to be left alone is obeyed up to an hour.
MAX_RETRY_AFTER_SECONDS = 3600.0


#: What the server's own problem documents begin their `type` with.
_PROBLEM = "urn:notifyd:problem:"
#: The server's words, but to a request of which a proxy has taken away the upgrade.
_TAKEN_AWAY_STATUS = frozenset({400, 426})
#: A proxy's words about a server that is away for the moment.
_GATEWAY_STATUS = frozenset({502, 503, 504})
#: Seconds for which SSE is preferred where WebSockets do not get through; doubled each time, to the second.
WEBSOCKET_AGAIN_SECONDS = 300.0
MAX_WEBSOCKET_AGAIN_SECONDS = 3600.0

Transport = Literal["websocket", "sse"]
TransportChoice = Literal["auto", "websocket", "sse"]


class ServerRefused(NotifydError):
    """The server said to stay away; `code` is a close code or an HTTP status."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Ended:
    """How a connection, or the attempt to open one, ended.

    `at_least_s` is the shortest wait asked for; `by_server` is False when it may have been something between
    us and the server.
    """

    text: str
    comes_back: bool = True
    code: int = int(CloseCode.ABNORMAL)
    at_least_s: float = 0.0
    by_server: bool = False


def lost(text: str) -> Ended:
    """No Close frame and no answer: come back."""
    return Ended(text)


def closed(code: int, reason: str | None) -> Ended:
    """The peer's Close frame, read by the close-code table."""
    known = code in CloseCode.__members__.values()
    said = reason or (CloseCode(code).reason if known else "no reason given")
    wait_s = TOO_FAST_SECONDS if code == CloseCode.TOO_FAST else 0.0
    # A proxy that meddles with frames looks like a peer that breaks the protocol.
    by_server = code not in (CloseCode.ABNORMAL, CloseCode.PROTOCOL_ERROR)
    return Ended(f"closed with {code}: {said}", should_reconnect(code), code, wait_s, by_server)


class _Problem(Struct, frozen=True):
    type: str = ""
    title: str = ""
    detail: str = ""


_problem_decoder = msgspec.json.Decoder(_Problem)


def refused(status: int, headers: Mapping[str, str], body: bytes | None) -> Ended:
    """An HTTP answer instead of the upgrade; `headers` have lower-case names."""
    comes_back = status in _COME_BACK_STATUS or status >= 500
    problem = _problem(body or b"")
    said = problem.detail or problem.title or "no reason given"
    by_server = problem.type.startswith(_PROBLEM) and status not in _TAKEN_AWAY_STATUS
    wait_s = _retry_after_s(headers.get("retry-after"), TOO_FAST_SECONDS if status == 429 else 0.0)
    return Ended(f"refused with HTTP {status}: {said}", comes_back, status, wait_s, by_server)


def _problem(body: bytes) -> _Problem:
    try:
        return _problem_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeError):
        return _Problem()


def _retry_after_s(value: str | None, default_s: float) -> float:
    """RFC 9110 section 10.2.3; the date form is for people and caches, so it counts as absent."""
    if value is None or not value.strip().isascii() or not value.strip().isdigit():
        return default_s
    return min(float(value), MAX_RETRY_AFTER_SECONDS)


class Reconnects:
    """Full-jitter backoff without end: a random wait below a bound that doubles with each failure.

    The bound starts anew only after a connection that lasted `steady_s`, so that a server which accepts and
    drops everybody is not asked once a second by everybody.
    """

    def __init__(
        self,
        *,
        base_s: float = 1.0,
        cap_s: float = 30.0,
        steady_s: float = 10.0,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._base_s = base_s
        self._cap_s = cap_s
        self._steady_s = steady_s
        self._draw = draw
        self._failures = 0

    def delay_s(self, ended: Ended, *, lasted_s: float, slot_s: float | None = None) -> float:
        """Seconds to wait now. `lasted_s`: how long messages flowed; `slot_s`: the server's own wish."""
        if lasted_s >= self._steady_s:
            self._failures = 0
        if slot_s is not None:
            return slot_s
        bound_s = min(self._cap_s, self._base_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return ended.at_least_s + self._draw() * bound_s


class Transports:
    """Which transport comes next: WebSocket first, SSE where a WebSocket does not get through.

    That is remembered for the client's life; after a while, and always longer, a WebSocket is tried again
    when a new connection is needed. `now` is any steady clock, in seconds.
    """

    def __init__(self, choice: TransportChoice = "auto") -> None:
        self.choice = choice
        self._sse_until: float | None = None  # None: not preferred
        self._on_trial = False  # SSE is being tried because a WebSocket has just failed
        self._away = 0  # times in a row that a proxy said that the server is away
        self._again_s = WEBSOCKET_AGAIN_SECONDS

    def next(self, now: float) -> Transport:
        if self.choice != "auto":
            return self.choice
        preferred = self._sse_until is not None and now < self._sse_until
        return "sse" if preferred or self._on_trial else "websocket"

    def established(self, transport: Transport, now: float) -> None:
        """Messages flow."""
        self._away = 0
        if transport == "websocket":
            self._sse_until, self._again_s = None, WEBSOCKET_AGAIN_SECONDS
        elif self._on_trial:
            self._sse_until = now + self._again_s
            self._again_s = min(2 * self._again_s, MAX_WEBSOCKET_AGAIN_SECONDS)
        self._on_trial = False

    def failed(self, transport: Transport, ended: Ended) -> bool:
        """A connection that could be opened ended before messages flowed; whether to try SSE at once."""
        if self.choice != "auto" or ended.by_server:
            return False
        if transport == "sse":
            self._on_trial = False
            return False
        self._away = self._away + 1 if ended.code in _GATEWAY_STATUS else 0
        self._on_trial = self._away != 1
        return self._on_trial


class Received:
    """How far the log has been read, over all connections; tells new entries from repeated ones."""

    def __init__(self, position: Cursor | None = None) -> None:
        self.position = position

    def start(self, cursor: str, *, recovered: bool) -> None:
        """A stream begins at `cursor`. Unless recovered, this is the position now, even a lower one."""
        start = parse_cursor(cursor)
        if start is not None and (not recovered or self.position is None):
            self.position = start

    def is_new(self, cursor: Cursor) -> bool:
        """Whether the entry at `cursor` has not been seen: above the position, or of another epoch."""
        here = self.position
        return here is None or here.epoch != cursor.epoch or cursor.seq > here.seq

    def advance(self, cursor: Cursor) -> None:
        """Everything up to `cursor` has been seen; never goes back within an epoch."""
        if self.is_new(cursor):
            self.position = cursor
