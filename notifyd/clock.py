"""Time, in one place so that tests can hand in another clock; and taking turns on the event loop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

#: The longest that work on the event loop keeps other tasks waiting.
SLICE_S = 0.004


def wall_ms() -> int:
    """Milliseconds since 1970-01-01 UTC; jumps when the system's clock is set."""
    return time.time_ns() // 1_000_000


def steady_clock(from_ms: int) -> Callable[[], int]:
    """Milliseconds that begin at `from_ms` and go on evenly, whatever is done to the system's clock."""
    began = trio.current_time()
    return lambda: from_ms + round((trio.current_time() - began) * 1000)


class Pace:
    """Cuts long work on the event loop into slices: `await pace.breathe()` between its steps.

    `together` tasks that take turns share one slice: they hold up the others no longer than one would.
    """

    def __init__(self, together: int = 1) -> None:
        self._slice_s = SLICE_S / together
        self._until = trio.current_time() + self._slice_s

    async def breathe(self) -> None:
        """Let other tasks run when this slice is used up; not a checkpoint otherwise."""
        if trio.current_time() >= self._until:
            await trio.lowlevel.checkpoint()
            self._until = trio.current_time() + self._slice_s

    def rested(self) -> None:
        """The task has just waited for something, so a new slice begins."""
        self._until = trio.current_time() + self._slice_s
