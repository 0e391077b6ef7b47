"""What each database does in its own way: the line between `store/sql.py` and one driver.

SQL itself is SQLAlchemy's business, and `json_rows` spells what it cannot.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection, Engine, Table
    from sqlalchemy.exc import DBAPIError

    from notifyd.errors import StoreError
    from notifyd.store.waking import Listening


class Fault(Enum):
    """What an error of the database means to whoever asked."""

    FULL = auto()
    BUSY = auto()  # somebody else's lock, or our own deadline: the same work may go through later
    LOST = auto()  # the connection is gone, and with it its transaction
    BROKEN = auto()  # reading or writing failed
    TEXT = auto()  # a text has a character that the database cannot keep
    STATEMENT = auto()  # this work is at fault


def first_line(error: object) -> str:
    """Without the place in our SQL, and without the values that a DETAIL names."""
    return str(error).partition("\n")[0]


class Dialect(Protocol):
    """One database that a URL names, and how to speak to it. Everything here blocks."""

    def held(self) -> AbstractContextManager[None]:
        """Hold the right to be the database's only server, where a connection does not do that itself.

        Raises ConfigError when another has it.
        """
        ...

    def open_engine(self, *, writer: bool) -> Engine:
        """Whatever connects by it begins, waits and syncs as a notifyd writer or reader must.

        Connecting raises ConfigError when the database cannot be used so, StoreError when it cannot now.
        """
        ...

    def fault_of(self, error: DBAPIError) -> Fault:
        """What kind of error this is."""
        ...

    def commit_error(self, error: DBAPIError) -> StoreError:
        """What a COMMIT that failed like this means; CommitFailed: what is durable is no longer known."""
        ...

    def is_usable(self, connection: Connection) -> bool:
        """Whether an idle connection is still there, without asking the database."""
        ...

    def interrupt(self, connection: Connection) -> None:
        """Make whatever runs on `connection` in another thread fail soon; returns at once."""
        ...

    def listener(self) -> Callable[[], Listening] | None:
        """Connects and listens to what applications publish by SQL; None where they cannot."""
        ...

    def place(self, connection: Connection) -> dict[str, str]:
        """Which database it is and how large, for an operator; without a password."""
        ...

    def damage(self, connection: Connection) -> Iterable[str]:
        """What the database itself knows to be broken, as sentences."""
        ...

    def without_limits(self, connection: Connection) -> None:
        """Let the statements of this transaction take as long as they take."""
        ...

    def insert_rows(
        self,
        connection: Connection,
        table: Table,
        columns: tuple[str, ...],
        rows: Sequence[Sequence[Any]],
        conflict: str,
    ) -> None:
        """As `base.Transaction.insert_rows`."""
        ...
