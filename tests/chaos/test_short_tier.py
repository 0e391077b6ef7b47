"""The short tier: what every commit passes, and the proof that it would notice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.gauntlet import gauntlet
from tests.chaos.run import Run
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
    "trust-any-cursor": set(),
    "wake-nobody": {"lost"},
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run("gauntlet", 1, 1, tmp_path, quiet=True)


async def test_the_gauntlet_is_passed(run: Run) -> None:
    await gauntlet(run)
    assert run.failures == []
    assert run.total("delivered") > 300
    assert run.total("resumes") > 5


@pytest.mark.parametrize("sabotage", [name for name in CAUGHT_AS if CAUGHT_AS[name]])
async def test_the_gauntlet_catches(run: Run, sabotage: str) -> None:
    await gauntlet(run, sabotage)
    caught = {kind for kind in CAUGHT_AS[sabotage] if run.failed(kind)}
    assert caught, run.failures
    assert sabotage in SABOTAGES
