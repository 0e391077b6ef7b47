"""F19: random histories of the whole server in virtual time, and the proof that they find what is wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.chaos.sabotage import SABOTAGES
from tests.simulation.machine import Driver, Notifyd

COMMAND = (sys.executable, "-m", "tests.simulation")
#: Sabotages (tests/chaos/sabotage.py) that random histories must find, and what they say then.
CAUGHT_AS = {
    "live-before-caught-up": "was not shown|after 120 s",
    "forget-keys": "became|was stored twice",
    "repeat-the-cursor": "'recovered': True",
    "skip-after-the-cursor": "was not shown|after 120 s",
    "page-is-always-complete": "was not shown|after 120 s",
    "trust-any-cursor": "'recovered': True",
}
#: Others that they find too (`python -m tests.simulation --sabotage NAME`), which takes longer.
ALSO_CAUGHT = {"show-everybody-everything", "wake-nobody", "head-is-max-seq", "reuse-after-cut-send"}
#: What cannot be found here: the first two answer from a worker thread, the third needs a disk that fails,
#: the last deals.
NOT_HERE = {
    "acknowledge-before-commit",
    "show-before-commit",
    "go-on-after-failed-commit",
    "checker-cursor-first",
}


@pytest.fixture(autouse=True)
def _quiet() -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())


Notifyd.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestNotifyd = Notifyd.TestCase


def test_each_step_does_what_it_says() -> None:
    """Without luck: what a step is for has happened."""
    driver = Driver(7)
    do, world = driver.do, driver.world
    do("publish", to="ann", lifetime_s=60.0)
    do("publish", to=None)
    do("mark", tab=1, state="read", wanted=2)
    assert [row.ranks.get("ann") for row in world.model.rows[:2]] == [2, 2]
    do("withdraw", back=0)
    do("repeat", back=1)
    do("overflow", tab=0, count=12)
    do("wait", seconds=2.0)
    assert world.sim.service.connections.statistics().catching_up == 1
    do("wake", tab=0)
    do("trim")
    assert world.model.floor("ann") > 0
    do("leave", tab=2)
    do("connect", tab=1, transport="sse", where="beginning")
    assert world.seats[1].tab.gaps == 2
    do("ack", tab=1)
    do("wait", seconds=2.0)  # until it is written
    do("kill", point="after", count=1, of="run_group", steps=[("publish", {"to": "bob"})])
    assert "v14" not in world.receipts, "its publisher was never told"
    assert "v14" in world.model.stored, "it was committed"
    do("kill", point="inside", count=2, of="run_group", steps=[("publish", {"to": "bob"})])
    assert "v15" not in world.model.stored, "its transaction did not come to its end"
    do("repeat", back=0)
    do("repeat", back=1)
    assert world.receipts.keys() >= {"v14", "v15"}
    do("weather", latency_s=0.3, cut_chance=0.6)
    do(
        "at_once",
        steps=[("publish", {"to": None}), ("connect", {"tab": 2, "transport": "sse", "where": "on"})],
    )
    do("restart")
    do("wait", seconds=100.0)
    do("settle")
    assert world.kills == 2
    assert world.shown > 20
    driver.close()


@pytest.mark.parametrize("sabotage", sorted(CAUGHT_AS))
def test_a_sabotage_is_found(sabotage: str) -> None:
    """In a process of its own, for a sabotage stays."""
    run = subprocess.run(
        [*COMMAND, "--n", "3000", "--seed", "1", "--no-shrink", "--sabotage", sabotage],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert "DIVERGENCE" in run.stdout
    assert re.search(CAUGHT_AS[sabotage], run.stdout), run.stdout


def test_every_sabotage_is_accounted_for() -> None:
    assert CAUGHT_AS.keys() | ALSO_CAUGHT | NOT_HERE == SABOTAGES.keys()


def test_the_command_counts_its_steps() -> None:
    run = subprocess.run(
        [*COMMAND, "--n", "60", "--seed", "3"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.startswith("seed 3\n")
    assert "0 divergences" in run.stdout
