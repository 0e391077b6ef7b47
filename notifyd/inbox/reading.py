"""How a user reads back: whether a cursor can be continued from, and pages of the inbox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from notifyd.inbox.records import Listed, Listing
from notifyd.messages import RANK_STATE, STATE_RANK, Cursor, parse_cursor
from notifyd.store import listing, log, users

if TYPE_CHECKING:
    from notifyd.messages import RecoveryReason, State
    from notifyd.store.base import Transaction
    from notifyd.store.users import Marks


def prove(text: str | None, epoch: str, head: int) -> Cursor | RecoveryReason:
    """The cursor, or why it cannot be one of this log; floors are not looked at."""
    if text is None:
        return "no-cursor"
    cursor = parse_cursor(text)
    if cursor is None:
        return "malformed"
    if cursor.epoch != epoch:
        return "other-epoch"
    return cursor if cursor.seq <= head else "future"


@dataclass(frozen=True)
class Question:
    """One page asked for; at most one of `since` and `before`."""

    user_id: str
    epoch: str
    newcomer: int  # the user's first appearance, should the store not know of one
    since: str | None
    before: str | None
    limit: int
    state: State | None


def answer(tx: Transaction, asked: Question) -> Listing:
    """The page, its cursor and the count of unread from one snapshot. Runs in the store's thread."""
    head = log.head(tx)
    got = users.marks(tx, asked.user_id, asked.newcomer)
    if asked.since is not None:
        return _forward(tx, asked, got, head)
    return _backward(tx, asked, got, head)


def _forward(tx: Transaction, asked: Question, got: Marks, head: int) -> Listing:
    proven = prove(asked.since, asked.epoch, head)
    reason: RecoveryReason | None = None if isinstance(proven, Cursor) else proven
    after = proven.seq if isinstance(proven, Cursor) else 0
    if reason is None and after < users.floor(tx, asked.user_id):
        reason = "trimmed"
    lines = _page(tx, asked, got, after=after, before=head + 1, forward=True, limit=asked.limit + 1)
    more = len(lines) > asked.limit
    lines = lines[: asked.limit]
    return _listing(tx, asked, got, lines, lines[-1].entry.seq if more else head, reason)


def _backward(tx: Transaction, asked: Question, got: Marks, head: int) -> Listing:
    reason: RecoveryReason | None = None
    before = head + 1
    if asked.before is not None:
        proven = prove(asked.before, asked.epoch, head)
        if isinstance(proven, Cursor):
            before = proven.seq
        else:
            reason = proven
    lines = _page(tx, asked, got, after=0, before=before, forward=False, limit=asked.limit)
    oldest = lines[-1].entry.seq if lines else min(before, head)
    return _listing(tx, asked, got, lines, head if asked.before is None else oldest, reason)


def _page(
    tx: Transaction, asked: Question, got: Marks, *, after: int, before: int, forward: bool, limit: int
) -> list[listing.Line]:
    rank = None if asked.state is None else STATE_RANK[asked.state]
    return listing.page(
        tx, asked.user_id, got, after=after, before=before, forward=forward, rank=rank, limit=limit
    )


def _listing(
    tx: Transaction,
    asked: Question,
    got: Marks,
    lines: list[listing.Line],
    cursor: int,
    reason: RecoveryReason | None,
) -> Listing:
    items = [Listed(line.entry, RANK_STATE[line.rank]) for line in lines]
    unread = listing.unread(tx, asked.user_id, got)
    return Listing(items, Cursor(asked.epoch, cursor), unread, recovered=reason is None, reason=reason)
