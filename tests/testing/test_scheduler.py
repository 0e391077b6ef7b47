"""Trio's scheduler in a seed's hand, by names of Trio that are not public."""

from __future__ import annotations

import random

import pytest
import trio
from trio._core import _run

from notifyd.testing import scheduler
from notifyd.testing.scheduler import seeded_scheduler


def order_of_tasks(seed: int) -> list[int]:
    """In which order tasks ran that could all run at once, several times."""
    ran: list[int] = []

    async def task(number: int) -> None:
        for _ in range(3):
            ran.append(number)
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(task, number)

    with seeded_scheduler(seed):
        trio.run(main)
    return ran


def test_trio_still_has_the_names() -> None:
    assert isinstance(_run._r, random.Random), "the generator by which Trio's scheduler shuffles is elsewhere"
    assert isinstance(_run._ALLOW_DETERMINISTIC_SCHEDULING, bool), "the switch to sorted batches is elsewhere"


def test_the_same_seed_gives_the_same_order_and_others_others() -> None:
    assert order_of_tasks(7) == order_of_tasks(7)
    assert len({tuple(order_of_tasks(seed)) for seed in range(5)}) > 1


def test_everything_is_as_before_afterwards() -> None:
    before = _run._r.getstate(), _run._ALLOW_DETERMINISTIC_SCHEDULING
    order_of_tasks(1)
    assert before == (_run._r.getstate(), _run._ALLOW_DETERMINISTIC_SCHEDULING)


def test_another_trio_is_told_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "_GENERATOR", "_gone")
    with pytest.raises(RuntimeError, match="has no _gone: its scheduler cannot be seeded"):
        order_of_tasks(1)
