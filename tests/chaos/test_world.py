"""The world's last publication: without it no tab is judged up to the end, so it must not fail in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.chaos.run import Load, Run
from tests.chaos.world import open_world

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = Load(users=1, readers=0, publishers=0)


async def test_a_last_publication_that_nobody_stores_is_an_error(tmp_path: Path) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(trio.TooSlowError, match="fence-1 was not stored")):
        async with open_world(tmp_path, 1, load=NOBODY) as world:  # no server runs
            await world.settle(within_s=0.2)


async def test_a_run_fails_by_it(tmp_path: Path) -> None:
    run = Run("none", 1, 1, tmp_path, quiet=True, patience_s=0.2)
    async with run.world(NOBODY) as world:
        await world.settle()
    assert len(run.failures) == 1
    assert "fence-1 was not stored" in run.failures[0]
