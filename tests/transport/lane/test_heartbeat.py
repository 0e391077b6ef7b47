"""The wheel, and what a ping proves."""

from __future__ import annotations

import math
import weakref
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from wsproto.events import Ping

from notifyd.config import load_config
from notifyd.transport.heartbeat import STUCK_S, TICK_S, Probe, Wheel
from notifyd.transport.outbox import Outbox

if TYPE_CHECKING:
    from trio.testing import MockClock

    from tests.transport.lane.conftest import World

# --- the probe ------------------------------------------------------------------------------------------


def test_the_time_for_an_answer_begins_when_the_ping_has_left() -> None:
    probe = Probe(100.0, accepted=1000)
    assert not probe.has_left(101.0, 1000, unacknowledged=500)
    assert not probe.has_left(110.0, 1000, unacknowledged=100)
    assert not probe.is_lost(119.0, 8)
    assert probe.has_left(120.0, 5000, unacknowledged=4000)
    assert not probe.is_lost(127.9, 8)
    assert probe.is_lost(128.0, 8)


def test_a_queue_that_stands_still_is_a_dead_peer_however_much_is_added_to_it() -> None:
    probe = Probe(100.0, accepted=1000)
    for second in range(1, 12):
        added = 200 * second
        assert not probe.has_left(100.0 + second, 1000 + added, unacknowledged=500 + added)
        assert not probe.is_lost(100.0 + second, 8)
    assert probe.is_lost(101.0 + STUCK_S, 8)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=50))
def test_a_queue_that_moves_within_twelve_seconds_is_never_dead(steps: list[int]) -> None:
    total = sum(steps) + 1
    probe, confirmed, now = Probe(0.0, total), 0, 0.0
    for step in steps:
        now += STUCK_S - 0.1
        assert not probe.is_lost(now, 8)
        confirmed += step
        probe.has_left(now, total, total - confirmed)


# --- the wheel ------------------------------------------------------------------------------------------


class Timer:
    """Ticks `times` more times, every `every` seconds."""

    def __init__(self, every: float = math.inf, fault: Exception | None = None) -> None:
        self.due = math.inf
        self.every = every
        self.fault = fault
        self.ticks: list[tuple[float, float]] = []
        self.faults: list[Exception] = []

    def tick(self, now: float, now_ms: int, resumed_at: float) -> float | None:
        self.ticks.append((now, resumed_at))
        if self.fault is not None:
            raise self.fault
        return now + self.every if self.every < math.inf else None

    def fail(self, error: Exception) -> None:
        self.faults.append(error)


@pytest.fixture
def wheel() -> Wheel:
    return Wheel(lambda: 0, load_config())


async def test_ticks_come_at_most_a_quarter_second_late(
    autojump_clock: MockClock, wheel: Wheel, nursery: trio.Nursery
) -> None:
    start = trio.current_time()
    timers = [Timer() for _ in range(1200)]
    for number, timer in enumerate(timers):
        wheel.schedule(timer, start + number / 100)
    nursery.start_soon(wheel.run)
    await trio.sleep(15)
    for number, timer in enumerate(timers):
        ((at, _),) = timer.ticks
        assert 0 <= at - start - number / 100 <= 2 * TICK_S


async def test_an_earlier_moment_wins_and_the_later_one_is_forgotten(
    autojump_clock: MockClock, wheel: Wheel, nursery: trio.Nursery
) -> None:
    nursery.start_soon(wheel.run)
    start, timer = trio.current_time(), Timer()
    wheel.schedule(timer, start + 10)
    wheel.schedule(timer, start + 2)
    wheel.schedule(timer, start + 5)
    await trio.sleep(20)
    assert [at - start for at, _ in timer.ticks] == [2.0]
    assert not wheel._slots


async def test_what_is_forgotten_is_let_go_of(
    autojump_clock: MockClock, wheel: Wheel, nursery: trio.Nursery
) -> None:
    """An ended connection would otherwise be kept until its next beat."""
    nursery.start_soon(wheel.run)
    timer: Timer | None = Timer()
    assert timer is not None
    wheel.schedule(timer, trio.current_time() + 10)
    wheel.schedule(timer, trio.current_time() + 2)
    wheel.forget(timer)
    wheel.forget(timer)
    gone = weakref.ref(timer)
    timer = None
    assert gone() is None
    await trio.sleep(20)
    assert not wheel._slots


async def test_a_timer_goes_on_at_the_moments_it_names(
    autojump_clock: MockClock, wheel: Wheel, nursery: trio.Nursery
) -> None:
    nursery.start_soon(wheel.run)
    start, timer = trio.current_time(), Timer(every=3)
    wheel.schedule(timer, start)
    await trio.sleep(10)
    assert [at - start for at, _ in timer.ticks] == [0.25, 3.25, 6.25, 9.25]


async def test_a_tick_that_raises_stops_no_other(
    autojump_clock: MockClock, wheel: Wheel, nursery: trio.Nursery
) -> None:
    nursery.start_soon(wheel.run)
    broken, sound = Timer(fault=RuntimeError("boom")), Timer(every=1)
    for timer in (broken, sound):
        wheel.schedule(timer, trio.current_time() + 1)
    await trio.sleep(5)
    assert [str(fault) for fault in broken.faults] == ["boom"]
    assert len(sound.ticks) >= 3


async def test_a_wheel_that_is_run_again_goes_on_where_it_was(
    autojump_clock: MockClock, wheel: Wheel
) -> None:
    start, timer = trio.current_time(), Timer()
    wheel.schedule(timer, start + 4)
    for _ in range(3):
        with trio.move_on_after(2):
            await wheel.run()
    assert [at - start for at, _ in timer.ticks] == [4.25]  # it was stopped the moment before


async def test_a_pause_of_the_process_is_noticed(
    autojump_clock: MockClock, wheel: Wheel, nursery: trio.Nursery
) -> None:
    nursery.start_soon(wheel.run)
    timer = Timer(every=1)
    wheel.schedule(timer, trio.current_time())
    await trio.sleep(5)
    assert wheel.resumed_at == 0
    autojump_clock.jump(60)
    resumed = trio.current_time()
    await trio.sleep(1)
    assert wheel.resumed_at == resumed
    assert timer.ticks[-1][1] == resumed


# --- over real sockets --------------------------------------------------------------------------------


async def test_a_peer_that_answers_is_kept_for_ever(autojump_clock: MockClock, world: World) -> None:
    client = await world.websocket()
    await client.message()
    start, pings = trio.current_time(), []
    while trio.current_time() < start + 600:
        assert (await client.message(pings=True))["type"] == "ping"
        pings.append(trio.current_time())
    gaps = [later - earlier for earlier, later in pairwise(pings)]
    assert all(29.7 <= gap <= 30.5 for gap in gaps)
    assert pings[0] - start <= 30.5


async def test_any_byte_shows_that_a_peer_lives(autojump_clock: MockClock, world: World) -> None:
    client = await world.websocket()
    client.answers = False
    start = trio.current_time()
    while trio.current_time() < start + 300:
        await client.say("ack", up_to="e1-0")
        with trio.move_on_after(5):
            await client.rest()
    assert len(world.lane.connections) == 1


async def test_a_peer_that_reads_and_never_answers_gets_4012_within_45_seconds(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.websocket()
    client.answers = False
    start = trio.current_time()
    event = await client.event()
    while not isinstance(event, Ping):
        event = await client.event()
    pinged = trio.current_time()
    assert await client.closed() == 4012
    assert 7.5 <= trio.current_time() - pinged <= 10.5
    assert trio.current_time() - start <= 45


async def test_a_peer_that_reads_nothing_is_gone_within_45_seconds(
    autojump_clock: MockClock, world: World
) -> None:
    """What it does not read stays in the socket's queue, like the bytes of a peer that has vanished."""
    await world.websocket()
    start = trio.current_time()
    await trio.sleep(15)
    assert len(world.lane.connections) == 1
    await world.empty()
    assert trio.current_time() - start <= 45


async def test_after_a_pause_everybody_is_asked_again_before_anybody_is_cut(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.websocket()
    client.answers = False
    while not isinstance(await client.event(), Ping):
        pass
    autojump_clock.jump(120)
    resumed = trio.current_time()
    while not isinstance(await client.event(), Ping):
        pass
    assert trio.current_time() - resumed <= 1.5
    assert await client.closed() == 4012
    assert trio.current_time() - resumed >= 8


async def test_a_pause_takes_nobodys_time_for_the_first_frame(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.websocket(None)
    await trio.sleep(3)
    autojump_clock.jump(60)
    await trio.sleep(4)
    await client.say("auth", token=world.token())
    assert (await client.message())["type"] == "connection-established"


async def test_a_pause_does_not_reset_a_reader_that_was_slow_before(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.sse(send_buffer=4096)
    await client.message()
    cursors = world.publish(count=100, size=1000)
    await trio.sleep(10)
    autojump_clock.jump(60)
    await trio.sleep(10)
    assert [(await client.message())["id"] for _ in cursors] == cursors


async def test_pings_that_come_often_do_not_hide_a_peer_that_is_gone(
    autojump_clock: MockClock, open_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next ping is due before the one on its way has been waited for."""
    monkeypatch.setattr(Outbox, "unacknowledged", lambda self: self.accepted)
    async with open_world(heartbeat_seconds=4.0, pong_seconds=2.0) as world:
        client = await world.websocket()
        client.answers = False
        start = trio.current_time()
        assert await client.closed() == 4012
        assert trio.current_time() - start <= 4 + STUCK_S + 2
