"""All that is known of one notification and one user, in one snapshot.

`facts` takes the open `Transaction` first and runs in a store's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Raw  # noqa: TC002 - msgspec looks at the fields
from sqlalchemy import bindparam, or_, select

from notifyd.store import deliveries, ledger, log, users
from notifyd.store.json_rows import document, json_of, records, together
from notifyd.store.schema import notifications

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifyd.store.base import Transaction
    from notifyd.store.deliveries import Told
    from notifyd.store.ledger import Kept, Mark
    from notifyd.store.users import Acknowledged, Marks

#: Connections that are told of.
MAX_CONNECTIONS: Final = 100
#: Changes of state that are looked through, the oldest first.
MAX_UPDATES: Final = 20_000

n = notifications.c


class Update(NamedTuple):
    """A `notification-updated` entry."""

    seq: int
    created_ms: int
    data: Raw


class Facts(NamedTuple):
    """What the store knows. `updates` may concern other notifications, too; `rank` is without the marks'."""

    seq: int
    notification_id: str
    type: str
    everyone: bool
    created_ms: int
    expires_ms: int | None
    rank: int
    marks: Marks
    updates: Sequence[Update]
    acknowledged: Acknowledged | None
    dispatched_ms: int | None
    connections: Sequence[Kept]
    connection_marks: Sequence[Mark]
    now_ms: int
    told: Sequence[Told] = ()


_ID_AT = select(n.notification_id).where(
    n.seq == bindparam("seq"), or_(n.user_id == bindparam("user"), n.user_id.is_(None))
)
_ENTRY = select(n.type, n.created_ms, n.expires_ms).where(n.seq == bindparam("seq"))
_OWN = n.user_id == bindparam("user")
_updates = (
    select(n.seq, n.created_ms, n.data)
    .where(or_(_OWN, n.user_id.is_(None)), n.seq > bindparam("seq"), n.state.is_(None))
    .order_by(n.seq)
    .limit(MAX_UPDATES)
    .subquery("updates")
)
_UPDATES = select(together(_updates.c.seq, _updates.c.created_ms, document(_updates.c.data)))


def id_at(tx: Transaction, user_id: str, seq: int) -> str | None:
    """The notification at a place in the log, if it is this user's or everyone's."""
    found: str | None = tx.execute(_ID_AT, {"user": user_id, "seq": seq}).scalar()
    return found


def facts(tx: Transaction, user_id: str, notification_id: str) -> Facts | None:
    """None when the user has no such notification, or no longer."""
    known = users.find(tx, user_id, [notification_id]).get(notification_id)
    if known is None:
        return None
    type_, created_ms, expires_ms = tx.execute(_ENTRY, {"seq": known.seq}).one()
    kept = ledger.connections_since(tx, user_id, created_ms, MAX_CONNECTIONS)
    updates = records(json_of(tx, _UPDATES, {"user": user_id, "seq": known.seq}), Update)
    return Facts(
        seq=known.seq,
        notification_id=notification_id,
        type=type_,
        everyone=known.everyone,
        created_ms=created_ms,
        expires_ms=expires_ms,
        rank=known.rank,
        marks=users.marks(tx, user_id, log.head(tx)),
        updates=sorted(updates, key=lambda update: update.seq),
        acknowledged=users.acknowledged(tx, user_id),
        dispatched_ms=ledger.dispatched_ms(tx, known.seq),
        connections=kept,
        connection_marks=ledger.marks_of(tx, [each.connection_id for each in kept]),
        now_ms=tx.now_ms,
        told=deliveries.told(tx, user_id, known.seq),
    )
