"""When deals end: which notifications have nothing left to offer, and taking them back unless they were read.

Every function takes the open `Transaction` first and runs in a store's thread.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, exists, or_, select, update

from notifyd.messages import STATE_RANK, encode_json
from notifyd.store.json_rows import TEXT, rows_of
from notifyd.store.log import WITHDRAWN
from notifyd.store.schema import deal_ends, notifications, users

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifyd.store.base import Transaction

#: Notifications that one transaction looks at.
BATCH = 200

n = notifications.c
e = deal_ends.c

_NEXT = select(e.ends_ms).order_by(e.ends_ms).limit(1)
_DUE = select(e.notification_id).where(e.ends_ms <= bindparam("now")).order_by(e.ends_ms).limit(BATCH)
_ids = rows_of("ids", notification_id=TEXT)
_IDS = select(_ids.c.notification_id)
_HAS_READ = exists().where(
    users.c.user_id == n.user_id, or_(users.c.read_seq >= n.seq, users.c.archived_seq >= n.seq)
)
_WITHDRAW = (
    update(notifications)
    .where(n.notification_id.in_(_IDS), n.user_id.is_not(None), n.state < STATE_RANK["read"], ~_HAS_READ)
    .values(state=WITHDRAWN)
    .returning(n.user_id, n.notification_id)
)
_FORGET = delete(deal_ends).where(e.notification_id.in_(_IDS))


def add(tx: Transaction, ends: Sequence[tuple[str, int]]) -> None:
    """Note when the last deal of each of these notifications ends."""
    tx.insert_rows(deal_ends, ("notification_id", "ends_ms"), ends)


def next_end(tx: Transaction) -> int | None:
    """The next moment at which a notification has no deal left."""
    return tx.execute(_NEXT).scalar_one_or_none()


def withdraw_ended(tx: Transaction, now_ms: int) -> tuple[dict[str, list[str]], bool]:
    """Withdraw what has no deal left and was not read; what was, each user's, and whether more is due.

    A notification that was read or archived stays as it is: its reader may want to look at it again.
    """
    due = tx.execute(_DUE, {"now": now_ms}).scalars().all()
    withdrawn: dict[str, list[str]] = defaultdict(list)
    if due:
        ids = encode_json([(each,) for each in due]).decode()
        for user_id, notification_id in tx.execute(_WITHDRAW, {"ids": ids}).all():
            withdrawn[user_id].append(notification_id)
        tx.execute(_FORGET, {"ids": ids})
    return withdrawn, len(due) == BATCH
