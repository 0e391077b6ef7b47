"""What clients cause at once, spread over turns of the event loop.

Trio runs all tasks that the last wait for I/O has woken before it waits again. Ten thousand clients that
talk in the same instant would be one turn, in which nobody else gets one. Behind the turnstile they share
a few milliseconds of each turn; the others wait their time, in order.
"""

from __future__ import annotations

import math
from typing import Final, Never

import trio

#: Seconds of a turn that go to whoever comes first.
SHARE_S: Final = 0.004
#: Of those that wait, how many more go on in each turn: at 50 µs each about as long again.
RELEASED: Final = 64


class Turnstile(trio.abc.Instrument):
    """`run` is a job; without it everybody may pass."""

    def __init__(self) -> None:
        self._until = math.inf
        self._queue = trio.lowlevel.ParkingLot()
        self._needed = trio.lowlevel.ParkingLot()

    def is_full(self) -> bool:
        """Whether this turn's share is used up, so that the caller should `wait`."""
        return trio.current_time() > self._until

    async def wait(self) -> None:
        """Wait for a turn with room. Cancellation: the place in the queue is given up."""
        self._needed.unpark()
        await self._queue.park()

    async def run(self) -> Never:
        """Let those pass who wait, some in each turn, until cancelled."""
        trio.lowlevel.add_instrument(self)
        try:
            while True:
                while self._queue:
                    self._queue.unpark(count=RELEASED)
                    await trio.lowlevel.checkpoint()
                await self._needed.park()
        finally:
            trio.lowlevel.remove_instrument(self)
            self._until = math.inf
            self._queue.unpark_all()

    def after_io_wait(self, timeout: float) -> None:
        """A turn begins."""
        self._until = trio.current_time() + SHARE_S
