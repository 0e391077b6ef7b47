"""Trimming in small batches. What deletes entries raises the floors in the same transaction.

Every function takes the open `Transaction` first and runs in a store's thread. Those that delete say how
many rows went; fewer than BATCH means that nothing is left to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, func, select, tuple_, update

from notifyd.store import users
from notifyd.store.log import REMEMBERED_MS
from notifyd.store.schema import broadcast_states, idempotency, meta, notifications

if TYPE_CHECKING:
    from collections.abc import Iterable

    from notifyd.store.base import Transaction

#: Rows that one transaction deletes at most, so that it stays well under 50 ms.
BATCH = 500

n = notifications.c
x = broadcast_states.c
k = idempotency.c

_OLDEST = select(n.seq, n.user_id, n.created_ms).order_by(n.seq).limit(BATCH)
_DROP_OLDEST = delete(notifications).where(n.seq <= bindparam("up_to"), n.created_ms < bindparam("before"))
_RAISE_BROADCAST = (
    update(meta).where(meta.c.broadcast_floor < bindparam("up_to")).values(broadcast_floor=bindparam("up_to"))
)


def drop_oldest(tx: Transaction, before_ms: int) -> int:
    """Delete entries created before this moment from the oldest end of the log."""
    old = [(seq, user_id) for seq, user_id, created in tx.execute(_OLDEST) if created < before_ms]
    if not old:
        return 0
    tx.execute(_DROP_OLDEST, {"up_to": old[-1][0], "before": before_ms})
    floors: dict[str | None, int] = {user_id: seq for seq, user_id in old}  # the last one of a user stays
    if None in floors:
        tx.execute(_RAISE_BROADCAST, {"up_to": floors[None]})
    users.raise_floors(tx, {user_id: seq for user_id, seq in floors.items() if user_id is not None})
    return len(old)


_BEYOND = (
    select(n.seq)
    .where(n.user_id == bindparam("user"))
    .order_by(n.seq.desc())
    .limit(1)
    .offset(bindparam("keep"))
)
_OWN = (
    select(n.seq)
    .where(n.user_id == bindparam("user"), n.seq <= bindparam("up_to"))
    .order_by(n.seq)
    .limit(BATCH)
)
_DROP_OWN = delete(notifications).where(n.user_id == bindparam("user"), n.seq <= bindparam("up_to"))


def over_limit(tx: Transaction, user_ids: Iterable[str], keep: int) -> dict[str, int]:
    """Those of the users who have more than `keep` own entries, and the newest seq that is too much."""
    cuts = {user_id: tx.execute(_BEYOND, {"user": user_id, "keep": keep}).scalar() for user_id in user_ids}
    return {user_id: cut for user_id, cut in cuts.items() if cut is not None}


def drop_own(tx: Transaction, user_id: str, up_to: int) -> int:
    """Delete a user's own entries up to a seq, the oldest first."""
    seqs = tx.execute(_OWN, {"user": user_id, "up_to": up_to}).scalars().all()
    if seqs:
        tx.execute(_DROP_OWN, {"user": user_id, "up_to": seqs[-1]})
        users.raise_floors(tx, {user_id: seqs[-1]})
    return len(seqs)


_NEXT_USER = select(func.min(n.user_id)).where(n.user_id > bindparam("after"))


def users_after(tx: Transaction, after: str, limit: int) -> list[str]:
    """The next users in the log, by name; one step down the index for each, however many rows they have."""
    names: list[str] = []
    while len(names) < limit:
        name = tx.execute(_NEXT_USER, {"after": names[-1] if names else after}).scalar()
        if name is None:
            break
        names.append(name)
    return names


_FORGOTTEN = select(k.key, k.publisher).where(k.created_ms <= bindparam("since")).limit(BATCH)
_FORGET_ANSWERS = delete(idempotency).where(tuple_(k.key, k.publisher).in_(_FORGOTTEN))
_POINTLESS = (
    select(x.user_id, x.seq).where(x.seq <= select(meta.c.broadcast_floor).scalar_subquery()).limit(BATCH)
)
_FORGET_SINGLES = delete(broadcast_states).where(tuple_(x.user_id, x.seq).in_(_POINTLESS))


def forget_answers(tx: Transaction) -> int:
    """Delete answers that are older than they are remembered."""
    return tx.execute(_FORGET_ANSWERS, {"since": tx.steady_ms - REMEMBERED_MS}).rowcount


def forget_singles(tx: Transaction) -> int:
    """Delete users' states of announcements that are gone."""
    return tx.execute(_FORGET_SINGLES).rowcount


def drop_without_floor(tx: Transaction, user_id: str, up_to: int) -> int:
    """Delete all own entries of a user up to a seq and raise no floor: only for one who never resumes."""
    return tx.execute(_DROP_OWN, {"user": user_id, "up_to": up_to}).rowcount
