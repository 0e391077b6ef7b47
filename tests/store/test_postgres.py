"""What is PostgreSQL's own: lost connections, its limits, who may write, what its errors mean."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import trio
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError

from notifyd.clock import wall_ms
from notifyd.errors import ConfigError, DiskFull, OutcomeUnknown, StatementFailed, Unavailable, Unprocessable
from notifyd.messages import encode_json
from notifyd.store import log
from notifyd.store.dialect import Fault
from notifyd.store.postgres import LOCK_CLASS, Postgres, fault_of
from notifyd.store.prices import Batch, add_batch, add_names, stage
from notifyd.store.schema import users
from notifyd.store.sql import Call, open_database, open_store, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from notifyd.store.base import Store, Transaction
    from notifyd.store.sql import Database

pytestmark = pytest.mark.postgres


@pytest.fixture
def url(postgres: Any) -> Iterator[str]:
    with postgres.database() as url:
        yield url


@pytest.fixture
def other(url: str) -> Iterator[psycopg.Connection[Any]]:
    """Another program's connection, which commits each statement by itself."""
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with open_database(url, busy_s=1) as database:
        prepare(database, 1)
        yield database


def add(tx: Transaction, name: str = "a") -> None:
    tx.execute(insert(users), {"user_id": name})


def names(tx: Transaction) -> list[str]:
    return list(tx.execute(select(users.c.user_id).order_by(users.c.user_id)).scalars())


def ended(other: psycopg.Connection[Any], role: str) -> int:
    """End the connections of this role, and give their number once they are gone."""
    rows = other.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE application_name LIKE %s AND datname = current_database()",
        (f"notifyd-% {role}",),
    ).fetchall()
    return len(rows)


def setting(name: str) -> Callable[[Transaction], str]:
    return lambda tx: str(tx.execute(text(f"SHOW {name}")).scalar_one())


# --- opening ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://localhost/x?nonsense=1", "nonsense"),
        ("postgresql:///x?host=/no/such/folder", "No such file"),
    ],
)
def test_a_url_that_leads_nowhere_is_a_config_error(url: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told), open_database(url, busy_s=1) as database:
        prepare(database, 1)


def test_a_password_is_in_no_error() -> None:
    url = "postgresql://u:hunter22@/x?host=/no/such/folder"
    with pytest.raises(ConfigError) as caught, open_database(url, busy_s=1) as database:
        prepare(database, 1)
    assert "hunter22" not in str(caught.value)


def test_writers_and_readers_are_set_up(database: Database) -> None:
    wanted = {
        "synchronous_commit": ("on", "on"),
        "statement_timeout": ("1s", "1s"),
        "lock_timeout": ("900ms", "900ms"),
        "transaction_isolation": ("read committed", "repeatable read"),
        "transaction_read_only": ("off", "on"),
        "jit": ("off", "off"),
    }
    for name, (in_writer, in_reader) in wanted.items():
        assert database.write(setting(name), Call(1)) == in_writer
        assert database.read(setting(name), Call(1)) == in_reader


@pytest.mark.parametrize(
    ("given", "used"), [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")]
)
def test_no_commit_is_acknowledged_before_it_is_on_disk(
    url: str, other: psycopg.Connection[Any], given: str, used: str
) -> None:
    name = other.info.dbname
    other.execute(f"ALTER DATABASE {name} SET synchronous_commit = {given}".encode())
    with open_database(url, busy_s=1) as database:
        assert database.write(setting("synchronous_commit"), Call(1)) == used


def test_a_database_of_another_encoding_is_refused(postgres: Any) -> None:
    postgres.admin.execute(
        "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    try:
        refused = pytest.raises(ConfigError, match="LATIN1 where UTF8")
        with refused, open_database(postgres.url_of("latin"), busy_s=1) as database:
            prepare(database, 1)
    finally:
        postgres.admin.execute("DROP DATABASE latin WITH (FORCE)")


def test_a_search_path_without_a_schema_is_refused(url: str) -> None:
    refused = pytest.raises(ConfigError, match="search_path")
    with refused, open_database(f"{url}&options=-csearch_path%3Dnone", busy_s=1) as database:
        prepare(database, 1)


def test_each_schema_can_have_a_server_of_its_own(
    url: str, database: Database, other: psycopg.Connection[Any]
) -> None:
    other.execute("CREATE SCHEMA second")
    with open_database(f"{url}&options=-csearch_path%3Dsecond", busy_s=1) as second:
        prepare(second, 1)
        second.write(add, Call(1))
    assert database.read(names, Call(1)) == []


def test_the_next_server_waits_for_one_that_is_about_to_end(url: str) -> None:
    ending = threading.Event()

    def first() -> None:
        with open_database(url, busy_s=5) as database:
            prepare(database, 1)
            ready.set()
            ending.wait(20)

    ready = threading.Event()
    thread = threading.Thread(target=first)
    thread.start()
    ready.wait(20)
    threading.Timer(0.2, ending.set).start()
    with open_database(url, busy_s=20) as database:
        database.write(add, Call(1))
    thread.join()


# --- errors -----------------------------------------------------------------------------------------


def error_of(code: str | None, *, invalidated: bool = False) -> DBAPIError:
    original = psycopg.OperationalError("made up")
    original.sqlstate = code
    return DBAPIError("statement", None, original, connection_invalidated=invalidated)


@pytest.mark.parametrize(
    ("code", "fault", "at_commit"),
    [
        ("53100", Fault.FULL, DiskFull),
        ("53200", Fault.BUSY, Unavailable),
        ("55P03", Fault.BUSY, Unavailable),
        ("57014", Fault.BUSY, Unavailable),
        ("40001", Fault.BUSY, Unavailable),
        ("57P01", Fault.LOST, OutcomeUnknown),
        ("08006", Fault.LOST, OutcomeUnknown),
        (None, Fault.LOST, OutcomeUnknown),
        ("58030", Fault.BROKEN, Unavailable),
        ("23505", Fault.STATEMENT, StatementFailed),
    ],
)
def test_codes_and_classes_mean_something(code: str | None, fault: Fault, at_commit: type[Exception]) -> None:
    assert fault_of(error_of(code)) is fault
    found = Postgres("postgresql:///x", busy_s=1).commit_error(error_of(code))
    assert type(found) is at_commit


def test_whatever_ends_the_connection_has_lost_it() -> None:
    assert fault_of(error_of("XX000", invalidated=True)) is Fault.LOST


def test_a_text_with_nul_is_refused_and_nothing_else_happens(database: Database) -> None:
    with pytest.raises(Unprocessable, match=r"U\+0000"):
        database.write(lambda tx: add(tx, "a\0b"), Call(1))
    with pytest.raises(Unprocessable, match=r"U\+0000"):
        database.write(lambda tx: tx.insert_rows(users, ("user_id",), [("a\0b",)]), Call(1))
    assert database.read(names, Call(1)) == []


def test_what_the_database_refuses_is_told_without_the_values(database: Database) -> None:
    database.write(lambda tx: add(tx, "somebody"), Call(1))
    with pytest.raises(StatementFailed) as caught:
        database.write(lambda tx: add(tx, "somebody"), Call(1))
    assert "somebody" not in caught.value.detail


def test_an_error_that_the_work_ignores_is_still_one(database: Database) -> None:
    """PostgreSQL would answer the COMMIT by rolling back, and call that a success."""

    def work(tx: Transaction) -> None:
        add(tx)
        with pytest.raises(DBAPIError):
            add(tx)

    with pytest.raises(StatementFailed, match="its error was ignored"):
        database.write(work, Call(1))
    database.write(lambda tx: add(tx, "b"), Call(1))
    assert database.read(names, Call(1)) == ["b"]


def test_what_is_refused_at_commit_is_rolled_back_and_the_next_goes_through(database: Database) -> None:
    def dangling(tx: Transaction) -> None:
        add(tx)
        tx.execute(text("CREATE TABLE a (id INTEGER PRIMARY KEY)"))
        tx.execute(text("CREATE TABLE b (id INTEGER REFERENCES a DEFERRABLE INITIALLY DEFERRED)"))
        tx.execute(text("INSERT INTO b VALUES (1)"))

    with pytest.raises(StatementFailed, match="refused to commit"):
        database.write(dangling, Call(1))
    database.write(lambda tx: add(tx, "b"), Call(1))
    assert database.read(names, Call(1)) == ["b"]


def test_another_programs_lock_means_unavailable_and_nothing_written(url: str, database: Database) -> None:
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE meta IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Unavailable, match="lock timeout") as caught:
            database.write(lambda tx: log.allocate(tx, 1), Call(1))
        assert not isinstance(caught.value, StatementFailed)
    assert database.write(lambda tx: log.allocate(tx, 1), Call(1)) == 1


async def test_many_short_statements_are_interrupted_too(url: str) -> None:
    def dawdle(tx: Transaction) -> None:
        add(tx)
        for _ in range(1000):
            tx.execute(text("SELECT pg_sleep(0.05)"))

    async with open_store(url, clock=wall_ms, deadline_s=0.3) as store:
        with pytest.raises(OutcomeUnknown):
            await store.write(dawdle)
        await written(store)
        assert await store.read(names) == ["b"]


async def written(store: Store) -> None:
    """Write "b" as soon as the database takes it."""
    with trio.fail_after(20):
        while True:
            try:
                await store.write(lambda tx: add(tx, "b"))
            except (Unavailable, OutcomeUnknown):
                await trio.sleep(0.05)
            else:
                return


# --- lost connections -------------------------------------------------------------------------------


def test_connections_that_ended_while_idle_are_noticed_before_they_are_used(
    database: Database, other: psycopg.Connection[Any]
) -> None:
    assert ended(other, "reader") == 8
    assert ended(other, "writer") == 1
    database.write(add, Call(1))
    assert database.read(names, Call(1)) == ["a"]


def test_a_connection_that_is_lost_before_the_commit_has_written_nothing(
    database: Database, other: psycopg.Connection[Any]
) -> None:
    def work(tx: Transaction) -> None:
        add(tx)
        assert ended(other, "writer") == 1
        add(tx, "b")

    with pytest.raises(Unavailable) as caught:
        database.write(work, Call(1))
    assert not isinstance(caught.value, StatementFailed)
    assert database.read(names, Call(1)) == []
    database.write(add, Call(1))
    assert database.read(names, Call(1)) == ["a"]


def test_a_connection_that_is_lost_at_the_commit_leaves_the_outcome_unknown(
    database: Database, other: psycopg.Connection[Any]
) -> None:
    def work(tx: Transaction) -> None:
        add(tx)
        assert ended(other, "writer") == 1

    with pytest.raises(OutcomeUnknown):
        database.write(work, Call(1))
    assert database.read(names, Call(1)) == []
    database.write(add, Call(1))
    assert database.read(names, Call(1)) == ["a"]


def test_the_lock_goes_with_the_connection_and_another_server_may_have_taken_it(
    database: Database, other: psycopg.Connection[Any]
) -> None:
    with lock_of(other):
        with pytest.raises(Unavailable, match="another server"):
            database.write(add, Call(1))
        assert database.read(names, Call(1)) == []
    database.write(add, Call(1))


@contextmanager
def lock_of(other: psycopg.Connection[Any]) -> Iterator[None]:
    """The lock, taken while the server's connection was lost."""
    lock = (LOCK_CLASS,)
    waiting = threading.Thread(
        target=other.execute, args=("SELECT pg_advisory_lock(%s, hashtext(current_schema()))", lock)
    )
    waiting.start()
    with psycopg.connect(other.info.dsn, autocommit=True) as third:
        while not third.execute(
            "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        ).fetchall():
            pass
        assert ended(third, "writer") == 1
    waiting.join()
    yield
    other.execute("SELECT pg_advisory_unlock_all()")


async def test_while_it_cannot_be_reached_tries_are_few(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    tries = 0
    connect = psycopg.connect

    def refuse(*_: Any, **__: Any) -> Any:
        nonlocal tries
        tries += 1
        raise psycopg.OperationalError("nobody there")

    async with open_store(url, clock=wall_ms) as store:
        monkeypatch.setattr(psycopg, "connect", refuse)
        with connect(url, autocommit=True) as other:
            assert ended(other, "writer") == 1
        for _ in range(100):
            with pytest.raises(Unavailable, match=r"nobody there|cannot be reached"):
                await store.write(add)
        assert tries < 10
        monkeypatch.setattr(psycopg, "connect", connect)
        await written(store)


# --- room -------------------------------------------------------------------------------------------


def test_large_batches_leave_no_dead_rows_behind(database: Database) -> None:
    """Autovacuum does not look at temporary tables: without care this one would only ever grow."""

    def rows(number: int) -> str:
        each = [(i, "a", "3", "USD", i, 100 + number, None, None, None) for i in range(1, 501)]
        return encode_json(each).decode()

    def work(tx: Transaction, number: int) -> int:
        stage(tx, number, rows(number))
        batch = Batch(str(number), "feed", "[]", "[]", "[]", 500, b"{", staged_as=number)
        return add_batch(tx, batch).added

    def size(tx: Transaction) -> int:
        return int(tx.execute(text("SELECT pg_relation_size('staged_prices')")).scalar_one())

    names = encode_json([("a", "3", "USD", "Store", 0)]).decode()
    database.write(lambda tx: add_names(tx, "[]", names), Call(1))
    for number in range(5):
        assert database.write(lambda tx, n=number: work(tx, n), Call(number)) == 500  # type: ignore[misc]
    assert database.write(size, Call(9)) == 0
