"""What applications have published inside their own transactions, until it is moved into the log.

Only PostgreSQL has it: there `notifyd_publish(…)` inserts a row and notifies, in the transaction of whoever
calls it. It takes no number and no lock of notifyd's, so a transaction that stays open holds up nobody. The
rows that are visible are committed; the one that moves a row deletes it in the log's own transaction.

Every function takes the open `Transaction` first and runs in a store's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Raw  # noqa: TC002 - msgspec looks at the fields
from sqlalchemy import (
    BigInteger,
    Column,
    Identity,
    Index,
    MetaData,
    Table,
    bindparam,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from notifyd.store.json_rows import json_of, records, together
from notifyd.store.schema import Text

if TYPE_CHECKING:
    from notifyd.store.base import Transaction

#: What the function notifies, and the server listens to.
CHANNEL: Final = "notifyd_outgoing"
#: Rows moved at once; each is deleted by a statement of its own, and a transaction stays under 50 ms.
BATCH: Final = 200

#: `rejected` says why a row is not moved; such rows are kept for whoever looks, as long as notifications are.
outgoing = Table(
    "outgoing",
    MetaData(),  # of PostgreSQL alone
    Column("outgoing_id", BigInteger, Identity(), primary_key=True),
    Column("user_id", Text),
    Column("type", Text, nullable=False),
    Column("data", JSONB, nullable=False),
    Column("idempotency_key", Text),
    Column("created_ms", BigInteger, nullable=False),
    Column("rejected", Text),
)
Index("ix_outgoing_waiting", outgoing.c.outgoing_id, postgresql_where=outgoing.c.rejected.is_(None))

o = outgoing.c


class Outgoing(NamedTuple):
    """One row; `data` is JSON as PostgreSQL writes it."""

    outgoing_id: int
    user_id: str | None  # None: everyone
    type: str
    data: Raw
    idempotency_key: str | None


_waiting = select(*(o[name] for name in Outgoing._fields)).where(o.rejected.is_(None)).order_by(o.outgoing_id)
_page = _waiting.limit(BATCH).subquery("page")
_first = select(together(*_page.c))
_take = delete(outgoing).where(o.outgoing_id == bindparam("id"), o.rejected.is_(None))
_reject = update(outgoing).where(o.outgoing_id == bindparam("id")).values(rejected=bindparam("reason"))


_old = (
    select(o.outgoing_id)
    .where(o.rejected.is_not(None), o.created_ms < bindparam("before"))
    .order_by(o.outgoing_id)
    .limit(BATCH)
)
_forget = delete(outgoing).where(o.outgoing_id.in_(_old))
_counts = select(func.count().filter(o.rejected.is_(None)), func.count(o.rejected))


class Counts(NamedTuple):
    """How many rows there are of each kind."""

    waiting: int
    rejected: int


def waiting(tx: Transaction) -> list[Outgoing]:
    """The first BATCH rows that wait, in the order in which they were asked for."""
    return sorted(records(json_of(tx, _first, {}), Outgoing), key=lambda row: row.outgoing_id)


def take(tx: Transaction, outgoing_id: int) -> bool:
    """Delete a row; False when it was moved already. Waits for a transaction that is about to tell."""
    return tx.execute(_take, {"id": outgoing_id}).rowcount == 1


def reject(tx: Transaction, outgoing_id: int, reason: str) -> None:
    """Leave a row where it is, with the reason, and never look at it again."""
    tx.execute(_reject, {"id": outgoing_id, "reason": reason})


def counts(tx: Transaction) -> Counts:
    """How many rows wait, and how many were put aside."""
    return Counts(*tx.execute(_counts).one())


def forget_rejected(tx: Transaction, before_ms: int) -> int:
    """Delete up to BATCH rows that were put aside and are older; how many."""
    return tx.execute(_forget, {"before": before_ms}).rowcount
