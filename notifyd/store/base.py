"""What the rest of notifyd asks of a database, and the records that cross that line.

A `Store` runs plain functions over a `Transaction` in worker threads that do nothing but wait for the
database. There is one writer connection and a pool of readers. What the functions say in SQL lives beside
the schema (`store/log.py`, `store/users.py`, `store/prices.py`, …) and takes the `Transaction` first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import trio
    from sqlalchemy import CursorResult, Table
    from sqlalchemy.sql import Executable

T = TypeVar("T")


class Entry(NamedTuple):
    """One row of the log as readers see it."""

    seq: int
    user_id: str | None  # None: everyone
    type: str
    data: bytes  # the JSON object of the message's `data`
    created_ms: int
    expires_ms: int | None
    notification_id: str | None  # None on `notification-updated`


class NewEntry(NamedTuple):
    """A row to append; the transaction gives it its `seq`."""

    notification_id: str | None
    user_id: str | None
    type: str
    data: bytes
    created_ms: int
    expires_ms: int | None = None


@dataclass(frozen=True)
class LogPage:
    """Entries of one user and of everyone in `(after, head]`, oldest first, read in one snapshot.

    `complete` says that nothing more lies between the last entry and `head`, so a reader may move its
    position to `head`; otherwise to the last entry's seq. `trimmed` says that entries after `after` were
    deleted since the reader began, so that continuity is lost and the reader must say so.
    """

    entries: Sequence[Entry]
    head: int
    complete: bool
    trimmed: bool = False


class Transaction(Protocol):
    """One open transaction, to be used only inside the function that was handed it, in its thread.

    Raises sqlalchemy.exc errors; `Store.read` and `Store.write` turn them into `notifyd.errors`.
    """

    now_ms: int  # wall clock when the transaction was asked for
    #: A clock that runs only while a server does, and never jumps: what must be kept for some time is aged by
    #: it. It goes on from the newest remembered key, so it is the wall clock's time or earlier.
    steady_ms: int

    def execute(
        self, statement: Executable, parameters: dict[str, Any] | Sequence[dict[str, Any]] | None = None
    ) -> CursorResult[*tuple[Any, ...]]:
        """Run one statement, with many rows when `parameters` is a sequence (executemany)."""
        ...

    def insert_rows(
        self, table: Table, columns: tuple[str, ...], rows: Sequence[Sequence[Any]], conflict: str = ""
    ) -> None:
        """Insert rows, each the values of `columns`, in as few steps of the database as it allows.

        `conflict` is an ON CONFLICT clause. Beside a busy loop this is many times faster than executemany,
        whose every row takes the GIL anew.
        """
        ...


class Store(Protocol):
    """A database with the log in it.

    Both calls wait for a thread of their own limiter (one writer, eight readers) and give up
    `deadline_s` after the thread began: the caller gets the error, the thread keeps its place in the
    limiter until the database lets go of it.

    Cancellation: the caller stops waiting at once; a write that has begun still commits or rolls back as a
    whole.
    """

    epoch: str
    failed: trio.Event  #: Set when a COMMIT has failed, whoever asked for it: nothing is written any more.

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one read snapshot. Raises Unavailable; Unprocessable for a text with NUL."""
        ...

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one transaction and commit it durably.

        Raises whatever `work` raises that is not the database's (rolled back), `Unavailable` (rolled back:
        locked, connection lost), `StatementFailed` (rolled back: this work, not the database, is at fault),
        `Unprocessable` (rolled back: a text cannot be kept), `DiskFull` (rolled back), `OutcomeUnknown`
        (deadline passed, or connection lost at COMMIT), `CommitFailed`.
        """
        ...
