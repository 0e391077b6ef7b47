"""All that is PostgreSQL's own: connecting and setting up, who may write, what its errors mean.

The right to write is an advisory lock that the writer's connection holds: with the connection goes the lock,
so nobody can write without it. A lost connection is discarded, and the next call opens another.
"""

from __future__ import annotations

import secrets
import select
import threading
import time
from contextlib import nullcontext, suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import structlog
from sqlalchemy import LargeBinary, Text, create_engine, event
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.pool import NullPool

from notifyd.errors import ConfigError, DiskFull, OutcomeUnknown, StatementFailed, Unavailable
from notifyd.messages import encode_json
from notifyd.store.dialect import Fault, first_line
from notifyd.store.outgoing import CHANNEL

try:
    import psycopg
    from psycopg import pq
    from psycopg.conninfo import conninfo_to_dict
except ImportError as error:
    raise ConfigError(
        f"database_url: PostgreSQL needs its driver: pip install 'notifyd[postgres]' ({error})"
    ) from None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import Column, Connection, Engine, Table

    from notifyd.errors import NotifydError, StoreError
    from notifyd.store.waking import Listening

log = structlog.get_logger("notifyd.store")

#: `WITH … AS MATERIALIZED` came with 12, which nobody maintains any more.
OLDEST: Final = 13
#: Of the advisory lock: "noti". The other half is the schema's name, so that each schema can have a server.
LOCK_CLASS: Final = 0x6E6F7469
#: Seconds between attempts to reach a database that cannot be reached, at first and at most.
FIRST_PAUSE_S: Final = 0.1
MOST_PAUSE_S: Final = 2.0
#: Seconds for the request to cancel a statement.
CANCEL_S: Final = 5.0
#: What the URL may override: a peer that is gone is noticed in about 10 seconds.
_NETWORK: Final = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_SET_UP: Final = (
    "SET statement_timeout = {ms}; SET lock_timeout = {lock_ms}; SET jit = off; "
    "SET idle_in_transaction_session_timeout = 0"
)
_STANDING: Final = (
    "SELECT current_setting('synchronous_commit'), current_setting('server_encoding'), "
    "current_setting('fsync'), pg_is_in_recovery(), current_schema()"
)
_END_OWN: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE application_name = %s AND datname = current_database() AND pid <> pg_backend_pid()"
)
_PLACE: Final = "SELECT current_database(), pg_database_size(current_database())"
_DAMAGED: Final = "SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database()"

#: Codes and their classes, https://www.postgresql.org/docs/current/errcodes-appendix.html.
_FAULTS: Final = {
    "53100": Fault.FULL,
    "53": Fault.BUSY,
    "55P03": Fault.BUSY,  # lock_timeout
    "57014": Fault.BUSY,  # statement_timeout, or our own interrupt
    "40": Fault.BUSY,
    "08": Fault.LOST,
    "57P": Fault.LOST,  # shut down, or starting up
    "22P05": Fault.TEXT,  # NUL as an escape in JSON
    "25006": Fault.BROKEN,  # a standby
    "58": Fault.BROKEN,
    "F0": Fault.BROKEN,
    "XX": Fault.BROKEN,
}


def fault_of(error: DBAPIError) -> Fault:
    """What kind of error this is; what has no code never reached the server, or the server never answered."""
    code = getattr(error.orig, "sqlstate", None)
    if code is None:
        if isinstance(error.orig, psycopg.DataError):  # NUL, refused by the driver
            return Fault.TEXT
        lost = isinstance(error.orig, psycopg.OperationalError | psycopg.InterfaceError)
        return Fault.LOST if lost else Fault.STATEMENT
    if error.connection_invalidated:
        return Fault.LOST
    known = (_FAULTS.get(code[:length]) for length in (5, 3, 2))
    return next((fault for fault in known if fault is not None), Fault.STATEMENT)


class Postgres:
    """`store.dialect.Dialect` for the database that a URL of libpq names.

    A statement may take `busy_s`, and so long waits for the lock of another server that is about to end.
    """

    def __init__(self, url: str, *, busy_s: float) -> None:
        try:
            given = conninfo_to_dict(url)
        except psycopg.Error as error:
            raise ConfigError(f"database_url: {error}") from None
        self._name = f"notifyd-{secrets.token_hex(4)}"
        self._parameters: dict[str, Any] = {**_NETWORK, **given, "client_encoding": "UTF8"}
        self._limit_ms = max(1, round(busy_s * 1000))
        self._was_up = False
        self._reach = _Reach()

    def held(self) -> AbstractContextManager[None]:
        return nullcontext()  # the writer's connection does

    def open_engine(self, *, writer: bool) -> Engine:
        engine = create_engine(
            "postgresql+psycopg://",
            creator=self._connect_writer if writer else self._connect_reader,
            poolclass=NullPool,
            use_native_hstore=False,
        )
        event.listen(engine, "commit", _refuse_failed)
        return engine

    def fault_of(self, error: DBAPIError) -> Fault:
        return fault_of(error)

    def commit_error(self, error: DBAPIError) -> StoreError:
        """What the server refuses is rolled back; when it says nothing, nobody knows before it is back."""
        match fault_of(error):
            case Fault.LOST:
                return OutcomeUnknown("the connection to the database was lost while it committed")
            case Fault.FULL:
                return DiskFull()
            case Fault.STATEMENT | Fault.TEXT:
                return StatementFailed(f"the database refused to commit it: {first_line(error.orig)}")
            case Fault.BUSY | Fault.BROKEN:
                return Unavailable(f"the database did not commit it: {first_line(error.orig)}")

    def is_usable(self, connection: Connection) -> bool:
        """An idle connection on which something has come has ended, or is about to be told so."""
        with suppress(InvalidRequestError, psycopg.Error):
            poll = select.poll()
            poll.register(_raw(connection).fileno(), select.POLLIN)
            return not poll.poll(0)
        return False

    def interrupt(self, connection: Connection) -> None:
        """It takes a connection of its own, and so a thread."""
        with suppress(InvalidRequestError):  # closed in this very moment
            threading.Thread(target=_cancel, args=(_raw(connection),), daemon=True).start()

    def listener(self) -> Callable[[], Listening]:
        return self._listen

    def place(self, connection: Connection) -> dict[str, str]:
        name, size = connection.exec_driver_sql(_PLACE).one()
        return {"database": f"{name} ({size:,} bytes)"}

    def damage(self, connection: Connection) -> Iterator[str]:
        """What its own checksums have found, if it has any; it looks at a page when it reads it."""
        failed = connection.exec_driver_sql(_DAMAGED).scalar() or 0
        if failed:
            yield f"{failed} pages have failed their checksum"

    def without_limits(self, connection: Connection) -> None:
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")

    def insert_rows(
        self,
        connection: Connection,
        table: Table,
        columns: tuple[str, ...],
        rows: Sequence[Sequence[Any]],
        conflict: str,
    ) -> None:
        """All rows in one parameter, which the server takes apart: one text of SQL, however many they are."""
        connection.exec_driver_sql(insert_sql(table, columns, conflict), (encode_json(rows).decode(),))

    # --- connecting -----------------------------------------------------------------------------------

    def _connect_writer(self) -> psycopg.Connection[Any]:
        connection = self._connect("writer")
        try:
            self._take_lock(connection)
            self._check(connection)
            connection.autocommit = False
        except BaseException:
            connection.close()
            raise
        self._was_up = True
        return connection

    def _connect_reader(self) -> psycopg.Connection[Any]:
        connection = self._connect("reader")
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        connection.autocommit = False
        return connection

    def _connect(self, role: str) -> psycopg.Connection[Any]:
        """One that commits each statement by itself."""
        self._reach.wait_or_refuse()
        try:
            name = f"{self._name} {role}"
            connection = psycopg.connect(**self._parameters, application_name=name, autocommit=True)
        except psycopg.OperationalError:
            self._reach.failed()
            raise
        self._reach.succeeded()
        try:
            self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_up(self, connection: psycopg.Connection[Any]) -> None:
        lock_ms = max(1, self._limit_ms * 9 // 10)  # sooner, so that the error says what it waited for
        connection.execute(_SET_UP.format(ms=self._limit_ms, lock_ms=lock_ms).encode())

    def _listen(self) -> _Listening:
        try:
            connection = self._connect("listener")
            try:
                connection.execute(f"LISTEN {CHANNEL}".encode())
            except BaseException:
                connection.close()
                raise
        except psycopg.Error as error:
            raise Unavailable(first_line(error)) from error
        return _Listening(connection)

    def _take_lock(self, connection: psycopg.Connection[Any]) -> None:
        if self._was_up:  # what is left of the connection that was lost
            connection.execute(_END_OWN, (f"{self._name} writer",))
        try:
            connection.execute("SELECT pg_advisory_lock(%s, hashtext(current_schema()))", (LOCK_CLASS,))
        except psycopg.errors.LockNotAvailable:
            raise self._refusal("another server is using this database; one database, one server") from None

    def _check(self, connection: psycopg.Connection[Any]) -> None:
        version = connection.info.server_version // 10_000
        if version < OLDEST:
            raise self._refusal(f"PostgreSQL {version} is too old: {OLDEST} or newer is needed")
        found = connection.execute(_STANDING).fetchone()
        assert found is not None
        synchronous, encoding, fsync, standby, schema = found
        if standby:
            raise self._refusal("this is a standby; target_session_attrs=read-write finds the primary")
        if schema is None:
            raise self._refusal("search_path names no schema that exists")
        if encoding != "UTF8":
            raise self._refusal(f"the database's encoding is {encoding} where UTF8 is needed")
        if fsync != "on":
            log.warning("fsync is off: a crash of the database's machine loses what was acknowledged")
        _commit_durably(connection, synchronous)

    def _refusal(self, text: str) -> NotifydError:
        return Unavailable(text) if self._was_up else ConfigError(f"database_url: {text}")


class _Listening:
    """`store.waking.Listening` over a connection that nobody else uses."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._socket = connection.fileno()

    def fileno(self) -> int:
        return self._socket

    def drain(self) -> bool:
        try:
            return len(list(self._connection.notifies(timeout=0))) > 0
        except psycopg.Error as error:
            raise Unavailable(first_line(error)) from error

    def close(self) -> None:
        self._connection.close()


class _Reach:
    """When the database may be tried again; one that cannot be reached is refused without a try meanwhile."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pause_s = 0.0
        self._again = 0.0

    def wait_or_refuse(self) -> None:
        with self._lock:
            left = self._again - time.monotonic()
        if left > 0:
            raise Unavailable(f"the database cannot be reached; the next try is in {left:.1f} s")

    def failed(self) -> None:
        with self._lock:
            self._pause_s = min(MOST_PAUSE_S, self._pause_s * 2 or FIRST_PAUSE_S)
            self._again = time.monotonic() + self._pause_s

    def succeeded(self) -> None:
        with self._lock:
            self._pause_s = self._again = 0.0


def _commit_durably(connection: psycopg.Connection[Any], found: str) -> None:
    """`off` would acknowledge what a crash loses; `remote_apply` waits for more, and stays."""
    if found not in ("on", "remote_apply"):
        connection.execute("SET synchronous_commit = on")
        row = connection.execute("SHOW synchronous_commit").fetchone()
        if row is None or row[0] != "on":
            raise ConfigError(f"database_url: synchronous_commit stays {found} where on is needed")


def _refuse_failed(connection: Connection) -> None:
    """PostgreSQL answers the COMMIT of a transaction with a failed statement by rolling it back, silently."""
    if _raw(connection).info.transaction_status == pq.TransactionStatus.INERROR:
        failed = psycopg.errors.InFailedSqlTransaction("a statement has failed and its error was ignored")
        raise DBAPIError("COMMIT", None, failed)


def _raw(connection: Connection) -> psycopg.Connection[Any]:
    raw: Any = connection.connection.dbapi_connection
    if raw is None:
        raise InvalidRequestError("the connection is closed")
    return raw  # type: ignore[no-any-return]


def _cancel(raw: psycopg.Connection[Any]) -> None:
    with suppress(psycopg.Error):  # it has ended, or the server cannot be reached: keepalive will tell
        raw.cancel_safe(timeout=CANCEL_S)


# --- many rows --------------------------------------------------------------------------------------


@cache
def insert_sql(table: Table, columns: tuple[str, ...], conflict: str) -> str:
    """One INSERT of the rows in a JSON array of arrays; `conflict` is its ON CONFLICT clause."""
    names = ", ".join(f'"{name}"' for name in columns)
    values = ", ".join(_item(table.c[name], index) for index, name in enumerate(columns))
    given = "jsonb_array_elements(CAST(%s AS jsonb)) AS given"
    return f'INSERT INTO "{table.name}" ({names}) SELECT {values} FROM {given} {conflict}'.rstrip()


def _item(column: Column[Any], index: int) -> str:
    item = f"given.value ->> {index}"
    if isinstance(column.type, Text):
        return item
    if isinstance(column.type, LargeBinary):
        return f"decode({item}, 'base64')"
    return f"CAST({item} AS {column.type.compile(_DIALECT)})"


_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]
