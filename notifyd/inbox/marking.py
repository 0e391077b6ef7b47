"""Marks and withdrawals. Each is an entry of the log too, so that every tab and device hears of it.

The functions give what joins a writer's group: they run in the store's thread. What is refused is given
back, not raised, since raising would undo the whole group; so they refuse before they write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from notifyd.errors import NotFound
from notifyd.messages import STATE_RANK, Cursor, NotificationUpdated, encode_json
from notifyd.store import log, users
from notifyd.store.base import NewEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifyd.inbox.group import Work
    from notifyd.messages import MarkState
    from notifyd.store.base import Transaction


def mark_each(user_id: str, state: MarkState, notification_ids: Sequence[str], *, newcomer: int) -> Work:
    """Raise the state of the named notifications. Gives NotFound when one is not this user's."""
    rank = STATE_RANK[state]
    wanted = list(dict.fromkeys(notification_ids))

    def work(tx: Transaction) -> tuple[Sequence[NewEntry], NotFound | None]:
        found = users.find(tx, user_id, wanted)
        missing = [each for each in wanted if each not in found]
        if missing:
            return (), NotFound("this user has no such notification", notification_ids=missing)
        got = users.marks(tx, user_id, newcomer)
        rising = {
            name: known
            for name, known in found.items()
            if max(known.rank, got.rank(known.seq, everyone=known.everyone)) < rank
        }
        if not rising:
            return (), None
        users.raise_single(tx, user_id, rank, rising.values())
        told = NotificationUpdated(state, [each for each in wanted if each in rising])
        return [_entry(tx, user_id, told)], None

    return work


def mark_up_to(user_id: str, state: MarkState, up_to: int, *, epoch: str, newcomer: int) -> Work:
    """Raise the state of everything up to a seq; beyond the head it means the head."""
    rank = STATE_RANK[state]

    def work(tx: Transaction) -> tuple[Sequence[NewEntry], None]:
        limit = min(up_to, log.head(tx))
        got = users.marks(tx, user_id, newcomer)
        if not users.any_below(tx, user_id, got, rank, limit):
            return (), None
        users.raise_mark(tx, user_id, rank, limit)
        told = NotificationUpdated(state, up_to=str(Cursor(epoch, limit)))
        return [_entry(tx, user_id, told)], None

    return work


def withdraw(notification_id: str) -> Work:
    """Take a notification back from all it was for. Gives NotFound when there is none of this id."""

    def work(tx: Transaction) -> tuple[Sequence[NewEntry], NotFound | None]:
        concerned = users.withdraw(tx, notification_id)
        if concerned is None:
            return (), NotFound("there is no such notification")
        told = NotificationUpdated("withdrawn", [notification_id])
        return [_entry(tx, user_id, told) for user_id in dict.fromkeys(concerned)], None

    return work


def _entry(tx: Transaction, user_id: str | None, told: NotificationUpdated) -> NewEntry:
    return NewEntry(None, user_id, log.UPDATED, encode_json(told), tx.now_ms)
