from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from notifyd.vitals.loop_lag import EVERY_S, MEMORY_S, MOMENT_S, LoopLag

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_a_punctual_loop_has_no_lag(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    lag = LoopLag()
    nursery.start_soon(lag.run)
    await trio.sleep(10 * EVERY_S + EVERY_S / 2)
    assert lag.seconds.total == 10
    assert lag.longest(trio.current_time()) == pytest.approx(0, abs=1e-9)
    nursery.cancel_scope.cancel()


async def test_a_stall_is_seen(nursery: trio.Nursery, mock_clock: MockClock) -> None:
    lag = LoopLag()
    nursery.start_soon(lag.run)
    await trio.testing.wait_all_tasks_blocked()
    mock_clock.jump(EVERY_S + 0.75)  # nobody ran meanwhile
    await trio.testing.wait_all_tasks_blocked()
    assert lag.longest(trio.current_time()) == pytest.approx(0.75)
    nursery.cancel_scope.cancel()


def test_the_longest_is_remembered_for_a_minute_or_two() -> None:
    lag = LoopLag()
    lag.note(1000.5, 1000.0)
    lag.note(1001.0, 1001.0)
    assert lag.longest(1000.5 + MEMORY_S - 1) == 0.5
    lag.note(1000.5 + MEMORY_S + 0.25, 1000.5 + MEMORY_S)
    assert lag.longest(1000.5 + 1.5 * MEMORY_S) == 0.5
    assert lag.longest(1000.5 + 2.5 * MEMORY_S) == 0.25
    assert lag.longest(1000.5 + 5 * MEMORY_S) == 0.0
    lag.note(2000.0, 2000.0)
    assert lag.longest(2000.0) == 0.0


def test_the_lag_of_this_moment_is_soon_forgotten() -> None:
    lag = LoopLag()
    lag.note(1000.5, 1000.0)
    assert lag.longest_now(1000.5 + MOMENT_S / 2) == 0.5
    assert lag.longest_now(1000.5 + 2 * MOMENT_S) == 0.0
    assert lag.longest(1000.5 + 2 * MOMENT_S) == 0.5
