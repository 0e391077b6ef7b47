"""Finding users by how their ids begin. `find` takes the open `Transaction` first, in a store's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, exists, func, select

from notifyd.store.schema import erased_users, notifications, users

if TYPE_CHECKING:
    from notifyd.store.base import Transaction

#: Sorts behind every character that an id can have.
_LAST = "\U0010ffff"

n = notifications.c
u = users.c

_MET = (
    select(u.user_id)
    .where(
        u.user_id >= bindparam("first"),
        u.user_id < bindparam("last"),
        ~exists().where(erased_users.c.user_id == u.user_id),
    )
    .order_by(u.user_id)
    .limit(bindparam("rows"))
)
#: The index has all rows of a user beside each other, so each next user is one step into it.
_TOLD = select(func.min(n.user_id)).where(n.user_id > bindparam("before"), n.user_id < bindparam("last"))
_IS_TOLD = select(n.user_id).where(n.user_id == bindparam("user")).limit(1)


def find(tx: Transaction, prefix: str, limit: int) -> list[str]:
    """At most `limit` ids that begin so, of users who were met or told something; in order."""
    last = prefix + _LAST
    met = tx.execute(_MET, {"first": prefix, "last": last, "rows": limit}).scalars()
    return sorted({*met, *_told(tx, prefix, last, limit)})[:limit]


def _told(tx: Transaction, prefix: str, last: str, limit: int) -> list[str]:
    """Users who have notifications, whether or not they ever came."""
    exact = tx.execute(_IS_TOLD, {"user": prefix}).scalar()
    found = [] if exact is None else [exact]
    before = prefix
    while len(found) < limit:
        user_id = tx.execute(_TOLD, {"before": before, "last": last}).scalar()
        if user_id is None:
            break
        found.append(before := user_id)
    return found
