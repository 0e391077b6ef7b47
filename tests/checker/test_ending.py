from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import pytest
import trio

from notifyd.checker.loop import Checker
from notifyd.checker.telling import LATEST_END_MS
from notifyd.inbox import open_inbox
from notifyd.messages import NotificationUpdated
from notifyd.store import endings
from notifyd.store.prices import add_batch
from notifyd.store.sql import Call, open_database, prepare
from notifyd.store.watch_rules import TargetPrice, WatchSpec
from tests.checker.conftest import Row, _batch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from trio.testing import MockClock

    from notifyd.inbox import Inbox
    from notifyd.store.base import Entry, Transaction
    from notifyd.store.sql import Database

T = TypeVar("T")

START_MS = 1_700_000_000_000
WATCH = WatchSpec(item_id="a", rule=TargetPrice(price_in_cents=100))


class CalmStore:
    """A real database in the calling task, so that time stands still meanwhile."""

    def __init__(self, database: Database, epoch: str) -> None:
        self.epoch = epoch
        self.failed = trio.Event()
        self.database = database

    async def read(self, work: Callable[[Transaction], T]) -> T:
        await trio.lowlevel.checkpoint()
        return self.database.read(work, Call(now_ms()))

    async def write(self, work: Callable[[Transaction], T]) -> T:
        await trio.lowlevel.checkpoint()
        return self.database.write(work, Call(now_ms()))


def now_ms() -> int:
    return START_MS + round(trio.current_time() * 1000)


class World:
    """A log, a checker and the job that ends deals, in virtual time."""

    def __init__(self, store: Any, inbox: Inbox) -> None:
        self.store = store
        self.inbox = inbox
        self.checker = Checker(store, inbox, now_ms, 3600.0)
        self.began_ms = now_ms()
        self.withdrawn: list[tuple[float, str, int]] = []  # seconds, user, how many

    def note(self, entries: Sequence[Entry], withdrawn: frozenset[str]) -> None:
        for entry in entries:
            if entry.type == "notification-updated":
                told = msgspec.json.decode(entry.data, type=NotificationUpdated)
                if told.state == "withdrawn":
                    assert isinstance(told.notification_ids, list)
                    assert withdrawn >= set(told.notification_ids)
                    after_s = (now_ms() - self.began_ms) / 1000
                    self.withdrawn.append((after_s, str(entry.user_id), len(told.notification_ids)))

    async def deal(self, *ends_s: float | None) -> None:
        """A run with a deal in as many stores; each ends so many seconds after the beginning."""
        ends = [None if end is None else self.began_ms + round(end * 1000) for end in ends_s]
        rows = [Row("a", store, "USD", now_ms(), 90, end) for store, end in enumerate(ends)]
        batch = _batch(rows, now_ms())
        await self.store.write(lambda tx: add_batch(tx, batch))
        while await self.checker.check_next():
            pass

    async def states(self, user_id: str = "ann") -> list[str]:
        listing = await self.inbox.list(user_id, since=None, before=None, limit=50, state=None)
        return [item.state for item in listing.items]


@asynccontextmanager
async def open_world(url: str, watchers: Sequence[str] = ("ann",)) -> AsyncIterator[World]:
    with open_database(url, busy_s=1) as database:
        store = CalmStore(database, prepare(database, 1))
        async with open_inbox(
            store,
            clock=now_ms,
            on_commit=lambda entries, withdrawn: None,
            retention_ms=30 * 86_400_000,
            max_rows_per_user=1000,
        ) as inbox:
            world = World(store, inbox)
            inbox.on_commit = world.note
            for user_id in watchers:
                await world.checker.set_watch(user_id, "w", WATCH)
            yield world


@pytest.fixture
async def world(database_url: str, autojump_clock: MockClock) -> AsyncIterator[World]:
    async with open_world(database_url, ("ann", "bob")) as world:
        yield world


async def test_it_is_withdrawn_when_its_last_deal_ends(
    world: World, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    nursery.start_soon(world.checker.endings.run)
    await trio.testing.wait_all_tasks_blocked()
    await world.deal(10, 100.5)
    await trio.sleep(99)
    assert await world.states() == ["unread"]
    assert world.withdrawn == []
    await trio.sleep(2)
    assert await world.states() == []
    assert sorted(world.withdrawn) == [(100.5, "ann", 1), (100.5, "bob", 1)]


async def test_a_deal_without_an_end_keeps_it(
    world: World, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    nursery.start_soon(world.checker.endings.run)
    await world.deal(10, None)
    await trio.sleep(3600)
    assert await world.states() == ["unread"]
    assert world.withdrawn == []


@pytest.mark.parametrize("state", ["seen", "read", "archived"])
@pytest.mark.parametrize("by_cursor", [False, True])
async def test_what_was_read_stays(
    autojump_clock: MockClock, world: World, nursery: trio.Nursery, state: Any, by_cursor: bool
) -> None:
    nursery.start_soon(world.checker.endings.run)
    await world.deal(10)
    listing = await world.inbox.list("ann", since=None, before=None, limit=1, state=None)
    (item,) = listing.items
    if by_cursor:
        await world.inbox.mark("ann", state, up_to=item.entry.seq)
    else:
        await world.inbox.mark("ann", state, notification_ids=[str(item.entry.notification_id)])
    await trio.sleep(11)
    assert await world.states() == ([] if state == "seen" else [state])
    assert sorted(user_id for _, user_id, _ in world.withdrawn) == (
        ["ann", "bob"] if state == "seen" else ["bob"]
    )


async def test_what_ended_while_nothing_ran_is_withdrawn_at_the_start(
    database_url: str, autojump_clock: MockClock
) -> None:
    async with open_world(database_url) as world:
        await world.deal(10)
        await world.deal(20)
    await trio.sleep(60)
    async with open_world(database_url, ()) as world, trio.open_nursery() as nursery:
        assert await world.states() == ["unread"]  # the second price was no news
        nursery.start_soon(world.checker.endings.run)
        await trio.sleep(1)
        assert await world.states() == []
        assert world.withdrawn == [(0.0, "ann", 1)]
        nursery.cancel_scope.cancel()


async def test_a_deal_that_has_ended_before_it_could_be_told_is_not_told(
    world: World, autojump_clock: MockClock
) -> None:
    await world.deal(-1, 0)
    assert await world.states() == []
    await world.deal(-1, 5)
    assert await world.states() == []  # silent since the deal that nobody heard of


async def test_many_ends_at_once_and_ends_that_are_too_far(autojump_clock: MockClock, world: World) -> None:
    notes = [(f"unknown {number}", now_ms() - 1) for number in range(2 * endings.BATCH + 1)]
    await world.store.write(lambda tx: endings.add(tx, notes))
    await world.deal(LATEST_END_MS / 1000 + 1)
    await world.checker.endings.withdraw()
    assert await world.store.read(endings.next_end) is None
    assert await world.states() == ["unread"]
