"""The broker of one process: who listens, and the dispatcher that visits whom a commit concerns.

`publish` is called by the log's writer right after a commit and never waits. The dispatcher is woken
through a memory channel that holds one token: however many commits came, one look is enough, because what
to send is found from each listener's position and the window.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Never

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from notifyd.broker.base import Listener
    from notifyd.broker.window import Window
    from notifyd.store.base import Entry

#: Visits between two checkpoints: about 2 ms of writing, so that nothing else waits longer.
SLICE = 500
#: Seconds between looks for expired entries while there are any that will expire.
EXPIRY_TICK_S = 1.0


@dataclass(frozen=True)
class BrokerStatistics:
    """What the broker holds now."""

    listeners: int
    users: int
    window_floor: int
    window_head: int
    settled: int


class Broker:
    """Knows every live listener and the window they read.

    `settled`: every live listener that is not busy catching up has been offered all entries up to here,
    so its effective position is at least this.
    """

    def __init__(self, window: Window, clock: Callable[[], int]) -> None:
        self.window = window
        self.settled = window.head
        self._clock = clock
        self._all: dict[Listener, None] = {}
        self._by_user: dict[str, tuple[Listener, ...]] = {}
        self._wake, self._woken = trio.open_memory_channel[None](1)

    def attach(self, listener: Listener) -> None:
        """From now on `listener` is visited. It has everything up to the window's head.

        No checkpoint may lie between its last look and this call.
        """
        self._all[listener] = None
        self._by_user[listener.user_id] = (*self._by_user.get(listener.user_id, ()), listener)

    def detach(self, listener: Listener) -> None:
        """Forget `listener`; harmless when it is not attached."""
        if self._all.pop(listener, listener) is listener:
            return
        left = tuple(other for other in self._by_user[listener.user_id] if other is not listener)
        if left:
            self._by_user[listener.user_id] = left
        else:
            del self._by_user[listener.user_id]

    def live(self, user_ids: Iterable[str] | None) -> int:
        """How many listeners these users have now; all of them for None."""
        if user_ids is None:
            return len(self._all)
        return sum(len(self._by_user.get(user_id, ())) for user_id in user_ids)

    def publish(self, entries: Iterable[Entry], withdrawn: frozenset[str] = frozenset()) -> None:
        """Take in what was committed and wake the dispatcher. Never waits, never raises."""
        self.window.put(entries, withdrawn)
        with suppress(trio.WouldBlock):  # then a look is due already
            self._wake.send_nowait(None)

    async def run_dispatcher(self) -> Never:
        """Visit whom new entries concern, until cancelled. Run again after a crash, it repeats nothing."""
        while True:
            await self.settle()
            with trio.move_on_after(EXPIRY_TICK_S if self.window.expiring else float("inf")):
                await self._woken.receive()
            self.window.expire(self._clock())

    async def settle(self) -> None:
        """Offer every entry after `settled` to the listeners it concerns."""
        while self.settled < self.window.head:
            target = self.window.head
            concerned = self._concerned(self.window.audience(self.settled))
            for count, listener in enumerate(concerned, start=1):
                listener.visit()
                if count % SLICE == 0:
                    await trio.lowlevel.checkpoint()
            self.settled = target
        await trio.lowlevel.checkpoint()

    def _concerned(self, audience: frozenset[str] | None) -> Iterator[Listener]:
        """A copy is walked: listeners come and go between slices, and one that went ignores its visit."""
        if audience is None:
            yield from list(self._all)
            return
        for user_id in audience:
            yield from self._by_user.get(user_id, ())

    def statistics(self) -> BrokerStatistics:
        return BrokerStatistics(
            listeners=len(self._all),
            users=len(self._by_user),
            window_floor=self.window.floor,
            window_head=self.window.head,
            settled=self.settled,
        )
