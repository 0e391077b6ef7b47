"""How connections ended and why others were refused: counted for the metrics, and told in the log."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Final

import structlog
import trio

from notifyd.errors import CloseCode

if TYPE_CHECKING:
    from notifyd.transport.connection import Connection
    from notifyd.transport.heartbeat import Wheel

#: Seconds in which one address is told in the log once for the same reason.
ONE_LINE_S: Final = 10.0
#: Addresses and reasons that are told apart at once; what comes on top is told together.
MAX_LINES: Final = 1000
#: The label of a code that a client made up.
OTHER: Final = "other"

_KNOWN: Final = frozenset({1005, *CloseCode})

log = structlog.get_logger("notifyd.transport")


class Tally:
    """Counts since the start; nothing is counted while a connection lives."""

    def __init__(self) -> None:
        self.closes: Counter[tuple[str, str]] = Counter()  # by transport and code
        self.sent_bytes: Counter[str] = Counter()  # by transport, of connections that have ended
        self.refusals = Refusals()

    def ended(self, connection: Connection) -> None:
        """A connection has ended, in whatever way. One that was refused was never one."""
        self.sent_bytes[connection.transport] += connection.outbox.accepted
        if connection.was_refused:
            return
        code = int(CloseCode.ABNORMAL) if connection.close_code is None else connection.close_code
        self.closes[connection.transport, str(code) if code in _KNOWN else OTHER] += 1
        log.debug(
            "connection.ended",
            connection=connection.id,
            user=connection.user_id,
            transport=connection.transport,
            code=code,
            seconds=round(trio.current_time() - connection.session.auth_started, 3),
            sent_bytes=connection.outbox.accepted,
        )


class _Line:
    """What was told of one address and reason, and how often it has happened since."""

    __slots__ = ("since", "status", "until")

    def __init__(self, status: int, until: float) -> None:
        self.status = status
        self.until = until
        self.since = 0


class Refusals:
    """At most one line for each address, transport and reason in 10 s. Timed in the wheel."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()  # by transport and reason
        self.due = math.inf
        self._lines: dict[tuple[str, str, str], _Line] = {}

    def note(self, wheel: Wheel, transport: str, ip: str, status: int, reason: str) -> None:
        """A client was turned away; `reason` is the slug of its answer."""
        self.counts[transport, reason] += 1
        key = (ip, transport, reason)
        if key not in self._lines and len(self._lines) >= MAX_LINES:
            key = ("others", transport, reason)
        line = self._lines.get(key)
        if line is not None:
            line.since += 1
            return
        now = trio.current_time()
        self._lines[key] = _Line(status, now + ONE_LINE_S)
        _tell(key, status, 1)
        wheel.schedule(self, now + ONE_LINE_S)

    def tick(self, now: float, now_ms: int, resumed_at: float) -> float | None:
        """Tell what has gathered since each line, and forget those who have stopped."""
        for key, line in list(self._lines.items()):
            if line.until > now:
                continue
            if line.since:
                _tell(key, line.status, line.since)
                line.since, line.until = 0, now + ONE_LINE_S
            else:
                del self._lines[key]
        return min((line.until for line in self._lines.values()), default=None)

    def fail(self, error: Exception) -> None:
        log.error("connection.fault", exc_info=error)


def _tell(key: tuple[str, str, str], status: int, count: int) -> None:
    ip, transport, reason = key
    log.info("connection.refused", ip=ip, transport=transport, status=status, reason=reason, count=count)
