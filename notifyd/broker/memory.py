"""The broker of one process: who listens, and the dispatcher that visits whom a commit concerns.

`publish` is called by the log's writer right after a commit and never waits. The dispatcher is woken
through a memory channel that holds one token: however many commits came, one look is enough, because what
to send is found from each listener's position and the window.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Never

import trio

from notifyd.meters import WRITING_S, Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Sequence

    from notifyd.broker.base import Listener
    from notifyd.broker.window import Framer, News, Window
    from notifyd.store.base import Entry

#: Visits between two checkpoints: about 2 ms of writing, so that nothing else waits longer.
SLICE = 500
#: Seconds between looks for expired entries while there are any that will expire.
EXPIRY_TICK_S = 1.0
#: Commits whose way to the sockets is timed at once; should the dispatcher lie still, the oldest are not.
MAX_TIMED = 10_000


@dataclass(frozen=True)
class BrokerStatistics:
    """What the broker holds now, and how many entries it has given out since the start."""

    listeners: int
    users: int
    window_floor: int
    window_head: int
    window_entries: int
    window_bytes: int
    settled: int
    delivered: int  # entries offered to live listeners, each time counted
    replayed: int  # entries that a listener got later, or when it came


class Broker:
    """Knows every live listener and the window they read.

    `settled`: every live listener that is not busy catching up has been offered all entries up to here,
    so its effective position is at least this.
    """

    def __init__(self, window: Window, clock: Callable[[], int]) -> None:
        self.window = window
        self.settled = self._target = window.head  # the target is where the look that goes on will end
        #: Seconds from a commit until the last of those whom it concerns was visited; one for each commit.
        self.commit_to_written = Histogram(WRITING_S)
        self._clock = clock
        self._delivered = self._replayed = 0
        self._timed: deque[tuple[int, float]] = deque(maxlen=MAX_TIMED)
        self._crowds: dict[Framer | None, dict[Listener, None]] = {}  # by what their bytes look like
        self._hidden: set[Listener] = set()
        self._by_user: dict[str, tuple[Listener, ...]] = {}
        self._wake, self._woken = trio.open_memory_channel[None](1)

    def attach(self, listener: Listener, *, hidden: bool = False) -> None:
        """From now on `listener` is visited. It has everything up to the window's head.

        No checkpoint may lie between its last look and this call. Only the server's own listeners, of users
        who are nobody, are `hidden`: they are not counted.
        """
        self._crowds.setdefault(listener.framer, {})[listener] = None
        if hidden:
            self._hidden.add(listener)
        self._by_user[listener.user_id] = (*self._by_user.get(listener.user_id, ()), listener)

    def detach(self, listener: Listener) -> None:
        """Forget `listener`; harmless when it is not attached."""
        crowd = self._crowds.get(listener.framer)
        if crowd is None or crowd.pop(listener, listener) is listener:
            return
        self._hidden.discard(listener)
        left = tuple(other for other in self._by_user[listener.user_id] if other is not listener)
        if left:
            self._by_user[listener.user_id] = left
        else:
            del self._by_user[listener.user_id]

    def live(self, user_ids: Iterable[str] | None) -> int:
        """How many listeners these users have now; all of them for None."""
        if user_ids is None:
            return sum(map(len, self._crowds.values())) - len(self._hidden)
        return sum(len(self._by_user.get(user_id, ())) for user_id in user_ids)

    def publish(self, entries: Iterable[Entry], withdrawn: frozenset[str] = frozenset()) -> None:
        """Take in what was committed and wake the dispatcher. Never waits, never raises."""
        self.window.put(entries, withdrawn)
        self._timed.append((self.window.head, trio.current_time()))
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
            target = self._target = self.window.head
            news = self.window.news(self.settled)
            count = await (self._visit_everyone(news) if news.everyone else self._visit_some(news))
            self._delivered += self._offered(news, count)
            self.settled = target
            self._note_written(target, concerned=count)
        await trio.lowlevel.checkpoint()

    async def _visit_some(self, news: News) -> int:
        concerned = [listener for user_id in news.own for listener in self._by_user.get(user_id, ())]
        for part in _slices(concerned):
            self._visit_each(part)
            await _breathe(part)
        return len(concerned)

    async def _visit_everyone(self, news: News) -> int:
        """Copies are walked: listeners come and go between slices, and one that went ignores its visit."""
        count = 0
        for framer, crowd in list(self._crowds.items()):
            listeners = list(crowd)
            count += len(listeners)
            for part in _slices(listeners):
                self._visit_alike(part, framer, news.own)
                await _breathe(part)
        return count

    def _visit_alike(self, part: Sequence[Listener], framer: Framer | None, own: Container[str]) -> None:
        """What is the same for all of them is found once; it is looked for again in every slice."""
        after, up_to = self.settled, self._target
        data = None if framer is None else self.window.announced(after, up_to, framer)
        if data is None:
            self._visit_each(part)
            return
        if own:
            self._visit_each([listener for listener in part if listener.user_id in own])
            part = [listener for listener in part if listener.user_id not in own]
        if part:
            part[0].offer(part, data, after, up_to)

    def _visit_each(self, listeners: Sequence[Listener]) -> None:
        for listener in listeners:
            listener.visit()

    # --- counting: once for each look, so that a visit costs nothing more ---------------------------------

    def _offered(self, news: News, visits: int) -> int:
        own = sum(count * len(self._by_user.get(user_id, ())) for user_id, count in news.own.items())
        return news.everyone * visits + own

    def _note_written(self, settled: int, *, concerned: int) -> None:
        now = trio.current_time()
        while self._timed and self._timed[0][0] <= settled:
            _, committed_at = self._timed.popleft()
            if concerned:
                self.commit_to_written.observe(now - committed_at)

    def put_off(self, user_id: str, position: int) -> None:
        """A listener could not take what it was just offered after `position`; it gets that as a replay."""
        self._delivered -= self.window.count(user_id, position, self._target)

    def replayed(self, entries: int) -> None:
        """A listener has got entries otherwise than by the dispatcher's visit."""
        self._replayed += entries

    def statistics(self) -> BrokerStatistics:
        return BrokerStatistics(
            listeners=self.live(None),
            users=len(self._by_user) - len({listener.user_id for listener in self._hidden}),
            window_floor=self.window.floor,
            window_head=self.window.head,
            window_entries=len(self.window),
            window_bytes=self.window.size,
            settled=self.settled,
            delivered=self._delivered,
            replayed=self._replayed,
        )


def _slices(listeners: Sequence[Listener]) -> Iterator[Sequence[Listener]]:
    for start in range(0, len(listeners), SLICE):
        yield listeners[start : start + SLICE]


async def _breathe(part: Sequence[Listener]) -> None:
    """Let others run after a whole slice."""
    if len(part) == SLICE:
        await trio.lowlevel.checkpoint()
