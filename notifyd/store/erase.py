"""Erasing one user in small batches, with the promises about cursors kept.

What deletes entries raises the user's floor in the same transaction, so a cursor from before says that it
cannot be continued from. The floor stays, in a row with nothing else in it, until no entry of anybody is as
old; then everyone's floor takes its place and the user's id goes too.

Every function takes the open `Transaction` first and runs in a store's thread. The `drop_…` say how many rows
went; fewer than BATCH means that nothing is left to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import and_, bindparam, delete, exists, func, or_, select, tuple_, update

from notifyd.store import retention
from notifyd.store.schema import (
    broadcast_states,
    connections,
    deliveries,
    erased_users,
    meta,
    notifications,
    outbox,
    preferences,
    users,
    watch_items,
    watch_states,
    watch_words,
    watches,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Delete, Table

    from notifyd.store.base import Transaction

#: Rows that one transaction deletes at most, so that it stays well under 50 ms.
BATCH: Final = retention.BATCH
_NO_LIMIT: Final = 2**62

u = users.c
x = broadcast_states.c

# --- what is a user's -------------------------------------------------------------------------------

_own_keys = select(watches.c.watch_key).where(watches.c.user_id == bindparam("user"))


def _drop_of_watches(table: Table) -> Delete:
    """A portion of what belongs to the user's watches in `table`."""
    key = tuple_(*table.primary_key.columns)
    some = select(*table.primary_key.columns).where(table.c.watch_key.in_(_own_keys)).limit(BATCH)
    return delete(table).where(key.in_(some))


_drop_states = _drop_of_watches(watch_states)
_drop_items = _drop_of_watches(watch_items)
_drop_words = _drop_of_watches(watch_words)
_drop_watches = delete(watches).where(watches.c.watch_key.in_(_own_keys.limit(BATCH)))
_drop_singles = delete(broadcast_states).where(
    tuple_(x.user_id, x.seq).in_(select(x.user_id, x.seq).where(x.user_id == bindparam("user")).limit(BATCH))
)
_drop_connections = delete(connections).where(
    connections.c.connection_id.in_(
        select(connections.c.connection_id).where(connections.c.user_id == bindparam("user")).limit(BATCH)
    )
)
_drop_deliveries = delete(deliveries).where(
    tuple_(deliveries.c.user_id, deliveries.c.seq, deliveries.c.channel).in_(
        select(deliveries.c.user_id, deliveries.c.seq, deliveries.c.channel)
        .where(deliveries.c.user_id == bindparam("user"))
        .limit(BATCH)
    )
)
_drop_messages = delete(outbox).where(
    outbox.c.message_id.in_(
        select(outbox.c.message_id).where(outbox.c.user_id == bindparam("user")).limit(BATCH)
    )
)
_drop_preferences = delete(preferences).where(preferences.c.user_id == bindparam("user"))


def drop_watch_states(tx: Transaction, user_id: str) -> int:
    """What the user's watches have fired."""
    return tx.execute(_drop_states, {"user": user_id}).rowcount


def drop_watch_items(tx: Transaction, user_id: str) -> int:
    """The items that the user's watches concern."""
    return tx.execute(_drop_items, {"user": user_id}).rowcount


def drop_watch_words(tx: Transaction, user_id: str) -> int:
    """The words that the user's watches look for."""
    return tx.execute(_drop_words, {"user": user_id}).rowcount


def drop_watches(tx: Transaction, user_id: str) -> int:
    """The user's watches."""
    return tx.execute(_drop_watches, {"user": user_id}).rowcount


def drop_singles(tx: Transaction, user_id: str) -> int:
    """The user's states of announcements."""
    return tx.execute(_drop_singles, {"user": user_id}).rowcount


def drop_connections(tx: Transaction, user_id: str) -> int:
    """What the ledger knows of the user's connections."""
    return tx.execute(_drop_connections, {"user": user_id}).rowcount


def drop_deliveries(tx: Transaction, user_id: str) -> int:
    """What is or was to be told to the user by mail or webhook."""
    return tx.execute(_drop_deliveries, {"user": user_id}).rowcount


def drop_messages(tx: Transaction, user_id: str) -> int:
    """The user's mails in the outbox; one that is being sent is not stopped."""
    return tx.execute(_drop_messages, {"user": user_id}).rowcount


def drop_preferences(tx: Transaction, user_id: str) -> int:
    """What the user wanted by mail."""
    return tx.execute(_drop_preferences, {"user": user_id}).rowcount


def drop_entries(tx: Transaction, user_id: str) -> int:
    """The user's own entries, the oldest first; raises the floor."""
    return retention.drop_own(tx, user_id, _NO_LIMIT)


#: In this order: watches first, so that nothing new is found for the user meanwhile.
DROPS: Final[tuple[Callable[[Transaction, str], int], ...]] = (
    drop_watch_items,
    drop_watch_words,
    drop_watch_states,
    drop_watches,
    drop_deliveries,
    drop_messages,
    drop_preferences,
    drop_entries,
    drop_singles,
    drop_connections,
)

# --- the user's row ---------------------------------------------------------------------------------

_left = select(
    *(
        exists().where(table.c.user_id == bindparam("user"))
        for table in (watches, notifications, broadcast_states, connections, deliveries, outbox)
    )
)
_floor = select(u.floor).where(u.user_id == bindparam("user"))
_bare = {
    "seen_seq": 0,
    "read_seq": 0,
    "archived_seq": 0,
    "ack_seq": 0,
    **dict.fromkeys(
        (
            "appeared_seq",
            "ack_ms",
            "ack_connection",
            "email",
            "locale",
            "time_zone",
            "profile_ms",
            "bounced_email",
        )
    ),
}
_empty = update(users).where(u.user_id == bindparam("user")).values(_bare)
_forget = delete(users).where(u.user_id == bindparam("user"))


def finish(tx: Transaction, user_id: str) -> int | None:
    """Empty the user's row and give the floor that stays; None when something has come meanwhile."""
    return None if any(tx.execute(_left, {"user": user_id}).one()) else finish_now(tx, user_id)


def finish_now(tx: Transaction, user_id: str) -> int:
    """The same whatever has come meanwhile, which stays."""
    floor: int | None = tx.execute(_floor, {"user": user_id}).scalar()
    if not floor:
        tx.execute(_forget, {"user": user_id})
        return 0
    tx.execute(_empty, {"user": user_id})
    conflict = "ON CONFLICT (user_id) DO UPDATE SET erased_ms = excluded.erased_ms"
    tx.insert_rows(erased_users, ("user_id", "erased_ms"), [(user_id, tx.now_ms)], conflict)
    return floor


# --- when the log has forgotten, too ----------------------------------------------------------------

_oldest_seq = select(func.min(notifications.c.seq))
_outlived = (
    select(erased_users.c.user_id, u.floor)
    .join_from(erased_users, users, u.user_id == erased_users.c.user_id, isouter=True)
    .where(
        or_(
            u.floor.is_(None),
            u.floor < func.coalesce(_oldest_seq.scalar_subquery(), select(meta.c.head + 1).scalar_subquery()),
        )
    )
    .order_by(u.floor)
    .limit(BATCH)
)
_raise_broadcast = (
    update(meta).where(meta.c.broadcast_floor < bindparam("up_to")).values(broadcast_floor=bindparam("up_to"))
)
_is_bare = and_(*(u[name].is_(None) if value is None else u[name] == value for name, value in _bare.items()))
_drop_bare = delete(users).where(u.user_id == bindparam("user"), _is_bare)
_drop_note = delete(erased_users).where(erased_users.c.user_id == bindparam("user"))


def forget_erased(tx: Transaction) -> int:
    """Let go of the ids of erased users whose floor is older than all that is left of the log.

    Everyone's floor rises to theirs: whoever comes with so old a cursor is told that it cannot be proven. The
    row of a user who has come back stays.
    """
    outlived = tx.execute(_outlived).all()
    if not outlived:
        return 0
    tx.execute(_raise_broadcast, {"up_to": max(floor or 0 for _, floor in outlived)})
    names = [{"user": user_id} for user_id, _ in outlived]
    tx.execute(_drop_bare, names)
    tx.execute(_drop_note, names)
    return len(outlived)
