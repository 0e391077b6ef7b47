"""A user's inbox as a list: pages in both directions, each notification in its current state, what is unread.

Every function takes the open `Transaction` first and runs in a store's thread.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import and_, bindparam, case, exists, func, literal, or_, select, union_all

from notifyd.store.json_rows import records, together
from notifyd.store.log import ENTRY_COLUMNS, UNREAD, WITHDRAWN, entries_of, entry_columns, not_expired
from notifyd.store.schema import broadcast_states, notifications

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select

    from notifyd.store.base import Entry, Transaction
    from notifyd.store.users import Marks

n = notifications.c
x = broadcast_states.c


class Line(NamedTuple):
    """One notification and the rank of its state."""

    entry: Entry
    rank: int


class _Rank(NamedTuple):
    seq: int
    rank: int


@cache
def _page(forward: bool, filtered: bool) -> Select[*tuple[Any, ...]]:
    """One page of the seqs between `after` and `before`, both left out."""
    listed = and_(n.seq > bindparam("after"), n.seq < bindparam("before"), n.state < WITHDRAWN, not_expired())
    own_rank = _rank(or_, news=False)
    own = select(*ENTRY_COLUMNS, own_rank.label("rank")).where(n.user_id == bindparam("user"), listed)
    news_rank = _rank(or_, news=True)
    single = and_(x.user_id == bindparam("user"), x.seq == n.seq)
    news = (
        select(*ENTRY_COLUMNS, news_rank.label("rank"))
        .join_from(notifications, broadcast_states, single, isouter=True)
        .where(n.user_id.is_(None), listed)
    )
    if filtered:
        own, news = own.where(own_rank == bindparam("rank")), news.where(news_rank == bindparam("rank"))
    both = union_all(own, news).subquery("inbox")
    ordered = select(both).order_by(both.c.seq if forward else both.c.seq.desc())
    first = ordered.limit(bindparam("rows")).subquery("page")
    return select(together(*entry_columns(first)), together(first.c.seq, first.c.rank))


def _rank(either: Any, *, news: bool) -> ColumnElement[int]:
    """The rank by the user's marks, or by the notification's own state where that is higher."""

    def reached(rank: int, mark: str) -> tuple[ColumnElement[bool], ColumnElement[int]]:
        single = [x.state == rank] if news else []
        return either(n.seq <= bindparam(mark), n.state == rank, *single), literal(rank)

    last = "news_seen" if news else "seen"
    return case(reached(3, "archived"), reached(2, "read"), reached(1, last), else_=literal(UNREAD))


def page(
    tx: Transaction,
    user_id: str,
    got: Marks,
    *,
    after: int,
    before: int,
    forward: bool,
    rank: int | None,
    limit: int,
) -> list[Line]:
    """At most `limit` notifications with `after` < seq < `before`: from the oldest up, or the newest down."""
    given = {
        "user": user_id,
        "after": after,
        "before": before,
        "now": tx.now_ms,
        "rows": limit,
        "archived": got.at_least(3),
        "read": got.at_least(2),
        "seen": got.at_least(1),
        "news_seen": got.news_after(1),
    }
    if rank is not None:
        given["rank"] = rank
    rows, ranks = tx.execute(_page(forward, rank is not None), given).one()
    rank_of = dict(records(ranks or "[]", _Rank))
    lines = [Line(entry, rank_of[entry.seq]) for entry in entries_of(rows)]
    return lines if forward else lines[::-1]


_UNREAD = and_(n.seq > bindparam("after"), n.state == UNREAD, not_expired())
_OWN_UNREAD = select(func.count()).select_from(notifications).where(n.user_id == bindparam("user"), _UNREAD)
_NEWS_UNREAD = (
    select(func.count())
    .select_from(notifications)
    .where(n.user_id.is_(None), _UNREAD, ~exists().where(x.user_id == bindparam("user"), x.seq == n.seq))
)


def unread(tx: Transaction, user_id: str, got: Marks) -> int:
    """How many notifications are unread."""
    given = {"user": user_id, "now": tx.now_ms}
    own = tx.execute(_OWN_UNREAD, given | {"after": got.at_least(1)}).scalar_one()
    news = tx.execute(_NEWS_UNREAD, given | {"after": got.news_after(1)}).scalar_one()
    return int(own + news)
