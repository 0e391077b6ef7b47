"""How soon it is there: listening on an existing database, and `notifyd --help`."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from bench.report import Row, at_most
from bench.resume import announcement, publish
from bench.server import new_place, notifyd, pin_load

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.server import Place

ENTRIES = 10_000
BATCH = 1000
ROUNDS = 5
QUICK_ROUNDS = 3
GOAL_LISTENING_S = 2.0
GOAL_HELP_S = 0.4


def run(*, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Rounds of both in turn; medians."""
    pin_load()
    listening: list[float] = []
    helping: list[float] = []
    rounds = QUICK_ROUNDS if quick else ROUNDS
    with new_place() as place:
        _fill(place)
        for number in range(1, rounds + 1):
            listening.append(_listening(place))
            helping.append(_help())
            say(f"round {number} of {rounds}: listening {listening[-1]:.2f} s, --help {helping[-1]:.2f} s")
    listens = f"listening on a database with {ENTRIES:,} notifications"
    return [
        at_most(listens, GOAL_LISTENING_S, statistics.median(listening), "s", listening),
        at_most("notifyd --help", GOAL_HELP_S, statistics.median(helping), "s", helping),
    ]


def _fill(place: Place) -> None:
    with notifyd(place) as server:
        for _ in range(ENTRIES // BATCH):
            publish(server, [announcement()] * BATCH)


def _listening(place: Place) -> float:
    begun = time.perf_counter()
    with notifyd(place):
        return time.perf_counter() - begun


def _help() -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "notifyd", "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun
