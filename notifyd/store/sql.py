"""The store over a SQL database: SQLAlchemy Core in worker threads that only wait for the database.

`Database` does the work of one call in the calling thread; `SqlStore` gives it threads and deadlines.
What is one database's own stands in `store/sqlite.py` and `store/postgres.py`, behind `store/dialect.py`.
"""

from __future__ import annotations

import secrets
import threading
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import trio
from sqlalchemy import insert, inspect, select, text
from sqlalchemy.exc import DBAPIError

from notifyd.clock import steady_clock
from notifyd.errors import (
    CommitFailed,
    ConfigError,
    DiskFull,
    HttpError,
    OutcomeUnknown,
    StatementFailed,
    StoreError,
    Unavailable,
    Unprocessable,
)
from notifyd.store.dialect import Fault, first_line
from notifyd.store.log import newest_key_ms
from notifyd.store.schema import REVISION, meta, metadata
from notifyd.store.sqlite import Sqlite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from sqlalchemy import Connection, CursorResult, Engine, Table
    from sqlalchemy.sql import Executable

    from notifyd.store.base import Transaction
    from notifyd.store.dialect import Dialect

    #: What trio.to_thread.run_sync is: runs a function with its arguments apart from the loop. Keywords:
    #: `limiter`, whose acquiring and releasing are awaited, and `abandon_on_cancel`.
    InThread = Callable[..., Awaitable[Any]]

T = TypeVar("T")

READERS = 8
#: Of the deadline, the part that the database may spend waiting for another program's lock: the rest is for
#: rolling back and saying so, so that the answer is "nothing was written" and not "unknown".
BUSY_PART = 0.9


class SqlTransaction:
    """What `store.base.Transaction` promises, over one connection."""

    __slots__ = ("connection", "dialect", "now_ms", "steady_ms")

    def __init__(self, connection: Connection, dialect: Dialect, call: Call) -> None:
        self.connection = connection
        self.dialect = dialect
        self.now_ms = call.now_ms
        self.steady_ms = call.now_ms if call.steady_ms is None else call.steady_ms

    def execute(
        self, statement: Executable, parameters: dict[str, Any] | Sequence[dict[str, Any]] | None = None
    ) -> CursorResult[*tuple[Any, ...]]:
        return self.connection.execute(statement, parameters)

    def insert_rows(
        self, table: Table, columns: tuple[str, ...], rows: Sequence[Sequence[Any]], conflict: str = ""
    ) -> None:
        if rows:
            self.dialect.insert_rows(self.connection, table, columns, rows, conflict)


@dataclass
class Call:
    """One call on its way through a thread; `connection` is set while it holds one."""

    now_ms: int
    steady_ms: int | None = None  # None: as `now_ms`
    connection: Connection | None = None
    interrupted: bool = False


class Database:
    """The connections, and each call's transaction with its errors translated. Blocking."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.writer_engine = dialect.open_engine(writer=True)
        self._reader_engine = dialect.open_engine(writer=False)
        self._writers: list[Connection] = []  # the one, while nobody uses it
        self._readers: list[Connection] = []  # those that nobody uses
        self._closed = False
        self._lock = threading.Lock()
        self._failed: CommitFailed | None = None
        self.on_failed: Callable[[], None] = _ignore  # called once, in the thread whose COMMIT failed

    def write(self, work: Callable[[Transaction], T], call: Call) -> T:
        """`Store.write` in this thread, without its deadline."""
        if self._failed is not None:
            raise CommitFailed(self._failed.detail)
        with self._borrowed(self._writers, self.writer_engine, call) as connection:
            with self._translated(connection):
                connection.begin()
                result = work(SqlTransaction(connection, self.dialect, call))
            self._commit(connection)
        return result

    def read(self, work: Callable[[Transaction], T], call: Call) -> T:
        """`Store.read` in this thread, without its deadline."""
        with (
            self._borrowed(self._readers, self._reader_engine, call) as connection,
            self._translated(connection),
        ):
            connection.begin()
            result = work(SqlTransaction(connection, self.dialect, call))
            connection.rollback()
        return result

    def connect_readers(self) -> None:
        """Open what the readers will need: beside a busy loop it would take them long."""
        self._readers += [self._connect(self._reader_engine) for _ in range(READERS - len(self._readers))]

    def interrupt(self, call: Call) -> None:
        """Make the call fail soon, from another thread. What already syncs its COMMIT goes on."""
        with self._lock:
            call.interrupted = True
            connection = call.connection
        if connection is not None:
            self.dialect.interrupt(connection)

    def close(self) -> None:
        """Close every connection; one that a thread still uses is closed by that thread."""
        with self._lock:
            self._closed = True
            idle = [*self._readers, *self._writers]  # the writer last: it checkpoints
            self._readers.clear()
            self._writers.clear()
        for connection in idle:
            connection.close()

    @contextmanager
    def _borrowed(self, idle: list[Connection], engine: Engine, call: Call) -> Iterator[Connection]:
        connection = call.connection = self._usable(idle) or self._connect(engine)
        try:
            yield connection
        finally:
            with self._lock:
                call.connection = None
                gone = connection.closed or connection.invalidated
                # An interrupt may come late: it must not hit whoever uses the connection next.
                keep = not (self._closed or gone or call.interrupted)
                if keep:
                    idle.append(connection)
            if not keep:
                connection.close()

    def _usable(self, idle: list[Connection]) -> Connection | None:
        while True:
            with self._lock:
                connection = idle.pop() if idle else None
            if connection is None or self.dialect.is_usable(connection):
                return connection
            _discard(connection)

    def _connect(self, engine: Engine) -> Connection:
        try:
            return engine.connect()
        except DBAPIError as error:
            raise self._error_of(error) from error

    @contextmanager
    def _translated(self, connection: Connection) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            _roll_back(connection)
            raise self._error_of(error) from error
        except BaseException:
            _roll_back(connection)
            raise

    def _commit(self, connection: Connection) -> None:
        try:
            connection.commit()
        except DBAPIError as error:
            _discard(connection)  # it has forgotten its transaction, which the database may still have open
            meaning = self.dialect.commit_error(error)
            if isinstance(meaning, CommitFailed):
                self._failed = meaning
                self.on_failed()
            raise meaning from error

    def _error_of(self, error: DBAPIError) -> HttpError:
        match self.dialect.fault_of(error):
            case Fault.FULL:
                return DiskFull()
            case Fault.TEXT:
                return Unprocessable("The character U+0000 is not accepted")
            case Fault.STATEMENT:
                return StatementFailed(f"the database refused it: {first_line(error.orig)}")
            case Fault.BUSY | Fault.LOST | Fault.BROKEN:
                return Unavailable(f"the database cannot take it now: {first_line(error.orig)}")


def _ignore() -> None:
    """Nobody listens yet."""


def _roll_back(connection: Connection) -> None:
    try:
        connection.rollback()
    except DBAPIError:
        _discard(connection)


def _discard(connection: Connection) -> None:
    """Close for good; that rolls back."""
    connection.invalidate()
    connection.close()


class _Deadline:
    """A limiter for trio.to_thread that starts a cancel scope's clock when the thread does."""

    def __init__(self, limiter: trio.CapacityLimiter, scope: trio.CancelScope, seconds: float) -> None:
        self._limiter = limiter
        self._scope = scope
        self._seconds = seconds

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        try:
            self._limiter.acquire_on_behalf_of_nowait(borrower)  # no turn of the loop when it is free
        except trio.WouldBlock:
            await self._limiter.acquire_on_behalf_of(borrower)
        self._scope.deadline = trio.current_time() + self._seconds

    def release_on_behalf_of(self, borrower: object) -> None:
        self._limiter.release_on_behalf_of(borrower)


class SqlStore:
    """`store.base.Store` by threads: one for the writer, eight for readers."""

    def __init__(
        self,
        database: Database,
        *,
        epoch: str,
        clock: Callable[[], int],
        steady: Callable[[], int],
        deadline_s: float,
        in_thread: InThread,
    ) -> None:
        self.epoch = epoch
        self.failed = trio.Event()
        self.listener = database.dialect.listener()  #: As `store.dialect.Dialect.listener`.
        self.reads = 0  # since the start
        self._database = database
        self._clock = clock
        self._steady = steady
        self._deadline_s = deadline_s
        self._in_thread = in_thread
        self._writer = trio.CapacityLimiter(1)
        self._readers = trio.CapacityLimiter(READERS)
        self._token = trio.lowlevel.current_trio_token()
        database.on_failed = self._fail

    def _fail(self) -> None:
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self.failed.set)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        self.reads += 1
        return await self._call(self._readers, self._database.read, work, Unavailable)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        return await self._call(self._writer, self._database.write, work, OutcomeUnknown)

    async def _call(
        self,
        limiter: trio.CapacityLimiter,
        run: Callable[[Callable[[Transaction], T], Call], T],
        work: Callable[[Transaction], T],
        late: type[StoreError],
    ) -> T:
        call = Call(self._clock(), self._steady())
        with trio.CancelScope() as scope:
            slot: Any = _Deadline(limiter, scope, self._deadline_s)
            result: T = await self._in_thread(run, work, call, limiter=slot, abandon_on_cancel=True)
            return result
        self._database.interrupt(call)
        raise late(f"the database has not answered in {self._deadline_s:g} s")

    async def idle(self) -> None:
        """Return when no thread is at work for this store."""
        for limiter in (self._writer, self._readers):
            borrowers = [object() for _ in range(int(limiter.total_tokens))]
            for borrower in borrowers:
                await limiter.acquire_on_behalf_of(borrower)
            for borrower in borrowers:
                limiter.release_on_behalf_of(borrower)


@asynccontextmanager
async def open_store(
    url: str,
    *,
    clock: Callable[[], int],
    deadline_s: float = 5.0,
    draw: Callable[[int], str] = secrets.token_hex,
    in_thread: InThread = trio.to_thread.run_sync,
) -> AsyncIterator[SqlStore]:
    """Lock the database for this process, bring its tables up to date and serve calls until the end.

    `clock` gives milliseconds since 1970; `in_thread` runs each call, and one that takes it longer than
    `deadline_s` seconds is given up. `draw` gives random bytes as text. Raises ConfigError for a database
    that cannot be used. On the way out it waits `deadline_s` for calls under way.
    """
    with open_database(url, busy_s=deadline_s * BUSY_PART) as database:
        now_ms = clock()
        epoch = await in_thread(prepare, database, now_ms, draw)
        newest_ms = await in_thread(database.read, newest_key_ms, Call(now_ms))
        steady = steady_clock(now_ms if newest_ms is None else newest_ms)
        store = SqlStore(
            database, epoch=epoch, clock=clock, steady=steady, deadline_s=deadline_s, in_thread=in_thread
        )
        try:
            yield store
        finally:
            with trio.move_on_after(deadline_s, shield=True):
                await store.idle()


@contextmanager
def open_database(url: str, *, busy_s: float) -> Iterator[Database]:
    """The locked database and its connections, before `prepare`. Raises ConfigError."""
    dialect = dialect_of(url, busy_s)
    with dialect.held():
        database = Database(dialect)
        try:
            yield database
        finally:
            database.close()


def is_postgres(url: str) -> bool:
    """Whether the URL names a database of PostgreSQL; any other is to be a file."""
    return url.partition("://")[0] in ("postgresql", "postgres")


def dialect_of(url: str, busy_s: float) -> Dialect:
    """How to speak to the database that the URL names. Raises ConfigError."""
    if is_postgres(url):
        from notifyd.store.postgres import Postgres  # its driver is an extra

        return Postgres(url, busy_s=busy_s)
    return Sqlite(url, busy_s=busy_s)


def prepare(database: Database, now_ms: int, draw: Callable[[int], str] = secrets.token_hex) -> str:
    """Bring the tables up to date and give the epoch, drawing one for a new database. Raises ConfigError."""
    try:
        epoch = database.write(partial(_bring_up, draw=draw), Call(now_ms))
        database.connect_readers()
    except StoreError as error:
        raise ConfigError(f"database_url: {error.detail}") from error
    return epoch


def _bring_up(tx: Transaction, draw: Callable[[int], str]) -> str:
    assert isinstance(tx, SqlTransaction)
    if _revision(tx.connection) != REVISION:
        from notifyd.store.migrations import migrate  # alembic takes a third of a second to import

        tx.dialect.without_limits(tx.connection)
        migrate(tx.connection)
    _check_columns(tx.connection)
    epoch: str | None = tx.execute(select(meta.c.epoch)).scalar()
    if epoch is None:
        epoch = draw(8)
        first = {"id": 1, "epoch": epoch, "head": 0, "broadcast_floor": 0, "created_ms": tx.now_ms}
        tx.execute(insert(meta), first | {"checker_cursor": 0})
    return epoch


def _check_columns(connection: Connection) -> None:
    """Raises ConfigError for tables that only an unreleased state of the code has called this revision."""
    tables = inspect(connection).get_multi_columns()
    there = {(table, column["name"]) for (_, table), columns in tables.items() for column in columns}
    wanted = [(table.name, column.name) for table in metadata.sorted_tables for column in table.columns]
    lacking = [f"{table}.{column}" for table, column in wanted if (table, column) not in there]
    if lacking:
        raise ConfigError(
            f"database_url: an unreleased notifyd made this database ({lacking[0]} is missing); "
            "use another file, or --fresh for the demo"
        )


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision
