"""Clocks, on Trio's virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from notifyd.clock import steady_clock

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_a_steady_clock_goes_on_from_where_it_was_set(autojump_clock: MockClock) -> None:
    steady = steady_clock(1_000)
    assert steady() == 1_000
    await trio.sleep(86_400)
    assert steady() == 86_401_000
