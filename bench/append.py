"""Publishing in process: `Inbox.append` by 64 tasks, against one commit each.

Both sync every commit to the disk; the 64 share theirs.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from typing import TYPE_CHECKING

import trio

from bench.report import Row, against, at_least, figure
from notifyd.clock import wall_ms
from notifyd.inbox import Publication, open_inbox
from notifyd.messages import custom
from notifyd.store.sql import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifyd.inbox import Inbox

TASKS = 64
GOAL = 10.0
DAY_MS = 86_400_000


def run(*, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Rounds of both in turn; medians."""
    rounds, seconds = (3, 1.5) if quick else (5, 5.0)
    alone: list[float] = []
    together: list[float] = []
    for number in range(1, rounds + 1):
        alone.append(trio.run(_rate, 1, seconds))
        together.append(trio.run(_rate, TASKS, seconds))
        say(f"round {number} of {rounds}: one task {alone[-1]:,.0f}/s, {TASKS} tasks {together[-1]:,.0f}/s")
    told = against(statistics.median(together), statistics.median(alone), "/s")
    ratios = [many / single for single, many in zip(alone, together, strict=True)]
    return [
        figure(f"Inbox.append by {TASKS} tasks, fsync on", statistics.median(together), "/s", together),
        figure("the same by one task, a commit each", statistics.median(alone), "/s", alone),
        at_least(
            f"{TASKS} tasks against one commit each",
            GOAL,
            statistics.median(ratios),
            rounds=ratios,
            told=told,
        ),
    ]


async def _rate(tasks: int, seconds: float) -> float:
    with tempfile.TemporaryDirectory() as folder:
        async with (
            open_store(f"sqlite:///{folder}/bench.db", clock=wall_ms) as store,
            open_inbox(store, clock=wall_ms, retention_ms=30 * DAY_MS, max_rows_per_user=10_000) as inbox,
        ):
            begun = time.perf_counter()
            until = begun + seconds
            async with trio.open_nursery() as nursery:
                for number in range(tasks):
                    nursery.start_soon(_append, inbox, f"user-{number}", until)
            return inbox.head / (time.perf_counter() - begun)


async def _append(inbox: Inbox, user_id: str, until: float) -> None:
    draft = custom("x-bench", {"text": "x" * 90})
    publication = Publication(draft=draft, user_ids=(user_id,), publisher="bench")
    while time.perf_counter() < until:
        await inbox.append(publication)
