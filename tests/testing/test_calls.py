"""Database calls without threads: done at once, in virtual time, and deadly where they are told to be."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from sqlalchemy import NullPool, create_engine, text

from notifyd.errors import Unavailable
from notifyd.testing.calls import InlineCalls

if TYPE_CHECKING:
    from pathlib import Path

    from notifyd.testing.calls import Point


@pytest.fixture
def done() -> list[str]:
    return []


@pytest.fixture
def calls(autojump_clock: trio.testing.MockClock) -> InlineCalls:
    return InlineCalls(random.Random(1))


async def test_a_call_gives_its_result_after_virtual_waits(calls: InlineCalls) -> None:
    began = trio.current_time()
    assert await calls(max, 3, 5) == 5
    assert 0 < trio.current_time() - began < 2 * calls.wait_s


async def test_what_a_call_raises_is_raised(calls: InlineCalls) -> None:
    with pytest.raises(ZeroDivisionError):
        await calls(lambda: 1 // 0)


async def test_a_limiter_limits(calls: InlineCalls, done: list[str]) -> None:
    limiter = trio.CapacityLimiter(1)

    async def one(name: str) -> None:
        await calls(done.append, f"{name} ran", limiter=limiter)
        done.append(f"{name} told")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, "a")
        nursery.start_soon(one, "b")
    assert [line[0] for line in done] in (["a", "a", "b", "b"], ["b", "b", "a", "a"])
    assert limiter.borrowed_tokens == 0


async def test_a_cancelled_call_is_done_all_the_same(calls: InlineCalls, done: list[str]) -> None:
    calls.wait_s = 10
    with trio.move_on_after(0.001) as scope:
        await calls(done.append, "x", abandon_on_cancel=True)
    assert scope.cancelled_caught
    assert done == ["x"]


async def test_death_waits_for_a_call_of_its_name(calls: InlineCalls, done: list[str]) -> None:
    def second() -> None:
        done.append("second")

    calls.die("before", of="second")
    await calls(done.append, "first")
    with pytest.raises(Unavailable):
        await calls(second)
    assert done == ["first"]


@pytest.mark.parametrize(("point", "count", "left"), [("before", 2, ["a"]), ("after", 2, ["a", "b"])])
async def test_death_before_and_after_a_call(
    calls: InlineCalls, done: list[str], point: Point, count: int, left: list[str]
) -> None:
    calls.on_death = partial(done.append, "dead")
    calls.die(point, count)
    await calls(done.append, "a")
    for name in ("b", "c"):
        with pytest.raises(Unavailable, match="was killed"):
            await calls(done.append, name)
    assert done == [*left, "dead"]


async def test_death_instead_of_a_statement_rolls_back(
    calls: InlineCalls, done: list[str], tmp_path: Path
) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/x.db", poolclass=NullPool)

    def work() -> None:
        with engine.begin() as connection:
            for number in range(5):
                connection.execute(text("INSERT INTO t VALUES (:x)"), {"x": number})
                done.append(f"{number}")

    calls.on_death = partial(done.append, "dead")
    with calls.watching():
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE t (x)"))
        calls.die("inside", 8)
        await calls(work)
        with pytest.raises(Unavailable):
            await calls(work)
        assert done == ["0", "1", "2", "3", "4", "0", "1", "dead"]
        with engine.connect() as connection:  # not in a call, so nobody dies
            assert connection.execute(text("SELECT count(*) FROM t")).scalar() == 5


async def test_the_dead_do_nothing(calls: InlineCalls, done: list[str]) -> None:
    calls.kill()
    with pytest.raises(Unavailable):
        await calls(done.append, "x")
    assert done == []


async def test_what_is_called_is_told(autojump_clock: trio.testing.MockClock) -> None:
    told: list[str] = []
    calls = InlineCalls(random.Random(1), told.append)

    def run(work: Any, call: object) -> None:
        work()

    def page(user: str) -> None:
        pass

    await calls(run, partial(page, "ann"), None)
    await calls(print)
    assert [name.rpartition(".")[2] for name in told] == ["page", "print"]
