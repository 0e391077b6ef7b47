"""The ledger: what became of each connection, so that it can be told what became of a notification.

Nothing is written per notification and connection. A connection that keeps up has been given an entry when
`dispatches` says that everything up to it had been offered; one that did not keep up has marks of its own.

Every function takes the open `Transaction` first and runs in a store's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import bindparam, delete, insert, or_, select, update

from notifyd.messages import encode_json
from notifyd.store.json_rows import BOOL, INT, TEXT, json_of, records, rows_of, together
from notifyd.store.retention import BATCH
from notifyd.store.schema import connection_marks, connections, dispatches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifyd.store.base import Transaction

#: Close code of a connection whose server ended before it: RFC 6455 section 7.1.5.
LOST: Final = 1006

c = connections.c
m = connection_marks.c

# --- writing ----------------------------------------------------------------------------------------


class Opened(NamedTuple):
    """A connection whose stream has begun after `start_seq`, or which was refused one (None)."""

    connection_id: str
    user_id: str
    transport: str
    connected_ms: int
    start_seq: int | None


class Closed(NamedTuple):
    """A connection that has ended; everything up to `end_seq` was given to it."""

    connection_id: str
    closed_ms: int
    close_code: int
    end_seq: int | None


class Mark(NamedTuple):
    """How far a connection was that does not, or now again does, keep up."""

    connection_id: str
    at_ms: int
    seq: int
    behind: bool


_opened_rows = rows_of(
    "rows", connection_id=TEXT, user_id=TEXT, transport=TEXT, connected_ms=INT, start_seq=INT
)
_closed_rows = rows_of("rows", connection_id=TEXT, closed_ms=INT, close_code=INT, end_seq=INT)
_mark_rows = rows_of("rows", connection_id=TEXT, at_ms=INT, seq=INT, behind=BOOL)
_open = insert(connections).from_select(list(_opened_rows.c.keys()), select(_opened_rows))
_close = (
    update(connections)
    .where(c.connection_id == _closed_rows.c.connection_id)
    .values({name: _closed_rows.c[name] for name in ("closed_ms", "close_code", "end_seq")})
)
#: A connection may have been erased meanwhile.
_mark = insert(connection_marks).from_select(
    list(_mark_rows.c.keys()),
    select(*_mark_rows.c).join_from(_mark_rows, connections, c.connection_id == _mark_rows.c.connection_id),
)


def note(tx: Transaction, opened: Sequence[Opened], marks: Sequence[Mark], closed: Sequence[Closed]) -> None:
    """Write what happened since the last time; no connection twice in a list, no mark twice."""
    for statement, rows in ((_open, opened), (_mark, marks), (_close, closed)):
        if rows:
            tx.execute(statement, {"rows": encode_json(rows).decode()})


def dispatched(tx: Transaction, seq: int, at_ms: int) -> None:
    """Everything up to `seq` has been offered to whoever keeps up."""
    tx.insert_rows(dispatches, ("seq", "at_ms"), [(seq, at_ms)], "ON CONFLICT (seq) DO NOTHING")


_left_open = select(c.connection_id).where(c.closed_ms.is_(None)).limit(BATCH)
_end_left_open = (
    update(connections)
    .where(c.connection_id.in_(_left_open))
    .values(closed_ms=bindparam("now"), close_code=LOST)
)


def end_left_open(tx: Transaction) -> int:
    """End what a server that was killed has left open; how far those connections got is not known."""
    return tx.execute(_end_left_open, {"now": tx.now_ms}).rowcount


# --- retention --------------------------------------------------------------------------------------

_old = select(c.connection_id).where(c.closed_ms < bindparam("before")).limit(BATCH)
_forget_connections = delete(connections).where(c.connection_id.in_(_old))
_oldest = select(dispatches.c.seq).order_by(dispatches.c.seq).limit(BATCH)
_forget_dispatches = delete(dispatches).where(
    dispatches.c.seq.in_(_oldest), dispatches.c.at_ms < bindparam("before")
)


def forget_connections(tx: Transaction, before_ms: int) -> int:
    """Delete connections that ended before this moment; fewer than BATCH: nothing is left."""
    return tx.execute(_forget_connections, {"before": before_ms}).rowcount


def forget_dispatches(tx: Transaction, before_ms: int) -> int:
    """Delete dispatches before this moment; fewer than BATCH: nothing is left."""
    return tx.execute(_forget_dispatches, {"before": before_ms}).rowcount


# --- reading ----------------------------------------------------------------------------------------


class Kept(NamedTuple):
    """One connection of a user."""

    connection_id: str
    transport: str
    connected_ms: int
    start_seq: int | None
    closed_ms: int | None
    close_code: int | None
    end_seq: int | None


_kept = (
    select(*(c[name] for name in Kept._fields))
    .where(c.user_id == bindparam("user"), or_(c.closed_ms.is_(None), c.closed_ms >= bindparam("since")))
    .order_by(c.connected_ms.desc())
    .limit(bindparam("rows"))
)
_ids = rows_of("ids", value=TEXT)
_marks_around = select(together(m.connection_id, m.at_ms, m.seq, m.behind)).where(
    m.connection_id.in_(select(_ids.c.value))
)
_dispatched = (
    select(dispatches.c.at_ms).where(dispatches.c.seq >= bindparam("seq")).order_by(dispatches.c.seq).limit(1)
)


def connections_since(tx: Transaction, user_id: str, since_ms: int, limit: int) -> list[Kept]:
    """The user's newest connections that were open at this moment or later, the oldest first."""
    given = {"user": user_id, "since": since_ms, "rows": limit}
    return [Kept._make(row) for row in tx.execute(_kept, given)][::-1]


def marks_of(tx: Transaction, connection_ids: Sequence[str]) -> list[Mark]:
    """Their marks, by connection and time."""
    ids = encode_json([[each] for each in connection_ids]).decode()
    return sorted(records(json_of(tx, _marks_around, {"ids": ids}), Mark))


def dispatched_ms(tx: Transaction, seq: int) -> int | None:
    """When an entry had been offered to all who kept up; None: not yet, or it is not known any more."""
    at_ms: int | None = tx.execute(_dispatched, {"seq": seq}).scalar()
    return at_ms
