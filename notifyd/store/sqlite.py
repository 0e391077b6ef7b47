"""All that is SQLite's own: the file and its lock, how connections are set up, what its errors mean."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import contextmanager, suppress
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, InvalidRequestError
from sqlalchemy.pool import NullPool

from notifyd.errors import CommitFailed, ConfigError, DiskFull, Unavailable
from notifyd.store.dialect import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection, Engine, Table
    from sqlalchemy.exc import DBAPIError

    from notifyd.errors import StoreError

log = structlog.get_logger("notifyd.store")

#: UPDATE … RETURNING came with 3.35.0, ON CONFLICT on any constraint with it.
OLDEST = (3, 35, 0)
#: Two connections that checkpoint at once could corrupt a WAL database before 3.51.3. notifyd has one that
#: does, so it only matters to other programs on the same file.
CHECKPOINT_RACE_FIXED = (3, 51, 3)

#: Wanted of every connection, and read back: (pragma, value to set, value to read).
_PRAGMAS = (("journal_mode", "WAL", "wal"), ("synchronous", "FULL", 2), ("foreign_keys", "ON", 1))

#: Rows of one INSERT. Each step of a statement gives the GIL away and must get it back, which beside a busy
#: loop takes up to sys.getswitchinterval(): 1,000 rows took 3.2 s one by one, 32-60 ms in such chunks.
MOST_ROWS = 256

#: Primary result codes, https://www.sqlite.org/rescode.html.
_FAULTS = {
    sqlite3.SQLITE_FULL: Fault.FULL,
    sqlite3.SQLITE_BUSY: Fault.BUSY,
    sqlite3.SQLITE_LOCKED: Fault.BUSY,
    sqlite3.SQLITE_INTERRUPT: Fault.BUSY,
    sqlite3.SQLITE_PROTOCOL: Fault.BUSY,
    sqlite3.SQLITE_IOERR: Fault.BROKEN,
    sqlite3.SQLITE_NOMEM: Fault.BROKEN,
    sqlite3.SQLITE_READONLY: Fault.BROKEN,
    sqlite3.SQLITE_CANTOPEN: Fault.BROKEN,
    sqlite3.SQLITE_CORRUPT: Fault.BROKEN,
    sqlite3.SQLITE_NOTADB: Fault.BROKEN,
}


class Sqlite:
    """`store.dialect.Dialect` for a file. A connection waits `busy_s` for another program's lock."""

    def __init__(self, url: str, *, busy_s: float) -> None:
        self._path = database_file(url)
        self._busy_s = busy_s
        check_version()

    def held(self) -> AbstractContextManager[None]:
        return lock_file(self._path)

    def open_engine(self, *, writer: bool) -> Engine:
        return open_engine(self._path, busy_s=self._busy_s, writer=writer)

    def fault_of(self, error: DBAPIError) -> Fault:
        return fault_of(error)

    def commit_error(self, error: DBAPIError) -> StoreError:
        if fault_of(error) is Fault.FULL:
            return DiskFull()
        if is_interrupt(error):  # by our own deadline, before anything was written
            return Unavailable()
        return CommitFailed(str(error.orig))

    def is_usable(self, connection: Connection) -> bool:
        return True

    def place(self, connection: Connection) -> dict[str, str]:
        return {"file": f"{self._path} ({self._path.stat().st_size:,} bytes)"}

    def damage(self, connection: Connection) -> Iterator[str]:
        for (found,) in connection.exec_driver_sql("PRAGMA integrity_check(10)"):
            if found != "ok":
                yield f"the file is damaged: {found}"
        orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        if orphans:
            yield f"{len(orphans)} rows refer to rows that are not there, the first in {orphans[0][0]}"

    def interrupt(self, connection: Connection) -> None:
        """What already syncs its COMMIT goes on."""
        with suppress(sqlite3.ProgrammingError, InvalidRequestError):  # closed in this very moment
            raw: Any = connection.connection.dbapi_connection
            raw.interrupt()

    def listener(self) -> None:
        """Nobody else writes here."""

    def without_limits(self, connection: Connection) -> None:
        """There are none."""

    def insert_rows(
        self,
        connection: Connection,
        table: Table,
        columns: tuple[str, ...],
        rows: Sequence[Sequence[Any]],
        conflict: str,
    ) -> None:
        start, size = 0, MOST_ROWS
        while start < len(rows):
            while size > len(rows) - start:  # powers of two, so that few different statements are prepared
                size //= 2
            values = tuple(chain.from_iterable(rows[start : start + size]))
            connection.exec_driver_sql(insert_sql(table, columns, size, conflict), values)
            start += size


@cache
def insert_sql(table: Table, columns: tuple[str, ...], rows: int, conflict: str) -> str:
    """The text of one INSERT of many rows; `conflict` is its ON CONFLICT clause."""
    group = f"({', '.join('?' * len(columns))})"
    names = ", ".join(f'"{name}"' for name in columns)
    return f'INSERT INTO "{table.name}" ({names}) VALUES {", ".join([group] * rows)} {conflict}'.rstrip()


def fault_of(error: DBAPIError) -> Fault:
    """What kind of error this is; one that SQLite gave no code for is the statement's."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return Fault.STATEMENT if code is None else _FAULTS.get(code & 0xFF, Fault.STATEMENT)


def is_interrupt(error: DBAPIError) -> bool:
    """Whether the work was stopped by `interrupt`."""
    return getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT


def database_file(url: str) -> Path:
    """The file that `sqlite:///FILE` names. Raises ConfigError."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError(f"database_url: {error}") from None
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        raise ConfigError(f"database_url: {url!r} does not name a file: write sqlite:///FILE")
    path = Path(str(parsed.database))
    if not path.parent.is_dir():
        raise ConfigError(f"database_url: there is no folder {path.parent}")
    return path


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Hold the right to write `path` by an flock on a file beside it. Raises ConfigError when taken."""
    beside = path.with_name(f"{path.name}.lock")
    try:
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigError(f"database_url: cannot open {beside}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
            raise ConfigError(
                f"database_url: another server (process {owner}) is using {path}; one file, one server"
            ) from None
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def open_engine(path: Path, *, busy_s: float, writer: bool) -> Engine:
    """An engine whose connections begin, wait and sync as a notifyd writer or reader must.

    A connection waits `busy_s` for another program's lock. Raises ConfigError on connecting when SQLite
    does not take a setting.
    """
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=NullPool,
        connect_args={"isolation_level": None, "check_same_thread": False, "timeout": busy_s},
    )
    begin = "BEGIN IMMEDIATE" if writer else "BEGIN"

    def set_up(connection: sqlite3.Connection, _record: object) -> None:
        _set_pragmas(connection, round(busy_s * 1000), writer)

    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", set_up)
    event.listen(engine, "begin", on_begin)
    return engine


def _set_pragmas(connection: sqlite3.Connection, busy_ms: int, writer: bool) -> None:
    own = (
        ("busy_timeout", busy_ms, busy_ms),
        ("query_only", int(not writer), int(not writer)),
        ("temp_store", 2, 2),
    )
    for name, value, expected in _PRAGMAS + own:
        connection.execute(f"PRAGMA {name} = {value}")
        (found,) = connection.execute(f"PRAGMA {name}").fetchone()
        if found != expected:
            raise ConfigError(f"database_url: SQLite answers {name} = {found} where {value} is needed")


def check_version(version: tuple[int, int, int] = sqlite3.sqlite_version_info) -> None:
    """Raises ConfigError for a library that cannot do it; mentions one with a known defect."""
    if version < OLDEST:
        raise ConfigError(f"SQLite {_dotted(version)} is too old: {_dotted(OLDEST)} or newer is needed")
    if version < CHECKPOINT_RACE_FIXED:
        log.info(
            "let only notifyd write the database: with several writers this SQLite can damage it",
            sqlite=_dotted(version),
            fixed_in=_dotted(CHECKPOINT_RACE_FIXED),
        )


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
