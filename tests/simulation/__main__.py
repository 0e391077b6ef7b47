"""`python -m tests.simulation`: what `make simulate N=… SEED=…` runs."""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import time
import traceback
from typing import TYPE_CHECKING

import structlog
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation.machine import Notifyd

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Steps of one history, and histories between two lines on the screen.
STEPS = 50
BATCH = 40


def main(argv: Sequence[str] | None = None) -> int:
    """Take steps until there have been N; 1 when one of them broke a promise."""
    options = _parser().parse_args(argv)
    if options.sabotage:
        from tests.chaos.sabotage import SABOTAGES

        SABOTAGES[options.sabotage]()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    first = random.randrange(10**6) if options.seed is None else options.seed
    print(f"seed {first}", flush=True)
    began = time.monotonic()
    number = first
    phases = [Phase.generate] if options.no_shrink else [Phase.generate, Phase.shrink]
    while Notifyd.steps < options.n:
        try:
            left = -(-(options.n - Notifyd.steps) // STEPS)
            _search(number, min(BATCH, left), phases)
        except Exception as fault:
            traceback.print_exception(fault, limit=-4)
            where = f"DIVERGENCE with seed {number} after {Notifyd.steps:,} steps"
            print(f"{where}: {type(fault).__name__}: {fault}")
            return 1
        number += 1
        print(_told(began), flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description="Random histories of a whole server in virtual time, each step compared with a model. "
        "A run prints its seed first; with the same seed and N it does the same again. A history that breaks "
        "a promise is made as short as possible and printed.",
    )
    parser.add_argument("--n", type=int, default=20_000, help="how many steps [default: 20000]")
    parser.add_argument("--seed", type=int, help="of every choice [default: a new one]")
    parser.add_argument("--no-shrink", action="store_true", help="do not look for a shorter history")
    parser.add_argument("--sabotage", help="what is wrong with the server (tests/chaos/sabotage.py)")
    return parser


def _search(number: int, examples: int, phases: Sequence[Phase]) -> None:
    run_state_machine_as_test(
        seed(number)(Notifyd),
        settings=settings(
            max_examples=max(examples, 1),
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        ),
    )


def _told(began: float) -> str:
    counts = f"{Notifyd.steps:,} steps, {Notifyd.examples:,} histories, {Notifyd.kills:,} kills"
    return f"{counts}, {Notifyd.deliveries:,} deliveries, 0 divergences, {time.monotonic() - began:.0f} s"


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets of texts is a random choice too
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    sys.exit(main())
