"""Where the prices of a large batch wait until all of them are there, so that they become a run at once.

A transaction that parses and stores 10,000 rows takes longer than others should wait for it; copying them
from here takes a fraction of that. It is a temporary table in the memory of the writer's connection: it costs
no sync, and a process that dies leaves nothing behind. With the connection it is gone; `staged_count` tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    BigInteger,
    ClauseElement,
    Column,
    Executable,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    func,
    or_,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateTable

if TYPE_CHECKING:
    from sqlalchemy.sql.compiler import SQLCompiler

    from notifyd.store.base import Transaction

#: How long the rows of a batch that is never added stay, since its publisher went away.
STALE_MS: Final = 60_000

staged = Table(
    "staged_prices",
    MetaData(),  # of a connection, not of the database
    Column("batch_key", BigInteger, primary_key=True, autoincrement=False),
    Column("offset", Integer, primary_key=True, autoincrement=False),
    Column("staged_ms", BigInteger, nullable=False),
    Column("series_id", BigInteger, nullable=False),
    Column("observed_ms", BigInteger, nullable=False),
    Column("price_in_cents", BigInteger, nullable=False),
    Column("valid_until_ms", BigInteger),
    Column("url", Text),
    Column("image_url", Text),
    prefixes=["TEMPORARY"],
    sqlite_with_rowid=False,
)


class _Vacate(Executable, ClauseElement):
    """Give back the room of rows that were deleted: PostgreSQL's own cleaning leaves temporary tables out."""

    inherit_cache = True


@compiles(_Vacate, "sqlite")
def _vacate_sqlite(_element: _Vacate, _compiler: SQLCompiler, **_options: Any) -> str:
    return "SELECT 1"  # SQLite uses the pages again


@compiles(_Vacate, "postgresql")
def _vacate_postgresql(_element: _Vacate, _compiler: SQLCompiler, **_options: Any) -> str:
    return f"TRUNCATE {staged.name}"


_create = CreateTable(staged, if_not_exists=True)
_count = select(func.count()).where(staged.c.batch_key == bindparam("key"))
_any = select(staged.c.batch_key).limit(1)
_forget = delete(staged).where(
    or_(staged.c.batch_key == bindparam("key"), staged.c.staged_ms < bindparam("stale"))
)


def staged_count(tx: Transaction, key: int) -> int:
    """How many rows wait under this key."""
    tx.execute(_create)
    return int(tx.execute(_count, {"key": key}).scalar_one())


def unstage(tx: Transaction, key: int | None = None) -> None:
    """Forget the rows of this key, and what nobody has come back for."""
    tx.execute(_create)
    tx.execute(_forget, {"key": key, "stale": tx.now_ms - STALE_MS})
    if key is not None and tx.execute(_any).first() is None:
        tx.execute(_Vacate())
