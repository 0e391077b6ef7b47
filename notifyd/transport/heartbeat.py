"""Time for every connection in one task: a timer wheel, and what a ping proves about a peer.

Each connection is in the wheel once, at its next moment; an idle connection has no task, scope or timer of
its own for its deadlines. Pings, answers, first frames, expiries, stalls and closes all come due here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Never, Protocol

import structlog
import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifyd.config import Config

#: Seconds between two turns of the wheel: how late anything may be.
TICK_S: Final = 0.25
#: Connections looked after before anything else gets a turn.
SLICE: Final = 500
#: A wheel this many seconds late means that the process stood still, not that the loop was busy.
PAUSE_S: Final = 2.0
#: Seconds without any progress while a ping waits in the socket's queue. With a ping every 30 s a peer that
#: has vanished is gone within 45 s of its last byte.
STUCK_S: Final = 12.0
#: Seconds between two looks at a ping that is on its way.
PROBE_LOOK_S: Final = 1.0

log = structlog.get_logger("notifyd.transport")


class Timed(Protocol):
    """What lives in the wheel."""

    due: float  # when it wants its next tick; the wheel's own note, infinite while it is in no slot

    def tick(self, now: float, now_ms: int, resumed_at: float) -> float | None:
        """Do what is due; the moment of the next tick, or None to leave the wheel. Must not wait."""
        ...

    def fail(self, error: Exception) -> None:
        """`tick` has raised: end, without raising."""
        ...


class Probe:
    """A ping that is on its way, from its writing until the peer has shown that it lives.

    The time for an answer begins when the peer's kernel has confirmed the ping: a slow link is no reason
    to call a peer dead, and a growing queue of later messages proves nothing either way.
    """

    __slots__ = ("_confirmed", "_left_at", "_mark", "_moved_at", "sent_at")

    def __init__(self, now: float, accepted: int) -> None:
        """`accepted`: bytes given to the kernel in all, the ping being the last of them."""
        self.sent_at = now
        self._mark = accepted
        self._confirmed = -1
        self._moved_at = now
        self._left_at: float | None = None

    def has_left(self, now: float, accepted: int, unacknowledged: int) -> bool:
        """Whether the ping has reached the peer's kernel, given the socket's present counts."""
        confirmed = accepted - unacknowledged
        if confirmed > self._confirmed:
            self._confirmed = confirmed
            self._moved_at = now
        if self._left_at is None and (unacknowledged == 0 or confirmed >= self._mark):
            self._left_at = now
        return self._left_at is not None

    def is_lost(self, now: float, pong_s: float) -> bool:
        """Whether the peer is dead: no answer `pong_s` after the ping has left, or the queue stands still."""
        if self._left_at is not None:
            return now >= self._left_at + pong_s
        return now >= self._moved_at + STUCK_S


class Wheel:
    """Ticks every connection when it is due. `run` is the one task; one at a time may run.

    `resumed_at` is the moment of the last return from a pause of the whole process: patience with a peer
    that could not be heard meanwhile begins anew there.
    """

    def __init__(self, clock: Callable[[], int], config: Config) -> None:
        self.heartbeat_s = config.heartbeat_seconds
        self.pong_s = config.pong_seconds
        self.resumed_at = 0.0
        self._clock = clock
        self._slots: dict[int, dict[Timed, None]] = {}

    def schedule(self, timed: Timed, when: float) -> None:
        """Tick `timed` at `when` (monotonic seconds), or earlier when it is due earlier already."""
        if when < timed.due:
            self.forget(timed)
            timed.due = when
            self._slots.setdefault(math.ceil(when / TICK_S), {})[timed] = None

    def forget(self, timed: Timed) -> None:
        """Tick it no more, and let go of it."""
        if timed.due < math.inf:
            self._slots.get(math.ceil(timed.due / TICK_S), {}).pop(timed, None)
            timed.due = math.inf

    async def run(self) -> Never:
        """Turn the wheel until cancelled; run again after a crash, it goes on where it was."""
        now = trio.current_time()
        while True:
            expected = (math.floor(now / TICK_S) + 1) * TICK_S
            await trio.sleep_until(expected)
            now = trio.current_time()
            if now - expected > PAUSE_S:
                self.resumed_at = now
                log.warning("heartbeat.paused", seconds=round(now - expected, 1))
            await self._turn(now)

    async def _turn(self, now: float) -> None:
        """Tick whoever is due by `now`."""
        done = 0
        for slot in sorted(slot for slot in self._slots if slot * TICK_S <= now):
            for timed in self._slots.pop(slot):
                self._tick(timed, now)
                done += 1
                if done % SLICE == 0:
                    await trio.lowlevel.checkpoint()

    def _tick(self, timed: Timed, now: float) -> None:
        if timed.due > now:  # moved or forgotten in this very turn
            return
        timed.due = math.inf
        try:
            due = timed.tick(now, self._clock(), self.resumed_at)
        except Exception as error:
            timed.fail(error)
        else:
            if due is not None:
                self.schedule(timed, max(due, now + TICK_S))
