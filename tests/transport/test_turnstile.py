"""The turnstile: open without its job, some in each turn with it, in the order in which they came."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from notifyd.transport import turnstile
from notifyd.transport.turnstile import RELEASED, Turnstile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def used_up(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Turnstile]:
    """One whose share of every turn is over as it begins."""
    monkeypatch.setattr(turnstile, "SHARE_S", -1.0)
    gate = Turnstile()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gate.run)
        await wait_all_tasks_blocked()
        yield gate
        nursery.cancel_scope.cancel()


async def test_without_its_job_everybody_passes() -> None:
    assert not Turnstile().is_full()


async def test_the_first_of_a_turn_pass() -> None:
    gate = Turnstile()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gate.run)
        await wait_all_tasks_blocked()
        await trio.sleep(0.001)
        assert not gate.is_full()
        nursery.cancel_scope.cancel()


async def test_a_share_that_is_used_up_is_full(used_up: Turnstile) -> None:
    await trio.sleep(0.001)
    assert used_up.is_full()


async def test_who_waits_passes_in_order(used_up: Turnstile) -> None:
    passed: list[int] = []

    async def client(number: int) -> None:
        await used_up.wait()
        passed.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(client, number)
            await wait_all_tasks_blocked()
    assert passed == [0, 1, 2, 3, 4]


async def test_many_at_once_take_several_turns(used_up: Turnstile) -> None:
    passed: list[int] = []
    turn = 0

    async def client() -> None:
        await used_up.wait()
        passed.append(turn)

    async with trio.open_nursery() as nursery:
        for _ in range(4 * RELEASED):
            nursery.start_soon(client)
        while len(passed) < 4 * RELEASED:
            turn += 1
            await trio.lowlevel.checkpoint()
    # Trio shuffles the tasks of a turn, so that two turns may be counted as one.
    assert max(passed.count(each) for each in set(passed)) <= 2 * RELEASED
    assert len(set(passed)) >= 2


async def test_who_gives_up_is_not_waited_for(used_up: Turnstile) -> None:
    with trio.move_on_after(0) as scope:
        await used_up.wait()
    assert scope.cancelled_caught
    with trio.fail_after(5):
        await used_up.wait()


async def test_the_end_of_the_job_lets_everybody_go() -> None:
    gate = Turnstile()
    passed = trio.Event()

    async def client() -> None:
        await gate.wait()
        passed.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(client)
        await wait_all_tasks_blocked()
        with trio.move_on_after(0):
            await gate.run()
        with trio.fail_after(5):
            await passed.wait()
    assert not gate.is_full()
