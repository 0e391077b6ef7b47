"""Deliveries: what is to be told to whom by mail or webhook, from the notification's commit to a decision.

Every function takes the open `Transaction` first and runs in a store's thread.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Raw  # noqa: TC002 - msgspec looks at the fields
from sqlalchemy import and_, bindparam, delete, func, insert, literal, select, tuple_, update

from notifyd.messages import encode_json
from notifyd.store.json_rows import INT, TEXT, document, json_of, records, rows_of, together
from notifyd.store.log import UPDATED
from notifyd.store.schema import (
    announcements,
    broadcast_states,
    deliveries,
    meta,
    notifications,
    outbox,
    preferences,
    users,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from notifyd.store.base import Entry, Transaction

MAIL: Final = "mail"
WEBHOOK: Final = "webhook:"
#: Users that an announcement reaches in one transaction.
SPREAD: Final = 500
#: Users and deliveries that are decided on at once.
LOOK_USERS: Final = 100
LOOK_ROWS: Final = 2000

d = deliveries.c
n = notifications.c
u = users.c
x = broadcast_states.c


def kind_of(channel: str) -> str:
    """`mail`, or `webhook` for each publisher's."""
    return channel.partition(":")[0]


# --- in the notification's own transaction ------------------------------------------------------------

_COLUMNS = ["user_id", "seq", "channel", "due_ms"]
_RANGE = and_(n.seq > bindparam("after"), n.seq <= bindparam("up_to"), n.state.is_not(None))
#: Only rows of users with an address become deliveries; for all others it is a look into an index.
_ADD_MAIL = insert(deliveries).from_select(
    _COLUMNS,
    select(n.user_id, n.seq, literal(MAIL, TEXT), n.created_ms)
    .join_from(notifications, users, and_(u.user_id == n.user_id, u.email.is_not(None)))
    .where(_RANGE),
)
_ADD_WEBHOOK = insert(deliveries).from_select(
    _COLUMNS,
    select(n.user_id, n.seq, bindparam("channel", type_=TEXT), n.created_ms).where(
        _RANGE, n.user_id.is_not(None)
    ),
)


class Span(NamedTuple):
    """The rows after `after` up to `up_to` are of one publisher; None: of the server itself, as deals are."""

    publisher: str | None
    after: int
    up_to: int


class Channels:
    """The ways by which users are told who are not there; `deliver` joins each writing of notifications."""

    def __init__(self, *, mail: bool) -> None:
        self.mail = mail
        self.webhooks: frozenset[str] = frozenset()  # publishers that have one

    @property
    def any(self) -> bool:
        return self.mail or bool(self.webhooks)

    def deliver(self, tx: Transaction, entries: Sequence[Entry], spans: Iterable[Span]) -> None:
        """Note what is to be told of the entries that were just appended, in the same transaction."""
        if not self.any:
            return
        fresh = [entry for entry in entries if entry.type != UPDATED]
        if self.mail and fresh:
            tx.execute(_ADD_MAIL, {"after": fresh[0].seq - 1, "up_to": fresh[-1].seq})
            everyones = [(entry.seq, "") for entry in fresh if entry.user_id is None]
            tx.insert_rows(announcements, ("seq", "after_user"), everyones)
        for span in spans if self.webhooks else ():
            for publisher in self.webhooks if span.publisher is None else self.webhooks & {span.publisher}:
                given = {"channel": WEBHOOK + publisher, "after": span.after, "up_to": span.up_to}
                tx.execute(_ADD_WEBHOOK, given)


# --- announcements --------------------------------------------------------------------------------------

_NEXT_ANNOUNCEMENT = select(announcements.c.seq, announcements.c.after_user).order_by(announcements.c.seq)
_some_users = (
    select(u.user_id)
    .where(u.user_id > bindparam("after"), u.email.is_not(None))
    .order_by(u.user_id)
    .limit(SPREAD)
    .subquery("some_users")
)
_SPREAD_TO = select(func.max(_some_users.c.user_id), func.count())
_ANNOUNCED_MS = select(n.created_ms).where(n.seq == bindparam("seq")).scalar_subquery()
_SPREAD = insert(deliveries).from_select(
    _COLUMNS,
    select(
        u.user_id, bindparam("seq", type_=INT), literal(MAIL, TEXT), func.coalesce(_ANNOUNCED_MS, 0)
    ).where(u.user_id > bindparam("after"), u.user_id <= bindparam("up_to"), u.email.is_not(None)),
)
_ADVANCE = (
    update(announcements)
    .where(announcements.c.seq == bindparam("at"))
    .values(after_user=bindparam("reached"))
)
_SPREAD_OUT = delete(announcements).where(announcements.c.seq == bindparam("at"))


def any_announcement(tx: Transaction) -> bool:
    """Whether an announcement has yet to reach somebody."""
    return tx.execute(_NEXT_ANNOUNCEMENT.limit(1)).first() is not None


def spread(tx: Transaction) -> bool:
    """Let the oldest announcement reach the next SPREAD users with an address; whether there was one."""
    found = tx.execute(_NEXT_ANNOUNCEMENT.limit(1)).first()
    if found is None:
        return False
    seq, after = found
    reached, count = tx.execute(_SPREAD_TO, {"after": after}).one()
    if count:
        tx.execute(_SPREAD, {"seq": seq, "after": after, "up_to": reached})
    if count < SPREAD:
        tx.execute(_SPREAD_OUT, {"at": seq})
    else:
        tx.execute(_ADVANCE, {"at": seq, "reached": reached})
    return True


# --- deciding ---------------------------------------------------------------------------------------


class Pending(NamedTuple):
    """A delivery that is due, and all that decides on it. `type` None: the notification is gone."""

    user_id: str
    seq: int
    channel: str
    due_ms: int
    waits_for: str | None
    type: str | None
    created_ms: int | None
    expires_ms: int | None
    state: int | None
    single: int | None  # the user's own state of an announcement
    ack_seq: int | None
    seen_seq: int | None
    read_seq: int | None
    archived_seq: int | None
    email: str | None
    bounced_email: str | None
    time_zone: str | None
    preferences: Raw  # `null` when nothing was ever said


_NEXT_DUE = select(func.min(d.due_ms))
_DUE_USERS = (
    select(d.user_id).where(d.due_ms <= bindparam("now")).order_by(d.due_ms, d.user_id).limit(LOOK_USERS * 4)
)
_WANTED = rows_of("ids", value=TEXT)
_DUE_EACH = (
    select(d.user_id, func.count())
    .where(d.user_id.in_(select(_WANTED.c.value)), d.due_ms <= bindparam("now"))
    .group_by(d.user_id)
)
_found = (
    select(
        d.user_id,
        d.seq,
        d.channel,
        d.due_ms,
        d.waits_for,
        n.type,
        n.created_ms,
        n.expires_ms,
        n.state,
        x.state.label("single"),
        u.ack_seq,
        u.seen_seq,
        u.read_seq,
        u.archived_seq,
        u.email,
        u.bounced_email,
        u.time_zone,
        preferences.c.data.label("preferences"),
    )
    .join_from(deliveries, notifications, n.seq == d.seq, isouter=True)
    .join(users, u.user_id == d.user_id, isouter=True)
    .join(broadcast_states, and_(x.user_id == d.user_id, x.seq == d.seq), isouter=True)
    .join(preferences, preferences.c.user_id == d.user_id, isouter=True)
    .where(d.user_id.in_(select(_WANTED.c.value)), d.due_ms <= bindparam("now"))
    .order_by(d.seq)
    .limit(bindparam("most"))
    .subquery("found")
)
_FOUND = select(together(*(document(c) if c.name == "preferences" else c for c in _found.c)))
_SEQS = rows_of("seqs", value=INT)
_MESSAGES = select(n.seq, n.data).where(
    n.seq.in_(select(_SEQS.c.value)), n.type == "system-message", n.state.is_not(None)
)


def next_due(tx: Transaction) -> int | None:
    """When the next delivery is to be decided on."""
    return tx.execute(_NEXT_DUE).scalar_one_or_none()


def due_users(tx: Transaction, now_ms: int) -> list[str]:
    """The users of the deliveries that have been due longest: at most LOOK_USERS, and no more than have
    LOOK_ROWS in all, unless the first alone has."""
    found = list(dict.fromkeys(tx.execute(_DUE_USERS, {"now": now_ms}).scalars()))[:LOOK_USERS]
    counted = tx.execute(_DUE_EACH, {"ids": _ids(found), "now": now_ms}) if found else ()
    rows_of_user = {row[0]: row[1] for row in counted}
    sums = accumulate(rows_of_user.get(user_id, 0) for user_id in found)
    return found[: max(1, sum(rows <= LOOK_ROWS for rows in sums))]


def _ids(user_ids: Sequence[str]) -> str:
    return encode_json([(each,) for each in user_ids]).decode()


def pending(tx: Transaction, user_ids: Sequence[str], now_ms: int) -> tuple[list[Pending], dict[int, bytes]]:
    """What is due of these users, the oldest LOOK_ROWS at most, and the data of their system messages."""
    given = {"ids": _ids(user_ids), "now": now_ms, "most": LOOK_ROWS}
    found = sorted(records(json_of(tx, _FOUND, given), Pending), key=lambda each: each.seq)
    seqs = {each.seq for each in found if each.type == "system-message"}
    wanted = encode_json([(seq,) for seq in seqs]).decode()
    rows = tx.execute(_MESSAGES, {"seqs": wanted}).all() if seqs else ()
    return found, {row[0]: bytes(row[1]) for row in rows}


class Decided(NamedTuple):
    """What becomes of a delivery: it waits until `due_ms`, goes into `message_id`, or not, for `reason`."""

    user_id: str
    seq: int
    channel: str
    was_due_ms: int
    due_ms: int | None
    waits_for: str | None
    reason: str | None
    message_id: str | None


class NewMessage(NamedTuple):
    """A row of the outbox."""

    message_id: str
    channel: str
    user_id: str


_rows = rows_of(
    "rows",
    user_id=TEXT,
    seq=INT,
    channel=TEXT,
    was_due_ms=INT,
    due_ms=INT,
    waits_for=TEXT,
    reason=TEXT,
    message_id=TEXT,
)
#: A delivery that has changed since it was looked at is left for the next look.
_SETTLE = (
    update(deliveries)
    .where(
        d.user_id == _rows.c.user_id,
        d.seq == _rows.c.seq,
        d.channel == _rows.c.channel,
        d.due_ms == _rows.c.was_due_ms,
    )
    .values(
        {name: _rows.c[name] for name in ("due_ms", "waits_for", "reason", "message_id")}
        | {"decided_ms": bindparam("now", type_=INT)}
    )
)
_MESSAGE_COLUMNS = (
    "message_id",
    "channel",
    "user_id",
    "status",
    "created_ms",
    "due_ms",
    "lease_ms",
    "fence",
    "tries",
)


def settle(tx: Transaction, decided: Sequence[Decided], messages: Sequence[NewMessage], now_ms: int) -> None:
    """Note what was decided, and put new messages into the outbox, due at once."""
    if decided:
        tx.execute(_SETTLE, {"rows": encode_json(decided).decode(), "now": now_ms})
    rows = [(*message, "waiting", now_ms, now_ms, 0, 0, 0) for message in messages]
    tx.insert_rows(outbox, _MESSAGE_COLUMNS, rows)


_LEAVE_OUT = (
    update(deliveries)
    .where(
        d.user_id == bindparam("user"),
        d.seq == bindparam("at"),
        d.channel == bindparam("by"),
    )
    .values(reason=bindparam("why", type_=TEXT))
)


def leave_out(tx: Transaction, user_id: str, channel: str, why: Iterable[tuple[int, str]]) -> None:
    """Note of deliveries that their message went without them: each seq and its reason."""
    rows = [{"user": user_id, "by": channel, "at": seq, "why": reason} for seq, reason in why]
    if rows:
        tx.execute(_LEAVE_OUT, rows)


_REPLAN = (
    update(deliveries)
    .where(d.user_id == bindparam("user"), d.due_ms.is_not(None))
    .values(due_ms=bindparam("now", type_=INT), waits_for=None)
)


def replan(tx: Transaction, user_id: str) -> None:
    """Decide anew on all that waits for this user."""
    tx.execute(_REPLAN, {"user": user_id, "now": tx.now_ms})


# --- when the log has forgotten -------------------------------------------------------------------------

_OLDEST = select(func.coalesce(func.min(n.seq), select(meta.c.head).scalar_subquery() + 1)).scalar_subquery()
_FORGOTTEN = (
    select(d.user_id, d.seq, d.channel).where(d.seq < _OLDEST, d.due_ms.is_(None)).limit(bindparam("most"))
)
_FORGET = delete(deliveries).where(tuple_(d.user_id, d.seq, d.channel).in_(_FORGOTTEN))


def forget(tx: Transaction, limit: int) -> int:
    """Delete at most `limit` decided deliveries of notifications that are gone; how many it were."""
    return tx.execute(_FORGET, {"most": limit}).rowcount


# --- for the trace --------------------------------------------------------------------------------------


class Told(NamedTuple):
    """What became of one notification for one user by one channel."""

    channel: str
    due_ms: int | None
    waits_for: str | None
    reason: str | None
    status: str | None
    ended_ms: int | None
    error: str | None


_TOLD = (
    select(d.channel, d.due_ms, d.waits_for, d.reason, outbox.c.status, outbox.c.ended_ms, outbox.c.error)
    .join_from(deliveries, outbox, outbox.c.message_id == d.message_id, isouter=True)
    .where(d.user_id == bindparam("user"), d.seq == bindparam("seq"))
    .order_by(d.channel)
)


def told(tx: Transaction, user_id: str, seq: int) -> list[Told]:
    """What became of a notification by each channel; mail first."""
    return [Told._make(row) for row in tx.execute(_TOLD, {"user": user_id, "seq": seq})]
