"""What an operator does with a database: a copy while it is in use, a new epoch, a look at its health.

`copy` is SQLite's own (PostgreSQL has pg_dump); the rest is for both. No running server is needed for it.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import inspect, select, text, update
from sqlalchemy.exc import DBAPIError

from notifyd.errors import ConfigError
from notifyd.store import sqlite
from notifyd.store.dialect import first_line
from notifyd.store.schema import REVISION, meta
from notifyd.store.sql import Call, dialect_of, is_postgres, open_database, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Connection

    from notifyd.store.base import Transaction
    from notifyd.store.dialect import Dialect

#: Pages copied between two looks at the progress: about 16 MB.
STEP_PAGES = 4096
#: Seconds that a look or a copy waits for another program's lock.
BUSY_S = 5.0


# --- a copy -------------------------------------------------------------------------------------------


def copy(url: str, target: Path, on_progress: Callable[[float], None]) -> int:
    """Copy the database to `target` while a server may write it, and give the copy's size in bytes. Blocking.

    It is one moment of the database: that of the beginning. `on_progress` gets the part that is done. The
    copy has its name only when it is complete, checked and synced. Raises ConfigError, OSError.
    """
    if is_postgres(url):
        raise ConfigError("a copy of a PostgreSQL database is made by pg_dump, while the server runs")
    source = existing_file(url)
    partial = target.with_name(f"{target.name}.partial")
    try:
        with (
            closing(sqlite3.connect(source, timeout=BUSY_S, isolation_level=None)) as reading,
            closing(sqlite3.connect(partial)) as writing,
        ):
            _copy(reading, writing, on_progress)
        _sync(partial)
        os.replace(partial, target)
        _sync(target.parent)
    except sqlite3.Error as error:
        raise ConfigError(f"cannot copy {source} to {target}: {error}") from None
    finally:
        for leftover in (partial, *(partial.with_name(partial.name + end) for end in ("-wal", "-shm"))):
            leftover.unlink(missing_ok=True)
    return target.stat().st_size


def _copy(
    source: sqlite3.Connection, target: sqlite3.Connection, on_progress: Callable[[float], None]
) -> None:
    """The open snapshot keeps writers from making the copy begin anew."""
    source.execute("BEGIN")
    source.execute("SELECT head FROM meta").fetchone()
    source.backup(
        target,
        pages=STEP_PAGES,
        progress=lambda _status, left, total: on_progress(1 - left / total if total else 1),
    )
    (found,) = target.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(f"the copy is damaged: {found}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def existing_file(url: str) -> Path:
    """The file of a database that is there. Raises ConfigError."""
    path = sqlite.database_file(url)
    if not path.is_file():
        raise ConfigError(f"database_url: there is no database {path}")
    return path


# --- a new epoch --------------------------------------------------------------------------------------


def restore_epoch(url: str, now_ms: int) -> tuple[str, str]:
    """Give the log a new name, and give the old and the new one. Raises ConfigError while a server runs.

    Every cursor given out before is then of another epoch: whoever comes with one is told that continuity is
    lost, and starts at the head.
    """
    with _looking(url) as (_, connection):
        if not _is_ours(connection):
            raise ConfigError("database_url: this is not a database of notifyd")
    with open_database(url, busy_s=BUSY_S) as database:
        before = prepare(database, now_ms)
        after = secrets.token_hex(8)
        database.write(lambda tx: _rename(tx, after), Call(now_ms))
    return before, after


def _rename(tx: Transaction, epoch: str) -> None:
    tx.execute(update(meta).values(epoch=epoch))


# --- a look -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Health:
    """What a look at the database found: facts, and what is wrong with it."""

    facts: dict[str, str]
    problems: list[str]


#: What must not be there, and how it is told; `{}` is the count.
_WRONG = (
    ("SELECT count(*) FROM notifications, meta WHERE seq > head", "{} entries lie above the head of the log"),
    (
        "SELECT count(*) FROM meta WHERE broadcast_floor > head",
        "the announcements' floor lies above the head",
    ),
    ("SELECT count(*) FROM users, meta WHERE floor > head", "{} users have a floor above the head"),
    (
        "SELECT count(*) FROM users, meta WHERE ack_seq > head OR seen_seq > head",
        "{} users have confirmed or seen what lies above the head: was an older copy restored without "
        "`notifyd restore-epoch`?",
    ),
    (
        "SELECT count(*) FROM meta "
        "WHERE checker_cursor > (SELECT coalesce(max(last_run_id), 0) FROM price_log)",
        "the checker is ahead of the prices",
    ),
    (
        "SELECT count(*) FROM price_log "
        "WHERE last_price_id < (SELECT coalesce(max(price_id), 0) FROM prices)",
        "prices lie above the last number that was given",
    ),
    (
        "SELECT count(*) FROM price_series s "
        "WHERE NOT EXISTS (SELECT 1 FROM items i WHERE i.item_id = s.item_id)",
        "{} series of prices belong to no item",
    ),
    *(
        (
            f"SELECT count(*) FROM {table} t WHERE NOT EXISTS "
            "(SELECT 1 FROM watches w WHERE w.watch_key = t.watch_key)",
            f"{{}} rows of {table} belong to no watch",
        )
        for table in ("watch_items", "watch_words", "watch_states")
    ),
    (
        "SELECT count(*) FROM connection_marks m WHERE NOT EXISTS "
        "(SELECT 1 FROM connections c WHERE c.connection_id = m.connection_id)",
        "{} marks belong to no connection",
    ),
)
_FACTS = (
    ("head", "SELECT head FROM meta"),
    ("announcements' floor", "SELECT broadcast_floor FROM meta"),
    ("entries", "SELECT count(*) FROM notifications"),
    ("oldest entry", "SELECT min(seq) FROM notifications"),
    ("users", "SELECT count(*) FROM users"),
    ("users with a floor", "SELECT count(*) FROM users WHERE floor > 0"),
    ("watches", "SELECT count(*) FROM watches"),
    (
        "prices not checked yet",
        "SELECT coalesce(max(last_run_id), 0) - min(checker_cursor) FROM price_log, meta",
    ),
)


def examine(url: str) -> Health:
    """Look at a database, in use or not, and change nothing. Blocking. Raises ConfigError."""
    with _looking(url) as (dialect, connection):
        damage = list(dialect.damage(connection))
        facts = dialect.place(connection)
        if not _is_ours(connection):
            return Health(facts, [*damage, "this is not a database of notifyd"])
        return _examine(connection, facts, damage)


@contextmanager
def _looking(url: str) -> Iterator[tuple[Dialect, Connection]]:
    """A connection that only reads. Raises ConfigError, also for a file that is not there."""
    if not is_postgres(url):
        existing_file(url)
    dialect = dialect_of(url, BUSY_S)
    try:
        with dialect.open_engine(writer=False).connect() as connection, connection.begin():
            yield dialect, connection
    except DBAPIError as error:
        raise ConfigError(f"database_url: {first_line(error.orig)}") from error


def _is_ours(connection: Connection) -> bool:
    return {"meta", "alembic_version"} <= set(inspect(connection).get_table_names())


def _examine(connection: Connection, facts: dict[str, str], damage: list[str]) -> Health:
    revision = str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar())
    facts["revision"] = revision
    if revision != REVISION:
        return Health(facts, [*damage, f"its revision is {revision}, not {REVISION}: run `notifyd migrate`"])
    facts["epoch"] = str(connection.execute(select(meta.c.epoch)).scalar())
    for name, statement in _FACTS:
        facts[name] = str(connection.execute(text(statement)).scalar())
    wrong = [(connection.execute(text(statement)).scalar_one(), told) for statement, told in _WRONG]
    return Health(facts, damage + [told.format(count) for count, told in wrong if count])
