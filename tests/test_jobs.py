from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
import structlog
import trio

from notifyd.jobs import open_jobs

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock


def _group() -> BaseException:
    return ExceptionGroup("several", [ValueError("a"), KeyError("b")])


@pytest.mark.parametrize(
    "make_fault",
    [lambda: RuntimeError("x"), _group, lambda: MemoryError(), lambda: trio.BrokenResourceError()],
)
async def test_a_crashed_job_is_back_within_five_seconds_and_says_so_once(
    make_fault: Callable[[], BaseException], autojump_clock: MockClock
) -> None:
    starts: list[float] = []
    ticks: list[float] = []

    async def crashes_once() -> None:
        starts.append(trio.current_time())
        if len(starts) == 1:
            raise make_fault()
        await trio.sleep_forever()

    async def sibling() -> None:
        while True:
            ticks.append(trio.current_time())
            await trio.sleep(1)

    with structlog.testing.capture_logs() as lines:
        async with open_jobs() as jobs:
            jobs.start("crashing", crashes_once)
            jobs.start("sibling", sibling)
            await trio.sleep(10.5)
            assert [job.restarts for job in jobs.statistics()] == [1, 0]
            assert jobs.down(0) == []
    assert len(starts) == 2
    assert starts[1] - starts[0] <= 5
    assert len(ticks) == 11
    assert [(line["event"], line["job"]) for line in lines] == [("job crashed", "crashing")]


async def test_a_job_inside_which_something_was_cancelled_is_restarted(autojump_clock: MockClock) -> None:
    starts: list[float] = []

    async def crash_beside_a_cancelled_task() -> None:
        starts.append(trio.current_time())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.lowlevel.checkpoint()
            raise RuntimeError("its sibling is cancelled now")

    async with open_jobs() as jobs:
        jobs.start("nested", crash_beside_a_cancelled_task)
        await trio.sleep(1)
    assert len(starts) == 2


async def test_a_job_that_keeps_crashing_waits_longer_and_is_reported(autojump_clock: MockClock) -> None:
    starts: list[float] = []
    broken = True

    async def job() -> None:
        starts.append(trio.current_time())
        if broken:
            raise RuntimeError("again")
        await trio.sleep_forever()

    async with open_jobs() as jobs:
        jobs.start("job", job)
        await trio.sleep(15.2)
        assert jobs.down() == ["job"]
        await trio.sleep(400)
        gaps = [round(b - a, 6) for a, b in itertools.pairwise(starts)]
        assert gaps[:8] == [0.5, 1, 2, 4, 8, 16, 32, 60]
        assert set(gaps[8:]) == {60}
        broken = False
        await trio.sleep(66)
        assert jobs.down(0) == []


async def test_a_job_that_returns_has_crashed(autojump_clock: MockClock) -> None:
    runs = 0

    async def job() -> None:
        nonlocal runs
        runs += 1

    async with open_jobs() as jobs:
        jobs.start("job", job)
        await trio.sleep(1)
    assert runs == 2
