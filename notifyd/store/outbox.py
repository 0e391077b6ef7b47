"""The outbox: mails and webhook calls from the decision to send them until they are sent or given up.

A message is claimed before it is sent: the claim gives a lease and a fencing number, and only the holder of
the newest number can say what came of it. A claim that is not answered ends with its lease.

Every function takes the open `Transaction` first and runs in a store's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from sqlalchemy import bindparam, case, delete, func, select, update

from notifyd.messages import encode_json
from notifyd.store.deliveries import kind_of
from notifyd.store.json_rows import INT, TEXT, rows_of
from notifyd.store.schema import broadcast_states, deliveries, notifications, outbox, preferences, users

if TYPE_CHECKING:
    from notifyd.store.base import Transaction

Status = Literal["waiting", "sent", "dead", "dropped"]

#: Letters of an error that are kept.
MAX_ERROR: Final = 500
#: Notifications that one message tells of.
MAX_ITEMS: Final = 200

o = outbox.c
n = notifications.c
d = deliveries.c
u = users.c
x = broadcast_states.c

# --- claiming ---------------------------------------------------------------------------------------


class Claimed(NamedTuple):
    """A message that is ours until `lease_ms`."""

    message_id: str
    channel: str
    user_id: str
    created_ms: int
    lease_ms: int
    fence: int
    tries: int  # this one included


#: When each that waits can be claimed.
_FREE_MS = case((o.lease_ms > o.due_ms, o.lease_ms), else_=o.due_ms)
_NEXT_DUE = select(func.min(_FREE_MS)).where(o.due_ms.is_not(None))
_DUE = (
    select(o.message_id)
    .where(o.due_ms <= bindparam("now"), o.lease_ms <= bindparam("now"))
    .order_by(o.due_ms, o.message_id)
    .limit(bindparam("most"))
)
_IDS = rows_of("ids", value=TEXT)
_CLAIM = (
    update(outbox)
    .where(o.message_id.in_(select(_IDS.c.value)))
    .values(lease_ms=bindparam("until", type_=INT), fence=o.fence + 1, tries=o.tries + 1)
    .returning(*(o[name] for name in Claimed._fields))
)


def next_due(tx: Transaction) -> int | None:
    """When the next message can be claimed."""
    return tx.execute(_NEXT_DUE).scalar_one_or_none()


def any_due(tx: Transaction, now_ms: int) -> bool:
    """Whether a message can be claimed."""
    return tx.execute(_DUE, {"now": now_ms, "most": 1}).first() is not None


def claim(tx: Transaction, most: int, now_ms: int, until_ms: int) -> list[Claimed]:
    """Take at most so many messages, those first that have been due longest, until a moment."""
    due = tx.execute(_DUE, {"now": now_ms, "most": most}).scalars().all()
    if not due:
        return []
    ids = encode_json([(each,) for each in due]).decode()
    found = [Claimed._make(row) for row in tx.execute(_CLAIM, {"ids": ids, "until": until_ms})]
    return sorted(found, key=lambda each: due.index(each.message_id))


# --- what a message says --------------------------------------------------------------------------------


class Item(NamedTuple):
    """A notification that a message tells of, as it is now."""

    seq: int
    notification_id: str
    type: str
    created_ms: int
    expires_ms: int | None
    rank: int
    data: bytes


class Addressee(NamedTuple):
    """Whom a message is for, as is known now."""

    email: str | None
    bounced_email: str | None
    locale: str | None
    preferences: bytes | None


_ADDRESSEE = (
    select(u.email, u.bounced_email, u.locale, preferences.c.data)
    .join_from(users, preferences, preferences.c.user_id == u.user_id, isouter=True)
    .where(u.user_id == bindparam("user"))
)
_ITEMS = (
    select(n.seq, n.notification_id, n.type, n.created_ms, n.expires_ms, n.state, n.data, x.state)
    .join_from(deliveries, notifications, n.seq == d.seq)
    .join(broadcast_states, (x.user_id == d.user_id) & (x.seq == d.seq), isouter=True)
    .where(d.message_id == bindparam("id"))
    .order_by(d.seq)
    .limit(MAX_ITEMS)
)


def content(tx: Transaction, message_id: str, user_id: str) -> tuple[Addressee, list[Item]]:
    """What a message says, oldest first, and to whom; without what is gone from the log."""
    row = tx.execute(_ADDRESSEE, {"user": user_id}).one_or_none()
    whom = Addressee(None, None, None, None) if row is None else Addressee._make(row)
    items = [
        Item(seq, name, type_, created_ms, expires_ms, max(state, single or 0), bytes(data))
        for seq, name, type_, created_ms, expires_ms, state, data, single in tx.execute(
            _ITEMS, {"id": message_id}
        )
    ]
    return whom, items


# --- what came of it ------------------------------------------------------------------------------------

_OURS = (o.message_id == bindparam("id")) & (o.fence == bindparam("held")) & (o.status == "waiting")
_END = (
    update(outbox)
    .where(_OURS)
    .values(
        status=bindparam("now_is", type_=TEXT),
        due_ms=None,
        lease_ms=0,
        error=bindparam("why", type_=TEXT),
        ended_ms=bindparam("at", type_=INT),
    )
)
_RETRY = (
    update(outbox)
    .where(_OURS)
    .values(due_ms=bindparam("next", type_=INT), lease_ms=0, error=bindparam("why", type_=TEXT))
)
_BOUNCED = (
    update(users)
    .where(u.user_id == bindparam("user"), u.email == bindparam("address"))
    .values(bounced_email=u.email)
)


def end(tx: Transaction, message: Claimed, status: Status, error: str | None, now_ms: int) -> bool:
    """A message has come to its end; False when the claim is not the newest any more."""
    why = None if error is None else error[:MAX_ERROR]
    given = {"id": message.message_id, "held": message.fence, "now_is": status, "why": why, "at": now_ms}
    return tx.execute(_END, given).rowcount == 1


def retry_at(tx: Transaction, message: Claimed, error: str, next_ms: int) -> bool:
    """A try has failed, another follows; False when the claim is not the newest any more."""
    given = {"id": message.message_id, "held": message.fence, "next": next_ms, "why": error[:MAX_ERROR]}
    return tx.execute(_RETRY, given).rowcount == 1


def bounced(tx: Transaction, user_id: str, address: str) -> None:
    """Mail to this address is refused for ever: nothing more is sent until the user has another."""
    tx.execute(_BOUNCED, {"user": user_id, "address": address})


# --- for operators --------------------------------------------------------------------------------------


class Kept(NamedTuple):
    """A message as operators see it."""

    message_id: str
    channel: str
    user_id: str
    status: str
    created_ms: int
    due_ms: int | None
    tries: int
    error: str | None
    ended_ms: int | None


_KEPT = select(*(o[name] for name in Kept._fields))
_LISTED = (
    _KEPT.where(o.status == bindparam("wanted"), o.message_id > bindparam("after"))
    .order_by(o.message_id)
    .limit(bindparam("most"))
)
_COUNTS = (
    select(o.status, o.channel, func.count())
    .where(o.status.in_(("waiting", "dead")))
    .group_by(o.status, o.channel)
)
_REVIVE = (
    update(outbox)
    .where(o.message_id == bindparam("id"), o.status == "dead")
    .values(
        status="waiting",
        created_ms=bindparam("now", type_=INT),
        due_ms=bindparam("now", type_=INT),
        tries=0,
        ended_ms=None,
    )
)
_GIVE_UP = (
    update(outbox)
    .where(o.message_id == bindparam("id"), o.status.in_(("waiting", "dead")))
    .values(status="dropped", due_ms=None, fence=o.fence + 1, ended_ms=bindparam("now", type_=INT))
)


def listed(tx: Transaction, status: Status, after: str, limit: int) -> list[Kept]:
    """Messages of one status in the order of their ids."""
    given = {"wanted": status, "after": after, "most": limit}
    return [Kept._make(row) for row in tx.execute(_LISTED, given)]


def counts(tx: Transaction) -> dict[tuple[str, str], int]:
    """How many messages wait and how many are dead letters, by status and kind of channel."""
    found: dict[tuple[str, str], int] = {}
    for status, channel, count in tx.execute(_COUNTS):
        kind = kind_of(channel)
        found[status, kind] = found.get((status, kind), 0) + count
    return found


def revive(tx: Transaction, message_id: str) -> bool:
    """Send a dead letter after all, with all its tries anew; False when there is none of this id."""
    return tx.execute(_REVIVE, {"id": message_id, "now": tx.now_ms}).rowcount == 1


def give_up(tx: Transaction, message_id: str) -> bool:
    """Never send a message that waits or is dead; False when there is none of this id."""
    return tx.execute(_GIVE_UP, {"id": message_id, "now": tx.now_ms}).rowcount == 1


_OLD = select(o.message_id).where(o.status.in_(("sent", "dropped", "dead")), o.ended_ms < bindparam("before"))


def forget(tx: Transaction, before_ms: int, limit: int) -> int:
    """Delete at most `limit` messages that ended before a moment; how many it were."""
    return tx.execute(
        delete(outbox).where(o.message_id.in_(_OLD.limit(limit))), {"before": before_ms}
    ).rowcount
