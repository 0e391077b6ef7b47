"""The short tier: what every commit passes, and the proof that it would notice."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.chaos import faults  # noqa: F401  (registers them)
from tests.chaos.cluster import open_cluster
from tests.chaos.gauntlet import gauntlet
from tests.chaos.run import FAULTS, Run
from tests.chaos.sabotage import SABOTAGES

if TYPE_CHECKING:
    from pathlib import Path

#: By which classes of failure each sabotage shows; one of them must.
CAUGHT_AS = {
    "acknowledge-before-commit": {"lost"},
    "show-before-commit": {"unexpected", "reordered", "duplicated"},
    "live-before-caught-up": {"lost"},
    "head-is-max-seq": {"lost", "reordered", "unexpected", "duplicated"},
    "reuse-after-cut-send": {"garbled", "lost"},
    "forget-keys": {"duplicated"},
    "repeat-the-cursor": {"duplicated", "unexpected", "reordered"},
    "skip-after-the-cursor": {"lost"},
    "page-is-always-complete": {"lost"},
    "show-everybody-everything": {"foreign", "lost"},
    "wake-nobody": {"lost"},
}
#: Sabotages that the server may notice itself, and end; what its log says then.
ENDS_THE_SERVER = {"head-is-max-seq": re.compile(r"the log ends at \d+, where \d+ was committed")}
#: Sabotages that need a fault of their own, how often, and what it says of them.
CAUGHT_BY = [
    ("trust-any-cursor", "restore", 1, "was not told of the gap"),
    ("go-on-after-failed-commit", "eio", 1, "went on after a failed fsync"),
    ("checker-cursor-first", "checker-once", 1, "missed"),
]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run("gauntlet", 1, 1, tmp_path, quiet=True)


async def test_the_gauntlet_is_passed(run: Run) -> None:
    await gauntlet(run)
    assert run.failures == []
    assert run.total("delivered") > 300
    assert run.total("resumes") > 5


@pytest.mark.postgres
@pytest.mark.usefixtures("postgres")  # only to be left out where it does not start
async def test_the_gauntlet_is_passed_on_postgresql_which_is_killed_too(run: Run) -> None:
    async with open_cluster() as run.cluster:
        await gauntlet(run)
        assert run.failures == []
        assert run.total("delivered") > 300
        run.name, run.n, run.trials = "database-killed", 2, 0
        await FAULTS["database-killed"].run(run)
    assert run.failures == []
    assert run.trials == 2


@pytest.mark.parametrize("sabotage", sorted(CAUGHT_AS))
async def test_the_gauntlet_catches(run: Run, sabotage: str) -> None:
    run.sabotage = sabotage
    try:
        await gauntlet(run)
    except* httpx2.TransportError:
        if sabotage not in ENDS_THE_SERVER:
            raise
    noticed = sabotage in ENDS_THE_SERVER and ENDS_THE_SERVER[sabotage].search(_logs(run))
    assert noticed or any(run.failed(kind) for kind in CAUGHT_AS[sabotage]), run.failures


def _logs(run: Run) -> str:
    """All that the servers of a failed run said."""
    return "".join(log.read_text(errors="replace") for log in run.folder.glob("*/server-*.log"))


@pytest.mark.parametrize(("sabotage", "fault", "n", "told"), CAUGHT_BY)
async def test_a_fault_catches(run: Run, sabotage: str, fault: str, n: int, told: str) -> None:
    """What only one fault can show. Told by name, so that it is not caught for another reason."""
    if FAULTS[fault].missing():
        pytest.skip(f"this machine has no {FAULTS[fault].missing()[0]}")
    run.name, run.sabotage, run.n, run.patience_s = fault, sabotage, n, 3
    await FAULTS[fault].run(run)
    assert any(told in text for text in run.failures), run.failures


def test_every_sabotage_is_tried() -> None:
    assert CAUGHT_AS.keys() | {name for name, *_ in CAUGHT_BY} == SABOTAGES.keys()
