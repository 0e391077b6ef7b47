"""When a client comes back, and which entries it has seen. Pure: no I/O, no clock, no Trio."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

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


class ServerRefused(NotifydError):
    """The server said to stay away; `code` is a close code or an HTTP status."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Ended:
    """How a connection, or the attempt to open one, ended; `at_least_s` is the shortest wait asked for."""

    text: str
    comes_back: bool = True
    code: int = int(CloseCode.ABNORMAL)
    at_least_s: float = 0.0


def lost(text: str) -> Ended:
    """No Close frame and no answer: come back."""
    return Ended(text)


def closed(code: int, reason: str | None) -> Ended:
    """The peer's Close frame, read by the close-code table."""
    known = code in CloseCode.__members__.values()
    said = reason or (CloseCode(code).reason if known else "no reason given")
    wait_s = TOO_FAST_SECONDS if code == CloseCode.TOO_FAST else 0.0
    return Ended(f"closed with {code}: {said}", should_reconnect(code), code, wait_s)


class _Problem(Struct, frozen=True):
    title: str = ""
    detail: str = ""


_problem_decoder = msgspec.json.Decoder(_Problem)


def refused(status: int, headers: Mapping[str, str], body: bytes | None) -> Ended:
    """An HTTP answer instead of the upgrade; `headers` have lower-case names."""
    comes_back = status in _COME_BACK_STATUS or status >= 500
    said = _said(body or b"") or "no reason given"
    wait_s = _retry_after_s(headers.get("retry-after"), TOO_FAST_SECONDS if status == 429 else 0.0)
    return Ended(f"refused with HTTP {status}: {said}", comes_back, status, wait_s)


def _said(body: bytes) -> str:
    try:
        problem = _problem_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeError):
        return ""
    return problem.detail or problem.title


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
