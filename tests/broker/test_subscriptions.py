from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from notifyd.broker.memory import Broker
from notifyd.broker.subscriptions import Subscription, open_subscription
from notifyd.broker.window import Window
from notifyd.store.base import Entry, LogPage

if TYPE_CHECKING:
    from collections.abc import Callable


class Log:
    """All entries ever, and how often they were asked for."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.pages = 0

    async def read_page(self, user_id: str, after: int) -> LogPage:
        self.pages += 1
        await trio.lowlevel.checkpoint()
        rest = [e for e in self.entries if e.seq > after and e.user_id in (None, user_id)]
        return LogPage(rest[:5], self.entries[-1].seq, len(rest) <= 5)


class Harness:
    def __init__(self, entry: Callable[..., Entry], max_entries: int) -> None:
        self.log = Log()
        self.broker = Broker(Window("e", 0, max_entries=max_entries), lambda: 0)
        self._entry = entry

    def publish(self, *users: str | None) -> None:
        entries = [self._entry(len(self.log.entries) + n, user) for n, user in enumerate(users, start=1)]
        self.log.entries += entries
        self.broker.publish(entries)

    def entry_in_log_only(self, user: str) -> Entry:
        entry = self._entry(len(self.log.entries) + 1, user)
        self.log.entries.append(entry)
        return entry


@pytest.fixture
def harness(entry: Callable[..., Entry]) -> Harness:
    return Harness(entry, max_entries=8)


async def take(subscription: Subscription, count: int) -> list[str]:
    with trio.fail_after(5):
        return [str((await subscription.receive()).id) for _ in range(count)]


async def test_messages_come_in_order_each_once(harness: Harness, nursery: trio.Nursery) -> None:
    nursery.start_soon(harness.broker.run_dispatcher)
    async with open_subscription(
        harness.broker, "ann", position=0, read_page=harness.log.read_page
    ) as subscription:
        harness.publish("ann", None, "bob")
        assert await take(subscription, 2) == ["e-1", "e-2"]
        harness.publish("ann")
        assert await take(subscription, 1) == ["e-4"]
        assert harness.log.pages == 0


async def test_a_waiting_reader_is_woken(harness: Harness, nursery: trio.Nursery) -> None:
    nursery.start_soon(harness.broker.run_dispatcher)
    async with open_subscription(
        harness.broker, "ann", position=0, read_page=harness.log.read_page
    ) as subscription:
        got: list[str] = []

        async def read() -> None:
            got.extend(await take(subscription, 1))

        async with trio.open_nursery() as inner:
            inner.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            harness.publish("ann")
        assert got == ["e-1"]


async def test_a_slow_reader_holds_nobody_up_and_misses_nothing(
    harness: Harness, nursery: trio.Nursery
) -> None:
    nursery.start_soon(harness.broker.run_dispatcher)
    async with open_subscription(
        harness.broker, "ann", position=0, read_page=harness.log.read_page, capacity=2
    ) as subscription:
        for _ in range(40):
            harness.publish("ann")
            await trio.testing.wait_all_tasks_blocked()
        assert harness.broker.settled == 40
        assert await take(subscription, 40) == [f"e-{n}" for n in range(1, 41)]
        assert harness.log.pages > 0
        harness.publish("ann")
        assert await take(subscription, 1) == ["e-41"]


async def test_a_reader_that_waits_while_a_huge_batch_passes_the_window(
    harness: Harness, nursery: trio.Nursery
) -> None:
    async with open_subscription(
        harness.broker, "ann", position=0, read_page=harness.log.read_page
    ) as subscription:
        got: list[str] = []

        async def read() -> None:
            got.extend(await take(subscription, 20))

        async with trio.open_nursery() as inner:
            inner.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            harness.publish(*["ann"] * 20)
            inner.start_soon(harness.broker.settle)
        assert got == [f"e-{n}" for n in range(1, 21)]


async def test_a_reader_that_retention_has_passed_is_told(harness: Harness) -> None:
    async def trimmed(user_id: str, after: int) -> LogPage:
        return LogPage([], 20, complete=True, trimmed=True)

    async with open_subscription(harness.broker, "ann", position=0, read_page=trimmed) as subscription:
        harness.publish(*["ann"] * 20)
        with pytest.raises(trio.BrokenResourceError):
            await subscription.receive()


async def test_a_cancelled_receive_has_taken_nothing(harness: Harness) -> None:
    async with open_subscription(
        harness.broker, "ann", position=0, read_page=harness.log.read_page
    ) as subscription:
        harness.publish("ann")
        with trio.CancelScope() as scope:
            scope.cancel()
            await subscription.receive()
        assert scope.cancelled_caught
        assert await take(subscription, 1) == ["e-1"]


async def test_after_leaving_it_is_closed_and_forgotten(harness: Harness) -> None:
    async with open_subscription(
        harness.broker, "ann", position=0, read_page=harness.log.read_page
    ) as subscription:
        assert harness.broker.live(["ann"]) == 1
        await subscription.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await subscription.receive()
    assert harness.broker.live(["ann"]) == 0


async def test_a_page_that_is_ahead_of_the_window_is_not_repeated(
    harness: Harness, nursery: trio.Nursery
) -> None:
    """The log has a commit as soon as it is durable, the window when the loop comes to it."""
    harness.publish(*["bob"] * 20)  # more than the window holds
    late = harness.entry_in_log_only("ann")
    nursery.start_soon(harness.broker.run_dispatcher)
    async with open_subscription(
        harness.broker, "ann", position=0, read_page=harness.log.read_page
    ) as subscription:
        assert await take(subscription, 1) == ["e-21"]
        async with trio.open_nursery() as waiting:
            more: list[str] = []

            async def wait() -> None:
                more.extend(await take(subscription, 1))

            waiting.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            harness.broker.publish([late])
            await trio.testing.wait_all_tasks_blocked()
            harness.publish("ann")
        assert more == ["e-22"]
