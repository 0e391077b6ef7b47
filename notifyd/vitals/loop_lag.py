"""How late the event loop is: what anybody who waits for a moment has to wait beyond it."""

from __future__ import annotations

from typing import Final, Never

import trio

from notifyd.meters import Histogram

#: Seconds between two looks. A look costs some tens of microseconds.
EVERY_S: Final = 0.1
#: Seconds for which the longest lag is remembered, and at most twice as long.
MEMORY_S: Final = 60.0
#: The same for what is shown as the lag of this moment.
MOMENT_S: Final = 2.0
_BOUNDS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class LoopLag:
    """Wakes now and then and notes how late that is. `run` is a job."""

    def __init__(self) -> None:
        self.seconds = Histogram(_BOUNDS_S)
        self._lately = _Longest(MEMORY_S)
        self._now = _Longest(MOMENT_S)

    async def run(self) -> Never:
        """Look until cancelled."""
        while True:
            due = trio.current_time() + EVERY_S
            await trio.sleep_until(due)
            self.note(trio.current_time(), due)

    def note(self, now: float, due: float) -> None:
        """Something that was due at `due` happens `now`."""
        lag = max(now - due, 0.0)
        self.seconds.observe(lag)
        self._lately.note(lag, now)
        self._now.note(lag, now)

    def longest(self, now: float) -> float:
        """The longest lag of the last minute or two, in seconds."""
        return self._lately.read(now)

    def longest_now(self, now: float) -> float:
        """The longest lag of the last two to four seconds, in seconds."""
        return self._now.read(now)


class _Longest:
    """The largest of what was noted in the last `memory_s` seconds, or up to twice as long ago."""

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        self._longest = self._longest_before = 0.0
        self._turned_at = 0.0

    def note(self, lag: float, now: float) -> None:
        self._turn(now)
        self._longest = max(self._longest, lag)

    def read(self, now: float) -> float:
        self._turn(now)
        return max(self._longest, self._longest_before)

    def _turn(self, now: float) -> None:
        passed = now - self._turned_at
        if passed >= self._memory_s:
            self._longest_before = self._longest if passed < 2 * self._memory_s else 0.0
            self._longest = 0.0
            self._turned_at = now
