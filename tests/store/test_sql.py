"""The store with its real threads, so in real time; what waits for long has a short deadline here."""

from __future__ import annotations

import sqlite3
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from sqlalchemy import event, insert, select, text
from sqlalchemy.exc import DBAPIError

from notifyd.clock import wall_ms
from notifyd.errors import (
    CommitFailed,
    ConfigError,
    DiskFull,
    OutcomeUnknown,
    StatementFailed,
    Unavailable,
)
from notifyd.store.schema import users
from notifyd.store.sql import Call, Database, SqlTransaction, open_database, open_store, prepare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from notifyd.store.base import Transaction

ENDLESS = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")


def add(tx: Transaction, name: str = "a") -> None:
    tx.execute(insert(users), {"user_id": name})


def names(tx: Transaction) -> list[str]:
    return list(tx.execute(select(users.c.user_id).order_by(users.c.user_id)).scalars())


@contextmanager
def file_of(url: str) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


# --- opening ----------------------------------------------------------------------------------------


async def test_what_is_written_is_there_when_the_database_is_opened_again(database_url: str) -> None:
    async with open_store(database_url, clock=wall_ms) as store:
        epoch = store.epoch
        await store.write(add)
    async with open_store(database_url, clock=wall_ms) as store:
        assert store.epoch == epoch
        assert await store.read(names) == ["a"]


async def test_every_database_draws_its_own_epoch(new_database: Any, tmp_path: Any) -> None:
    epochs = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with new_database(tmp_path / name) as url:
            async with open_store(url, clock=wall_ms) as store:
                epochs.add(store.epoch)
    assert len(epochs) == 2


async def test_a_second_server_on_the_database_is_refused(database_url: str) -> None:
    async with open_store(database_url, clock=wall_ms):
        with pytest.raises(ConfigError, match="one server"):
            async with open_store(database_url, clock=wall_ms, deadline_s=0.5):
                raise AssertionError


async def test_a_file_that_is_no_database_is_a_config_error(sqlite_url: str, tmp_path: Any) -> None:
    (tmp_path / "log.db").write_bytes(b"x" * 5000)
    with pytest.raises(ConfigError, match="file is not a database"):
        async with open_store(sqlite_url, clock=wall_ms):
            raise AssertionError


async def test_a_file_that_cannot_be_opened_is_a_config_error(sqlite_url: str, tmp_path: Any) -> None:
    (tmp_path / "log.db").mkdir()
    with pytest.raises(ConfigError, match="unable to open"):
        async with open_store(sqlite_url, clock=wall_ms):
            raise AssertionError


async def test_an_existing_database_is_opened_without_alembic(database_url: str) -> None:
    async with open_store(database_url, clock=wall_ms):
        pass
    program = f"""
import sys, trio
from notifyd.store.sql import open_store
async def main():
    async with open_store({database_url!r}, clock=lambda: 0):
        print("alembic" in sys.modules)
trio.run(main)
"""
    done = await trio.run_process([sys.executable, "-c", program], capture_stdout=True)
    assert done.stdout.splitlines()[-1] == b"False"


# --- writing and its errors -------------------------------------------------------------------------


async def test_what_the_work_raises_undoes_the_work(database_url: str) -> None:
    def work(tx: Transaction) -> None:
        add(tx)
        raise KeyError("mine")

    async with open_store(database_url, clock=wall_ms) as store:
        with pytest.raises(KeyError):
            await store.write(work)
        assert await store.read(names) == []


async def test_a_refused_statement_undoes_the_work_and_says_that_it_is_at_fault(database_url: str) -> None:
    def work(tx: Transaction) -> None:
        add(tx)
        add(tx)

    async with open_store(database_url, clock=wall_ms) as store:
        with pytest.raises(StatementFailed, match=r"(?i)unique"):
            await store.write(work)
        assert await store.read(names) == []
        await store.write(add)


async def test_a_reader_cannot_write(database_url: str) -> None:
    async with open_store(database_url, clock=wall_ms) as store:
        with pytest.raises(Unavailable):
            await store.read(add)
        assert await store.read(names) == []


async def test_a_full_disk_refuses_what_does_not_fit_and_goes_on(sqlite_url: str) -> None:
    def fill(tx: Transaction) -> None:
        for number in range(100):
            add(tx, f"{number:05}" * 1000)

    def limit(tx: Transaction) -> None:
        pages = tx.execute(text("PRAGMA page_count")).scalar_one()
        tx.execute(text(f"PRAGMA max_page_count = {pages + 3}"))

    async with open_store(sqlite_url, clock=wall_ms) as store:
        await store.write(limit)
        with pytest.raises(DiskFull):
            await store.write(fill)
        assert await store.read(names) == []
        await store.write(add)
        assert await store.read(names) == ["a"]


async def test_another_programs_lock_means_unavailable_and_nothing_written(sqlite_url: str) -> None:
    async with open_store(sqlite_url, clock=wall_ms, deadline_s=0.2) as store:
        with file_of(sqlite_url) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match="locked") as caught:
                await store.write(add)
            assert not isinstance(caught.value, StatementFailed)
        assert await store.read(names) == []
        await store.write(add)


async def test_a_commit_that_fails_is_the_last_thing_written(sqlite_url: str) -> None:
    def dangling(tx: Transaction) -> None:
        tx.execute(text("CREATE TABLE a (id INTEGER PRIMARY KEY)"))
        tx.execute(text("CREATE TABLE b (id INTEGER REFERENCES a DEFERRABLE INITIALLY DEFERRED)"))
        tx.execute(text("INSERT INTO b VALUES (1)"))

    async with open_store(sqlite_url, clock=wall_ms) as store:
        assert not store.failed.is_set()
        with pytest.raises(CommitFailed, match="FOREIGN KEY"):
            await store.write(dangling)
        with trio.fail_after(5):
            await store.failed.wait()
        with pytest.raises(CommitFailed, match="FOREIGN KEY"):
            await store.write(add)
        assert await store.read(names) == []


@contextmanager
def commits_failing(url: str, code: int) -> Iterator[Database]:
    """A database whose next COMMIT fails with a code of SQLite's."""
    with open_database(url, busy_s=1) as database:
        prepare(database, 1)
        failures = [code]

        def fail(_connection: object) -> None:
            if failures:
                error = sqlite3.OperationalError("made up")
                error.sqlite_errorcode = failures.pop()
                raise DBAPIError("COMMIT", None, error)

        event.listen(database.writer_engine, "commit", fail)
        yield database


@pytest.mark.parametrize(
    ("code", "error"), [(sqlite3.SQLITE_FULL, DiskFull), (sqlite3.SQLITE_INTERRUPT, Unavailable)]
)
def test_a_commit_without_room_or_interrupted_has_written_nothing(
    sqlite_url: str, code: int, error: type[Exception]
) -> None:
    with commits_failing(sqlite_url, code) as database:
        with pytest.raises(error):
            database.write(add, Call(1))
        assert database.read(names, Call(1)) == []
        database.write(add, Call(1))
        assert database.read(names, Call(1)) == ["a"]


def test_a_commit_whose_sync_fails_is_not_tried_again(sqlite_url: str) -> None:
    with commits_failing(sqlite_url, sqlite3.SQLITE_IOERR_FSYNC) as database:
        for _ in range(2):
            with pytest.raises(CommitFailed):
                database.write(add, Call(1))


# --- deadlines and cancellation ---------------------------------------------------------------------


async def test_a_write_that_takes_too_long_is_interrupted(database_url: str) -> None:
    """Its outcome is not known, but for a database that ends the statement itself just before."""
    async with open_store(database_url, clock=wall_ms, deadline_s=0.2) as store:
        with pytest.raises((OutcomeUnknown, Unavailable)):
            await store.write(lambda tx: tx.execute(ENDLESS).scalar())
        await store.write(add)
        assert await store.read(names) == ["a"]


async def test_a_read_that_takes_too_long_is_interrupted(database_url: str) -> None:
    async with open_store(database_url, clock=wall_ms, deadline_s=0.2) as store:
        with pytest.raises(Unavailable, match=r"not answered in|statement timeout"):
            await store.read(lambda tx: tx.execute(ENDLESS).scalar())
        assert await store.read(names) == []


async def test_the_deadline_counts_from_the_threads_start(database_url: str) -> None:
    release = threading.Event()

    def slow(tx: Transaction) -> None:
        release.wait(20)

    async with open_store(database_url, clock=wall_ms, deadline_s=0.3) as store:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outlive, store, slow)
            await trio.testing.wait_all_tasks_blocked(0.02)
            nursery.start_soon(store.write, add)  # waits for the writer's place, longer than a deadline
            await trio.sleep(0.5)
            release.set()
        assert await store.read(names) == ["a"]


async def outlive(store: Any, work: Any) -> None:
    with pytest.raises(OutcomeUnknown):
        await store.write(work)


async def test_a_caller_that_goes_away_does_not_stop_its_write(database_url: str) -> None:
    begun, release = threading.Event(), threading.Event()

    def work(tx: Transaction) -> None:
        begun.set()
        release.wait(20)
        add(tx)

    async with open_store(database_url, clock=wall_ms) as store:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.write, work)
            await trio.to_thread.run_sync(begun.wait)
            nursery.cancel_scope.cancel()
        release.set()
        await store.write(lambda _tx: None)  # comes after it
        assert await store.read(names) == ["a"]


async def test_leaving_waits_for_a_write_under_way(database_url: str) -> None:
    begun, release = threading.Event(), threading.Event()

    def work(tx: Transaction) -> None:
        begun.set()
        release.wait(0.2)
        add(tx)

    async with open_store(database_url, clock=wall_ms) as store, trio.open_nursery() as nursery:
        nursery.start_soon(store.write, work)
        await trio.to_thread.run_sync(begun.wait)
        nursery.cancel_scope.cancel()
    async with open_store(database_url, clock=wall_ms) as store:
        assert await store.read(names) == ["a"]


async def test_leaving_does_not_wait_for_ever(database_url: str) -> None:
    release, closed = threading.Event(), threading.Event()

    def work(tx: Transaction) -> None:
        assert isinstance(tx, SqlTransaction)
        event.listen(tx.connection.engine, "close", lambda *_: closed.set())
        release.wait(20)

    async with open_store(database_url, clock=wall_ms, deadline_s=0.1) as store:
        await outlive(store, work)
    assert not closed.is_set()
    release.set()
    assert await trio.to_thread.run_sync(closed.wait, 20)  # by the thread that still used it


async def test_eight_readers_read_at_once(database_url: str) -> None:
    together = threading.Barrier(8, timeout=20)
    async with (
        open_store(database_url, clock=wall_ms, deadline_s=30) as store,
        trio.open_nursery() as nursery,
    ):
        for _ in range(16):
            nursery.start_soon(store.read, lambda _tx: together.wait())


async def test_a_read_is_one_snapshot(database_url: str) -> None:
    between, go_on = threading.Event(), threading.Event()

    def twice(tx: Transaction) -> None:
        seen.append(names(tx))
        between.set()
        go_on.wait(20)
        seen.append(names(tx))

    seen: list[list[str]] = []
    async with open_store(database_url, clock=wall_ms) as store, trio.open_nursery() as nursery:
        nursery.start_soon(store.read, twice)
        await trio.to_thread.run_sync(between.wait)
        await store.write(add)
        go_on.set()
    assert seen == [[], []]


async def test_a_transaction_knows_when_it_was_asked_for(database_url: str) -> None:
    async with open_store(database_url, clock=lambda: 1234) as store:
        assert await store.read(lambda tx: tx.now_ms) == 1234
        assert await store.write(lambda tx: tx.now_ms) == 1234


# --- many rows --------------------------------------------------------------------------------------


def test_rows_go_in_by_many_and_what_is_there_already_is_the_callers_choice(database: Database) -> None:
    def work(tx: Transaction) -> None:
        tx.insert_rows(users, ("user_id", "floor"), [(f"u{i}", i) for i in range(700)])
        again = "ON CONFLICT (user_id) DO UPDATE SET floor = excluded.floor"
        tx.insert_rows(users, ("user_id", "floor"), [("u1", 9000), ("new", 1)], again)
        tx.insert_rows(users, ("user_id", "floor"), [])

    database.write(work, Call(1))
    found = database.read(
        lambda tx: {row[0]: row[1] for row in tx.execute(select(users.c.user_id, users.c.floor))}, Call(1)
    )
    assert found == {f"u{i}": i for i in range(700)} | {"u1": 9000, "new": 1}
