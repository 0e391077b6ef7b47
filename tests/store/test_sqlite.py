from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from notifyd.errors import ConfigError
from notifyd.store.dialect import Fault
from notifyd.store.sqlite import check_version, database_file, fault_of, lock_file, open_engine


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("nonsense", "parse"),
        ("postgresql://localhost/x", "does not name a file"),
        ("sqlite://", "does not name a file"),
        ("sqlite:///:memory:", "does not name a file"),
        ("sqlite:////no/such/folder/x.db", "there is no folder /no/such/folder"),
    ],
)
def test_a_url_that_cannot_be_used_is_a_config_error(url: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        database_file(url)


def test_a_relative_file_is_in_the_working_folder() -> None:
    assert str(database_file("sqlite:///notifyd.db")) == "notifyd.db"


def test_the_lock_is_refused_while_it_is_held_and_free_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    taken = pytest.raises(ConfigError, match=r"another server \(process \d+\) is using")
    with lock_file(path), taken, lock_file(path):
        raise AssertionError
    with lock_file(path):
        pass


def test_a_folder_that_cannot_be_written_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "x.db.lock").mkdir()
    with pytest.raises(ConfigError, match="cannot open"), lock_file(tmp_path / "x.db"):
        raise AssertionError


def test_connections_sync_every_commit_and_wait_for_locks(tmp_path: Path) -> None:
    for writer in (True, False):
        engine = open_engine(tmp_path / "x.db", busy_s=4.5, writer=writer)
        with engine.connect() as connection:
            found = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "query_only")
            }
        assert found == {
            "journal_mode": "wal",
            "synchronous": 2,
            "foreign_keys": 1,
            "busy_timeout": 4500,
            "query_only": int(not writer),
        }


def test_a_file_system_without_wal_is_a_config_error() -> None:
    engine = open_engine(Path(":memory:"), busy_s=1, writer=True)
    with pytest.raises(ConfigError, match="journal_mode"):
        engine.connect()


def test_an_old_library_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"SQLite 3\.34\.1 is too old: 3\.35\.0"):
        check_version((3, 34, 1))


def test_a_library_with_the_checkpoint_race_is_mentioned_once() -> None:
    with capture_logs() as logs:
        check_version((3, 40, 1))
        check_version((3, 51, 3))
    assert [(line["log_level"], line["sqlite"], line["fixed_in"]) for line in logs] == [
        ("info", "3.40.1", "3.51.3")
    ]


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (sqlite3.SQLITE_FULL, Fault.FULL),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, Fault.BUSY),
        (sqlite3.SQLITE_IOERR_FSYNC, Fault.BROKEN),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, Fault.STATEMENT),
        (None, Fault.STATEMENT),
    ],
)
def test_extended_codes_mean_what_their_primary_code_means(code: int | None, fault: Fault) -> None:
    original = sqlite3.OperationalError("x")
    if code is not None:
        original.sqlite_errorcode = code
    assert fault_of(DBAPIError("statement", None, original)) is fault
