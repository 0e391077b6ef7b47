"""F22 upgrade with few kills, and that it would see a row that is gone or changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from notifyd.store.schema import metadata
from notifyd.store.sql import Call, open_database, prepare
from tests.chaos.faults.upgrade import lacks, make_first_revision, read_rows
from tests.chaos.run import FAULTS, Run

if TYPE_CHECKING:
    from pathlib import Path


async def test_an_upgrade_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    run = Run("upgrade", 2, 1, tmp_path, quiet=True)
    await FAULTS["upgrade"].run(run)
    assert run.failures == []
    assert run.figures["reached"] == 2


def test_rows_that_are_gone_or_changed_are_seen(tmp_path: Path) -> None:
    def user(name: str, floor: int = 0) -> dict[str, object]:
        return {"user_id": name, "floor": floor}

    url = f"sqlite:///{tmp_path}/old.db"
    make_first_revision(url, {name: [] for name in metadata.tables} | {"users": [user("ann"), user("bob")]})
    with open_database(url, busy_s=1) as database:
        prepare(database, 1)
    before = read_rows(url)
    assert len(before["users"]) == 2
    assert lacks(before, read_rows(url)) == {}
    with open_database(url, busy_s=1) as database:
        database.write(
            lambda tx: tx.execute(text("UPDATE users SET floor = 1 WHERE user_id = 'ann'")), Call(1)
        )
        database.write(lambda tx: tx.execute(text("DELETE FROM users WHERE user_id = 'bob'")), Call(1))
    assert lacks(before, read_rows(url)) == {"users": 2}
