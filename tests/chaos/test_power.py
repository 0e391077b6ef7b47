"""Power cuts: what a disk may hold, and that a disk which lies about its syncs would be found."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING

import pytest
import trio

from tests.chaos.faults.power import record, try_images
from tests.chaos.power.images import SECTOR, Disk
from tests.chaos.power.recording import Step
from tests.chaos.run import Run

if TYPE_CHECKING:
    from pathlib import Path

FILE = "/disk/a"
IMAGES = 200


def step(what: str, offset: int = 0, data: bytes = b"", path: str = FILE) -> Step:
    return Step(what, path, offset, data, 0)


def images(disk: Disk) -> set[bytes | None]:
    """All contents of the file that chance gives; None: it is not there."""
    rng = random.Random(1)
    return {disk.image(rng).get(FILE) for _ in range(IMAGES)}


def taken(*steps: Step, before: bytes = b"old", syncs: bool = True) -> Disk:
    disk = Disk({FILE: before}, syncs=syncs)
    for each in steps:
        disk.take(each)
    return disk


def test_what_is_synced_is_there_and_what_is_not_may_be() -> None:
    disk = taken(step("w", 0, b"new"), step("b"), step("s"), step("w", 0, b"NEW"))
    assert images(disk) == {b"new", b"NEW"}


def test_a_sync_keeps_only_what_came_before_it_began() -> None:
    assert images(taken(step("b"), step("w", 0, b"new"), step("s"))) == {b"old", b"new"}


def test_a_later_write_may_be_there_without_an_earlier_one() -> None:
    disk = taken(step("w", 0, b"A"), step("w", 1, b"B"))
    assert images(disk) == {b"old", b"Ald", b"oBd", b"ABd"}


def test_a_write_is_torn_at_sectors_and_nowhere_else() -> None:
    disk = taken(step("w", 0, b"x" * 2 * SECTOR), before=b"o" * 2 * SECTOR)
    half = {b"o" * SECTOR + b"x" * SECTOR, b"x" * SECTOR + b"o" * SECTOR}
    assert images(disk) == half | {b"o" * 2 * SECTOR, b"x" * 2 * SECTOR}


def test_a_cut_of_the_file_waits_for_its_sync_too() -> None:
    assert images(taken(step("t", 1))) == {b"old", b"o"}
    assert images(taken(step("t", 1), step("b"), step("s"))) == {b"o"}


def test_a_name_is_kept_or_gone_once_the_folder_is_synced() -> None:
    folder = (step("b", path="/disk"), step("s", path="/disk"))
    assert images(taken(step("u"))) == {b"old", None}
    assert images(taken(step("u"), *folder)) == {None}
    made = Disk({"/disk/other": b""})
    for each in (step("w", 0, b"new"), step("b"), step("s")):
        made.take(each)
    assert images(made) == {b"new", None}
    for each in folder:
        made.take(each)
    assert images(made) == {b"new"}


@pytest.mark.skipif(shutil.which("gcc") is None, reason="this machine has no gcc")
async def test_a_server_keeps_what_it_acknowledged_unless_the_disk_lies(tmp_path: Path) -> None:
    run = Run("power-cut", 60, 1, tmp_path, quiet=True)
    recorded = await record(run)
    assert len(recorded.promises) > 100
    await trio.to_thread.run_sync(try_images, run, recorded)
    assert run.failures == []
    lying = Run("lying", 60, 1, tmp_path / "lying", quiet=True)
    await trio.to_thread.run_sync(lambda: try_images(lying, recorded, syncs=False))
    assert any("are lost" in text for text in lying.failures)
