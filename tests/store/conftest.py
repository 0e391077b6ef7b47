from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from notifyd.store.base import NewEntry
from notifyd.store.log import UPDATED, allocate, append
from notifyd.store.sql import Call, open_database, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from notifyd.store.base import Entry, Transaction
    from notifyd.store.sql import Database

T = TypeVar("T")


class Tables:
    """A database whose transactions run here and now, at a time of the test's choosing."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now_ms = 1_000_000

    def write(self, work: Callable[..., T], *args: Any, **more: Any) -> T:
        return self.database.write(lambda tx: work(tx, *args, **more), Call(self.now_ms))

    def read(self, work: Callable[..., T], *args: Any, **more: Any) -> T:
        return self.database.read(lambda tx: work(tx, *args, **more), Call(self.now_ms))

    def add(self, *entries: NewEntry) -> list[Entry]:
        """Append to the log."""

        def work(tx: Transaction) -> list[Entry]:
            return append(tx, entries, allocate(tx, len(entries)) - len(entries))

        return self.write(work)

    def tell(self, user_id: str | None, *names: str, expires_ms: int | None = None) -> Sequence[int]:
        """Append one notification for each name; their seqs."""
        made = self.add(*(self.new(user_id, name, expires_ms) for name in names))
        return [entry.seq for entry in made]

    def new(self, user_id: str | None, name: str, expires_ms: int | None = None) -> NewEntry:
        return NewEntry(name, user_id, "x-test", b"{}", self.now_ms, expires_ms)

    def update(self, user_id: str | None) -> NewEntry:
        return NewEntry(None, user_id, UPDATED, b"{}", self.now_ms)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/log.db"


@pytest.fixture
def bare_database_url(on_postgres: Any, database_url: str) -> Iterator[str]:
    """The URL of a database without any table."""
    if on_postgres is None:
        yield database_url
    else:
        with on_postgres.database(template="template1") as url:
            yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with open_database(database_url, busy_s=1) as database:
        prepare(database, 1)
        yield database


@pytest.fixture
def tables(database: Database) -> Tables:
    return Tables(database)
