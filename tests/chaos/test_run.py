"""What a run says of itself: over how many trials its bound is, and on which code it ran."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.chaos import faults  # noqa: F401  (registers them)
from tests.chaos.run import FAULTS, Run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "figures", "failures", "bound"),
    [
        ("kill", {}, [], 3 / 60),
        ("cancel", {"reached": 30}, [], 3 / 30),
        ("cancel", {"reached": 3}, [], None),
        ("cancel", {"reached": 0}, [], None),
        ("kill", {}, ["lost"], None),
        ("soak", {}, [], None),
    ],
)
def test_the_bound_is_over_the_trials_that_reached_their_fault(
    tmp_path: Path, name: str, figures: dict[str, int], failures: list[str], bound: float | None
) -> None:
    run = Run(name, 60, 1, tmp_path, trials=60, figures=dict(figures), failures=failures)
    assert run.row(FAULTS[name])["bound"] == bound


def test_results_name_the_code(tmp_path: Path) -> None:
    commit = Run("kill", 1, 1, tmp_path).row(FAULTS["kill"])["commit"]
    assert re.fullmatch(r"([0-9a-f]{7,}\+?)?", commit)
