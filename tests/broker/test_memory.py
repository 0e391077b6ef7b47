from __future__ import annotations

from typing import TYPE_CHECKING

import trio
import trio.testing

from notifyd.broker.memory import SLICE, Broker
from notifyd.broker.window import JOIN_BYTES, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from notifyd.broker.window import Framer
    from notifyd.store.base import Entry


def frame(cursor: str, message: bytes) -> bytes:
    return cursor.encode().ljust(len(message)) + b","


class Recorder:
    """A listener that only notes what it was visited for, or was offered."""

    framer: Framer | None = staticmethod(frame)

    def __init__(self, broker: Broker, user_id: str) -> None:
        self.user_id = user_id
        self.position = broker.window.head
        self.seen: list[int] = []
        self.visits = 0
        self._broker = broker

    def visit(self) -> None:
        self.visits += 1
        position = max(self.position, self._broker.settled)
        self.seen += [slot.entry.seq for slot in self._broker.window.after(self.user_id, position)]
        self.position = self._broker.window.head

    @staticmethod
    def offer(listeners: Sequence[Recorder], data: bytes, after: int, up_to: int) -> None:
        for listener in listeners:
            if listener.position > after:
                listener.visit()
                continue
            listener.visits += 1
            listener.seen += [int(name.strip().partition("-")[2]) for name in data.decode().split(",")[:-1]]
            listener.position = up_to


class Plain(Recorder):
    """One without a wire, which is only visited."""

    framer = None

    @staticmethod
    def offer(listeners: Sequence[Recorder], data: bytes, after: int, up_to: int) -> None:
        raise AssertionError("offered bytes")


def make_broker(now_ms: int = 0) -> Broker:
    return Broker(Window("e", 0), lambda: now_ms)


async def test_a_commit_reaches_whom_it_concerns_and_nobody_else(
    nursery: trio.Nursery, entry: Callable[..., Entry]
) -> None:
    broker = make_broker()
    ann, bob = Recorder(broker, "ann"), Recorder(broker, "bob")
    broker.attach(ann)
    broker.attach(bob)
    nursery.start_soon(broker.run_dispatcher)
    broker.publish([entry(1, "ann")])
    await trio.testing.wait_all_tasks_blocked()
    assert (ann.seen, bob.seen, bob.visits) == ([1], [], 0)
    broker.publish([entry(2), entry(3, "bob")])
    await trio.testing.wait_all_tasks_blocked()
    assert (ann.seen, bob.seen) == ([1, 2], [2, 3])
    assert broker.settled == 3


async def test_many_commits_before_a_look_are_one_visit(
    nursery: trio.Nursery, entry: Callable[..., Entry]
) -> None:
    broker = make_broker()
    ann = Recorder(broker, "ann")
    broker.attach(ann)
    for seq in range(1, 6):
        broker.publish([entry(seq)])
    nursery.start_soon(broker.run_dispatcher)
    await trio.testing.wait_all_tasks_blocked()
    assert (ann.visits, ann.seen) == (1, [1, 2, 3, 4, 5])


async def test_everyone_gets_the_same_in_one_look(entry: Callable[..., Entry]) -> None:
    broker = make_broker()
    listeners = [Recorder(broker, "ann"), Plain(broker, "bob"), Recorder(broker, "eve")]
    for listener in listeners:
        broker.attach(listener)
    broker.publish([entry(1), entry(2, "eve"), entry(3), entry(4, "nobody")])
    await broker.settle()
    assert [listener.seen for listener in listeners] == [[1, 3], [1, 3], [1, 2, 3]]


async def test_what_is_committed_during_a_look_is_not_passed_over(entry: Callable[..., Entry]) -> None:
    broker = make_broker()
    listeners = [Recorder(broker, f"u{n}") for n in range(2 * SLICE)]
    for listener in listeners:
        broker.attach(listener)
    broker.publish([entry(1)])

    async def commit() -> None:
        broker.publish([entry(2, "u0"), entry(3), entry(4, f"u{2 * SLICE - 1}")])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(broker.settle)
        nursery.start_soon(commit)
    assert [listeners[n].seen for n in (0, 1, -1)] == [[1, 2, 3], [1, 3], [1, 3, 4]]


async def test_more_than_one_write_holds_is_left_to_each(entry: Callable[..., Entry]) -> None:
    broker = Broker(Window("e", 0, max_entries=2), lambda: 0)
    few, many = Recorder(broker, "ann"), Recorder(broker, "bob")
    broker.attach(few)
    broker.publish([entry(seq) for seq in (1, 2, 3)])  # the first has left the window already
    await broker.settle()
    assert few.seen == [2, 3], "visited, and told what the window holds"
    broker.attach(many)
    broker.publish([entry(4, size=JOIN_BYTES), entry(5)])
    assert broker.window.announced(3, 5, frame) is None
    await broker.settle()
    assert (few.seen, many.seen) == ([2, 3, 4, 5], [4, 5])


async def test_others_run_between_slices(entry: Callable[..., Entry]) -> None:
    broker = make_broker()
    listeners = [Recorder(broker, f"u{n}") for n in range(2 * SLICE + 1)]
    for listener in listeners:
        broker.attach(listener)
    broker.publish([entry(1)])
    progress: list[int] = []

    async def watch() -> None:
        while broker.settled < 1:
            progress.append(sum(listener.visits for listener in listeners))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        nursery.start_soon(broker.settle)
    assert any(0 < visits < len(listeners) for visits in progress)
    assert all(listener.seen == [1] for listener in listeners)


async def test_a_dispatcher_that_died_in_the_middle_repeats_nothing(entry: Callable[..., Entry]) -> None:
    broker = make_broker()
    listeners = [Recorder(broker, f"u{n}") for n in range(3 * SLICE)]
    for listener in listeners:
        broker.attach(listener)
    broker.publish([entry(1)])
    with trio.CancelScope() as scope:
        scope.cancel()
        await broker.settle()
    assert broker.settled == 0
    assert {len(listener.seen) for listener in listeners} == {0, 1}
    await broker.settle()
    assert {tuple(listener.seen) for listener in listeners} == {(1,)}


async def test_joining_and_leaving_between_slices(entry: Callable[..., Entry]) -> None:
    broker = make_broker()
    listeners = [Recorder(broker, "ann") for _ in range(SLICE + 1)]
    for listener in listeners:
        broker.attach(listener)
    broker.publish([entry(1)])

    async def come_and_go() -> None:
        broker.detach(listeners[-1])
        broker.attach(Recorder(broker, "late"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(broker.settle)
        nursery.start_soon(come_and_go)
    assert broker.settled == 1
    assert broker.live(["late"]) == 1


def test_live_counts() -> None:
    broker = make_broker()
    first, second, other = Recorder(broker, "ann"), Recorder(broker, "ann"), Recorder(broker, "bob")
    for listener in (first, second, other):
        broker.attach(listener)
    assert (broker.live(["ann"]), broker.live(["ann", "bob", "eve"]), broker.live(None)) == (2, 3, 3)
    broker.detach(first)
    broker.detach(first)
    assert broker.live(["ann"]) == 1
    broker.detach(second)
    statistics = broker.statistics()
    assert (statistics.listeners, statistics.users) == (1, 1)


async def test_the_way_of_each_commit_is_timed_once_to_its_last_listener(
    nursery: trio.Nursery, entry: Callable[..., Entry], autojump_clock: trio.testing.MockClock
) -> None:
    broker = make_broker()
    broker.publish([entry(1, "ann")])
    broker.publish([entry(2)])
    await trio.sleep(0.25)
    await broker.settle()
    assert broker.commit_to_written.total == 0, "nobody was concerned"
    broker.attach(Recorder(broker, "ann"))
    broker.attach(Recorder(broker, "bob"))
    broker.publish([entry(3, "ann"), entry(4)])
    await trio.sleep(0.25)
    broker.publish([entry(5, "bob")])
    await trio.sleep(0.5)
    await broker.settle()
    await broker.settle()
    assert broker.commit_to_written.total == 2
    assert broker.commit_to_written.sum == 0.75 + 0.5


async def test_what_is_given_out_is_counted(entry: Callable[..., Entry]) -> None:
    broker = make_broker()
    for user_id in ("ann", "ann", "bob"):
        broker.attach(Recorder(broker, user_id))
    broker.publish([entry(1, "ann"), entry(2), entry(3, "eve"), entry(4)])
    await broker.settle()
    assert broker.statistics().delivered == 2 + 3 + 3
    broker.publish([entry(5, "bob")])
    await broker.settle()
    assert broker.statistics().delivered == 9
    broker.replayed(5)
    assert broker.statistics().replayed == 5


async def test_expiry_goes_on_without_commits(
    nursery: trio.Nursery, entry: Callable[..., Entry], autojump_clock: trio.testing.MockClock
) -> None:
    broker = Broker(Window("e", 0), lambda: round(trio.current_time() * 1000))
    now = round(trio.current_time() * 1000)
    nursery.start_soon(broker.run_dispatcher)
    broker.publish([entry(1, expires_ms=now + 5000)])
    await trio.sleep(4.5)
    assert len(broker.window.after("ann", 0)) == 1
    await trio.sleep(2)
    assert len(broker.window.after("ann", 0)) == 0
