"""backup, restore-epoch and doctor, as people type them."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
import trio
from sqlalchemy import NullPool, create_engine

from notifyd.cli import main
from notifyd.clock import wall_ms
from notifyd.inbox import Publication, open_inbox
from notifyd.messages import custom
from notifyd.store.care import copy, examine
from notifyd.store.sql import open_store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("NOTIFYD_")]:
        monkeypatch.delenv(name)


async def _publish(url: str, count: int) -> None:
    async with (
        open_store(url, clock=wall_ms) as store,
        open_inbox(store, clock=wall_ms, retention_ms=10**9, max_rows_per_user=100) as inbox,
    ):
        for number in range(count):
            await inbox.append(Publication(custom("x-n", {"n": number}), ("ann",), "p"))


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A file with three notifications."""
    url = f"sqlite:///{tmp_path}/n.db"
    trio.run(_publish, url, 3)
    return url


@pytest.fixture
def any_url(database_url: str) -> str:
    """A database of each kind with three notifications."""
    trio.run(_publish, database_url, 3)
    return database_url


def _harm(url: str, statement: str) -> None:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


def test_a_copy_is_a_whole_database(url: str, tmp_path: Path, capsys: Any) -> None:
    code, out, _ = _run(capsys, "backup", str(tmp_path / "copy.db"), "--database-url", url)
    assert code == 0
    assert "restore-epoch" in out
    assert examine(f"sqlite:///{tmp_path}/copy.db").facts["entries"] == "3"
    assert sorted(path.name for path in tmp_path.glob("copy.db*")) == ["copy.db"]


def test_a_copy_does_not_replace_a_file(url: str, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "copy.db").write_text("mine")
    code, _, err = _run(capsys, "backup", str(tmp_path / "copy.db"), "--database-url", url)
    assert code == 2
    assert "exists" in err
    assert (tmp_path / "copy.db").read_text() == "mine"


@pytest.mark.parametrize("command", [["backup", "copy.db"], ["restore-epoch"], ["doctor"]])
def test_a_database_that_is_not_there_is_not_made(command: list[str], capsys: Any, tmp_path: Path) -> None:
    code, _, err = _run(capsys, *command, "--database-url", "sqlite:///none.db")
    assert code == 2
    assert "there is no database none.db" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.postgres
def test_postgresql_is_copied_by_its_own_program(postgres: Any, capsys: Any, tmp_path: Path) -> None:
    with postgres.database() as url:
        code, _, err = _run(capsys, "backup", "copy.db", "--database-url", url)
    assert code == 2
    assert "pg_dump" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.postgres
def test_an_empty_database_gets_no_epoch(postgres: Any, capsys: Any) -> None:
    with postgres.database("template1") as url:
        code, _, err = _run(capsys, "restore-epoch", "--database-url", url)
        assert code == 2
        assert "not a database of notifyd" in err
        assert examine(url).problems == ["this is not a database of notifyd"]


def test_a_server_that_cannot_be_reached_is_told(capsys: Any) -> None:
    code, _, err = _run(capsys, "doctor", "--database-url", "postgresql:///x?host=/nowhere")
    assert code == 2
    assert "database_url" in err


async def test_a_copy_is_one_moment_whatever_is_written_meanwhile(url: str, tmp_path: Path) -> None:
    """A writer commits between any two steps of the copy."""
    path = url.removeprefix("sqlite:///")
    with sqlite3.connect(path, isolation_level=None) as writing:
        writing.execute("CREATE TABLE more (text)")
        writing.executemany("INSERT INTO more VALUES (?)", [("x" * 4000,)] * 6000)
        steps: list[float] = []

        def on_progress(done: float) -> None:
            steps.append(done)
            writing.execute("UPDATE meta SET head = head + 1")

        size = copy(url, tmp_path / "copy.db", on_progress)
    writing.close()
    assert len(steps) > 1
    assert size > 20_000_000
    assert examine(f"sqlite:///{tmp_path}/copy.db").facts["head"] == "3"
    assert examine(url).facts["head"] == str(3 + len(steps))


def test_what_cannot_be_copied_leaves_nothing(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "n.db").write_text("no database at all")
    code, _, err = _run(capsys, "backup", "copy.db", "--database-url", "sqlite:///n.db")
    assert code == 2
    assert "cannot copy" in err
    assert [path.name for path in tmp_path.iterdir()] == ["n.db"]


def test_a_new_epoch_is_told_and_nothing_else_changes(any_url: str, capsys: Any) -> None:
    before = examine(any_url).facts
    code, out, _ = _run(capsys, "restore-epoch", "--database-url", any_url)
    after = examine(any_url).facts
    assert code == 0
    assert before["epoch"] in out
    assert after["epoch"] in out
    assert before | {"epoch": after["epoch"]} == after
    assert before["epoch"] != after["epoch"]


async def test_the_epoch_is_not_changed_under_a_server(database_url: str, capsys: Any) -> None:
    async with open_store(database_url, clock=wall_ms):
        command = ("restore-epoch", "--database-url", database_url)
        code, _, err = await trio.to_thread.run_sync(_run, capsys, *command)
    assert code == 2
    assert "another server" in err


def test_a_sound_database_has_no_problems(any_url: str, capsys: Any) -> None:
    code, out, _ = _run(capsys, "doctor", "--database-url", any_url)
    assert code == 0
    assert "head: 3" in out
    assert "problem:" not in out
    assert out.endswith("no problems\n")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("UPDATE meta SET head = 1", "2 entries lie above the head"),
        ("UPDATE meta SET broadcast_floor = 9", "floor lies above the head"),
        ("INSERT INTO users (user_id, floor) VALUES ('bob', 9)", "1 users have a floor above the head"),
        (
            "INSERT INTO users (user_id, ack_seq) VALUES ('bob', 9)",
            "restored without `notifyd restore-epoch`",
        ),
        ("UPDATE meta SET checker_cursor = 9", "the checker is ahead of the prices"),
        ("UPDATE alembic_version SET version_num = '0000'", "run `notifyd migrate`"),
        ("DROP TABLE meta", "not a database of notifyd"),
    ],
)
def test_what_is_wrong_is_told(any_url: str, capsys: Any, damage: str, told: str) -> None:
    _harm(any_url, damage)
    code, out, _ = _run(capsys, "doctor", "--database-url", any_url)
    assert code == 1
    assert told in out


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("INSERT INTO watch_words VALUES (7, 'juice')", "1 rows of watch_words belong to no watch"),
        ("INSERT INTO connection_marks VALUES ('c', 1, 1, 1)", "1 marks belong to no connection"),
    ],
)
def test_rows_that_belong_to_nothing_are_told(url: str, capsys: Any, damage: str, told: str) -> None:
    """PostgreSQL refuses them itself; SQLite checks no references for who does not ask for it."""
    _harm(url, damage)
    code, out, _ = _run(capsys, "doctor", "--database-url", url)
    assert code == 1
    assert told in out


def test_a_damaged_file_is_told(url: str, capsys: Any) -> None:
    """A page of an index is lost: what SQLite itself would not notice before it is read."""
    path = url.removeprefix("sqlite:///")
    with sqlite3.connect(path, isolation_level=None) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_master WHERE name = 'ix_notifications_user_id_seq'")
    connection.close()
    code, out, _ = _run(capsys, "doctor", "--database-url", url)
    assert code == 1
    assert "the file is damaged" in out


def test_settings_that_weaken_a_promise_are_notes(any_url: str, capsys: Any) -> None:
    weak = ["--drain-seconds", "0", "--canary-seconds", "0", "--retention-days", "0.5"]
    weak += ["--max-rows-per-user", "5", "--heartbeat-seconds", "120"]
    code, out, _ = _run(capsys, "doctor", "--database-url", any_url, *weak)
    assert code == 0
    for name in (
        "drain_seconds",
        "canary_seconds",
        "retention_days",
        "max_rows_per_user",
        "heartbeat_seconds",
    ):
        assert f"note: {name} is" in out
