"""A real database without threads, so that virtual time works, and a store that fails as a test says."""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import trio

from notifyd.inbox import Publication, open_inbox
from notifyd.messages import custom
from notifyd.store.sql import Call, open_database, prepare

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from notifyd.inbox import Inbox
    from notifyd.store.base import Entry, Transaction
    from notifyd.store.sql import Database

T = TypeVar("T")

DAY_MS = 24 * 3600 * 1000


class Clock:
    """Wall time that the test moves."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.ms


class FaultyStore:
    """`store.base.Store` in the calling task. Each write takes the next of `faults`, if there is one.

    A fault is handed the write as a coroutine function, so it may run it late, twice or not at all.
    """

    def __init__(self, database: Database, epoch: str, clock: Clock) -> None:
        self.epoch = epoch
        self.failed = trio.Event()
        self.faults: deque[Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]] = deque()
        self.reads = 0
        self.writes = 0
        self._database = database
        self._clock = clock

    async def read(self, work: Callable[[Transaction], T]) -> T:
        await trio.lowlevel.checkpoint()
        self.reads += 1
        return self._database.read(work, Call(self._clock()))

    async def write(self, work: Callable[[Transaction], T]) -> T:
        await trio.lowlevel.checkpoint()
        self.writes += 1

        async def really() -> T:
            return self._database.write(work, Call(self._clock()))

        if not self.faults:
            return await really()
        result: T = await self.faults.popleft()(really)
        return result

    def fail(self, error: Exception, *, written: bool = False) -> None:
        """The next write raises, and is or is not done all the same."""

        async def fault(really: Callable[[], Awaitable[Any]]) -> None:
            if written:
                await really()
            raise error

        self.faults.append(fault)

    def delay(self, seconds: float) -> None:
        """The next write takes so long."""

        async def fault(really: Callable[[], Awaitable[Any]]) -> Any:
            await trio.sleep(seconds)
            return await really()

        self.faults.append(fault)


class Heard:
    """What `on_commit` was told."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.withdrawn: list[frozenset[str]] = []

    def __call__(self, entries: Any, withdrawn: frozenset[str]) -> None:
        self.entries += entries
        self.withdrawn.append(withdrawn)

    @property
    def seqs(self) -> list[int]:
        return [entry.seq for entry in self.entries]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def store(database_url: str, clock: Clock) -> Iterator[FaultyStore]:
    with open_database(database_url, busy_s=1) as database:
        yield FaultyStore(database, prepare(database, clock()), clock)


OpenInbox = "Callable[..., AbstractAsyncContextManager[Inbox]]"


@pytest.fixture
def opened(
    store: FaultyStore, clock: Clock, heard: Heard
) -> Callable[..., AbstractAsyncContextManager[Inbox]]:
    """Open an inbox over the store; keywords replace the defaults."""

    @asynccontextmanager
    async def open_(**more: Any) -> AsyncIterator[Inbox]:
        defaults: dict[str, Any] = {"retention_ms": 30 * DAY_MS, "max_rows_per_user": 10_000}
        async with open_inbox(store, clock=clock, on_commit=heard, **(defaults | more)) as inbox:
            yield inbox

    return open_


def note(user_id: str | None = "u", text: str = "hello", **more: Any) -> Publication:
    """A publication for one user, or for everyone."""
    users = None if user_id is None else (user_id,)
    return Publication(custom("x-note", {"text": text}), users, "publisher", **more)
