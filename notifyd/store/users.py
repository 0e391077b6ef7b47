"""What is known of each user: marks, single states, floors, acknowledgements, first appearance.

Every function takes the open `Transaction` first and runs in a store's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import and_, bindparam, delete, exists, null, select, union_all, update

from notifyd.messages import STATE_RANK, encode_json
from notifyd.store.json_rows import INT, TEXT, rows_of
from notifyd.store.log import WITHDRAWN, not_expired
from notifyd.store.schema import broadcast_states, meta, notifications, users

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from notifyd.store.base import Transaction

SEEN = STATE_RANK["seen"]

n = notifications.c
x = broadcast_states.c
u = users.c


# --- marks ------------------------------------------------------------------------------------------


class Marks(NamedTuple):
    """How far a user has got; each is a seq up to which everything is at least in that state.

    `appeared` counts for announcements only: what was announced before a user was first met is not news.
    """

    appeared: int
    seen: int = 0
    read: int = 0
    archived: int = 0

    def at_least(self, rank: int) -> int:
        """The seq up to which every notification has at least this rank."""
        return max(self[rank:])

    def news_after(self, rank: int) -> int:
        """The seq up to which every announcement has at least this rank."""
        return max(self.at_least(rank), self.appeared if rank <= SEEN else 0)

    def rank(self, seq: int, *, everyone: bool) -> int:
        """The rank that these marks alone give."""
        for rank in (3, 2, 1):
            if seq <= (self.news_after(rank) if everyone else self.at_least(rank)):
                return rank
        return 0


_MARKS = select(u.appeared_seq, u.seen_seq, u.read_seq, u.archived_seq).where(u.user_id == bindparam("user"))


def marks(tx: Transaction, user_id: str, newcomer: int) -> Marks:
    """How far a user has got; `newcomer` stands for the first appearance of one who was not met before."""
    row = tx.execute(_MARKS, {"user": user_id}).one_or_none()
    if row is None:
        return Marks(newcomer)
    return Marks(newcomer if row[0] is None else row[0], *row[1:])


_COLUMN = {
    STATE_RANK["seen"]: "seen_seq",
    STATE_RANK["read"]: "read_seq",
    STATE_RANK["archived"]: "archived_seq",
}
_SINGLE_UP_TO = delete(broadcast_states).where(
    x.user_id == bindparam("user"), x.seq <= bindparam("up_to"), x.state <= bindparam("rank")
)


def raise_mark(tx: Transaction, user_id: str, rank: int, up_to: int) -> None:
    """Everything up to `up_to` now has at least this rank."""
    _raise(tx, _COLUMN[rank], [(user_id, up_to)])
    tx.execute(_SINGLE_UP_TO, {"user": user_id, "up_to": up_to, "rank": rank})


def _raise(tx: Transaction, column: str, rows: Sequence[tuple[str, int]]) -> None:
    conflict = (
        f"ON CONFLICT (user_id) DO UPDATE SET {column} = excluded.{column} "
        f"WHERE users.{column} < excluded.{column}"
    )
    tx.insert_rows(users, ("user_id", column), rows, conflict)


_RANGE = and_(n.seq > bindparam("after"), n.seq <= bindparam("up_to"), not_expired())
_OWN_BELOW = select(exists().where(n.user_id == bindparam("user"), _RANGE, n.state < bindparam("rank")))
_HAS_SINGLE = exists().where(x.user_id == bindparam("user"), x.seq == n.seq, x.state >= bindparam("rank"))
_NEWS_BELOW = select(exists().where(n.user_id.is_(None), _RANGE, n.state < WITHDRAWN, ~_HAS_SINGLE))


def any_below(tx: Transaction, user_id: str, got: Marks, rank: int, up_to: int) -> bool:
    """Whether a listed notification up to `up_to` has less than this rank."""
    given = {"user": user_id, "up_to": up_to, "rank": rank, "now": tx.now_ms}
    own = tx.execute(_OWN_BELOW, given | {"after": got.at_least(rank)}).scalar_one()
    return bool(own or tx.execute(_NEWS_BELOW, given | {"after": got.news_after(rank)}).scalar_one())


# --- single states ----------------------------------------------------------------------------------


class Known(NamedTuple):
    """One notification of a user; `rank` without what the marks add."""

    seq: int
    everyone: bool
    rank: int


_IDS = rows_of("ids", value=TEXT)
_SEQS = rows_of("seqs", value=INT)
_WANTED = n.notification_id.in_(select(_IDS.c.value))
_FIND = union_all(
    select(n.notification_id, n.seq, n.user_id, n.state, null().label("single")).where(
        n.user_id == bindparam("user"), _WANTED
    ),
    select(n.notification_id, n.seq, n.user_id, n.state, x.state)
    .join_from(
        notifications,
        broadcast_states,
        and_(x.user_id == bindparam("user"), x.seq == n.seq),
        isouter=True,
    )
    .where(n.user_id.is_(None), _WANTED),
)
_SET = update(notifications).where(n.seq.in_(select(_SEQS.c.value))).values(state=bindparam("rank"))


def find(tx: Transaction, user_id: str, notification_ids: Collection[str]) -> dict[str, Known]:
    """Those of the named notifications that this user has."""
    ids = encode_json([[each] for each in notification_ids]).decode()
    found = tx.execute(_FIND, {"user": user_id, "ids": ids})
    return {row[0]: Known(row[1], everyone=row[2] is None, rank=max(row[3], row[4] or 0)) for row in found}


def raise_single(tx: Transaction, user_id: str, rank: int, found: Iterable[Known]) -> None:
    """These notifications now have this rank for this user."""
    own: list[list[int]] = []
    news: list[tuple[str, int, int]] = []
    for known in found:
        if known.everyone:
            news.append((user_id, known.seq, rank))
        else:
            own.append([known.seq])
    if own:
        tx.execute(_SET, {"seqs": encode_json(own).decode(), "rank": rank})
    conflict = "ON CONFLICT (user_id, seq) DO UPDATE SET state = excluded.state"
    tx.insert_rows(broadcast_states, ("user_id", "seq", "state"), news, conflict)


_ADDRESSEES = select(n.user_id, n.state).where(n.notification_id == bindparam("id")).order_by(n.seq)
_WITHDRAW = update(notifications).where(n.notification_id == bindparam("id")).values(state=WITHDRAWN)


def withdraw(tx: Transaction, notification_id: str) -> list[str | None] | None:
    """Take a notification back; whom it concerns (None among them: everyone), empty when it was already.

    None when there is no such notification.
    """
    found = tx.execute(_ADDRESSEES, {"id": notification_id}).all()
    if not found:
        return None
    concerned = [user_id for user_id, state in found if state != WITHDRAWN]
    if concerned:
        tx.execute(_WITHDRAW, {"id": notification_id})
    return concerned


# --- floors -----------------------------------------------------------------------------------------

_FLOORS = select(
    meta.c.broadcast_floor, select(u.floor).where(u.user_id == bindparam("user")).scalar_subquery()
)


def floor(tx: Transaction, user_id: str) -> int:
    """The seq above which nothing that concerns this user has been trimmed."""
    everyone, own = tx.execute(_FLOORS, {"user": user_id}).one()
    return int(max(everyone, own or 0))


def raise_floors(tx: Transaction, floors: dict[str, int]) -> None:
    """Own entries of these users up to these seqs are gone."""
    _raise(tx, "floor", list(floors.items()))


# --- acknowledgements and appearances ---------------------------------------------------------------


class Acknowledged(NamedTuple):
    """The newest seq that one of a user's connections has confirmed, and when."""

    seq: int
    connection_id: str
    at_ms: int


def acknowledge(tx: Transaction, given: dict[str, Acknowledged]) -> None:
    """Note how far users have received; never goes back."""
    rows = [(user_id, ack.seq, ack.at_ms, ack.connection_id) for user_id, ack in given.items()]
    conflict = (
        "ON CONFLICT (user_id) DO UPDATE SET ack_seq = excluded.ack_seq, ack_ms = excluded.ack_ms, "
        "ack_connection = excluded.ack_connection WHERE users.ack_seq < excluded.ack_seq"
    )
    tx.insert_rows(users, ("user_id", "ack_seq", "ack_ms", "ack_connection"), rows, conflict)


_ACK = select(u.ack_seq, u.ack_connection, u.ack_ms).where(
    u.user_id == bindparam("user"), u.ack_ms.is_not(None)
)


def acknowledged(tx: Transaction, user_id: str) -> Acknowledged | None:
    """How far this user has received, or None when no connection ever said."""
    row = tx.execute(_ACK, {"user": user_id}).one_or_none()
    return None if row is None else Acknowledged(*row)


def appeared(tx: Transaction, heads: dict[str, int]) -> None:
    """Note where the log stood when these users were first met; what is known already stays."""
    conflict = (
        "ON CONFLICT (user_id) DO UPDATE SET appeared_seq = excluded.appeared_seq "
        "WHERE users.appeared_seq IS NULL"
    )
    tx.insert_rows(users, ("user_id", "appeared_seq"), list(heads.items()), conflict)
