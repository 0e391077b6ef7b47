"""The log itself: handing out seqs, appending, reading pages in order, and remembered answers.

Every function takes the open `Transaction` first and runs in a store's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from sqlalchemy import and_, bindparam, func, or_, select, union_all, update

from notifyd.messages import STATE_RANK, encode_json
from notifyd.store.base import Entry, LogPage
from notifyd.store.json_rows import TEXT, document, rows_of, together
from notifyd.store.schema import idempotency, meta, notifications, users

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import ColumnElement, CursorResult, FromClause, Select

    from notifyd.store.base import NewEntry, Transaction

UPDATED = "notification-updated"
UNREAD = STATE_RANK["unread"]
WITHDRAWN = STATE_RANK["withdrawn"]
#: How long a publisher's Idempotency-Key is remembered, in milliseconds.
REMEMBERED_MS = 24 * 3600 * 1000

n = notifications.c
ENTRY_COLUMNS = (n.seq, n.user_id, n.type, n.data, n.created_ms, n.expires_ms, n.notification_id)
_COLUMNS = ("seq", "notification_id", "user_id", "type", "created_ms", "expires_ms", "state", "data")


def not_expired() -> ColumnElement[bool]:
    """Bound parameter: `now`."""
    return or_(n.expires_ms.is_(None), n.expires_ms > bindparam("now"))


def shown() -> ColumnElement[bool]:
    """What readers get: neither withdrawn nor expired. Bound parameter: `now`."""
    return and_(or_(n.state.is_(None), n.state < WITHDRAWN), not_expired())


# --- appending --------------------------------------------------------------------------------------

_HEAD = select(meta.c.head)
_ALLOCATE = update(meta).values(head=meta.c.head + bindparam("rows")).returning(meta.c.head)


def head(tx: Transaction) -> int:
    """The newest seq of this snapshot; 0 in an empty log."""
    return int(tx.execute(_HEAD).scalar_one())


def allocate(tx: Transaction, rows: int) -> int:
    """Take `rows` seqs and give the last. Holds the log's lock until the transaction ends.

    The lock makes commits come in the order of seq and without gaps; a database's own sequence, or
    max(seq), would let a reader pass by a slow transaction or see a number twice.
    """
    return int(tx.execute(_ALLOCATE, {"rows": rows}).scalar_one())


def append(tx: Transaction, entries: Sequence[NewEntry], after: int) -> list[Entry]:
    """Write `entries` at the seqs that follow `after`, which `allocate` has given."""
    made = [
        Entry(seq, new.user_id, new.type, new.data, new.created_ms, new.expires_ms, new.notification_id)
        for seq, new in enumerate(entries, after + 1)
    ]
    tx.insert_rows(notifications, _COLUMNS, [_row(entry) for entry in made])
    return made


def _row(entry: Entry) -> tuple[Any, ...]:
    seq, user_id, type_, data, created_ms, expires_ms, notification_id = entry
    state = None if type_ == UPDATED else UNREAD
    return seq, notification_id, user_id, type_, created_ms, expires_ms, state, data


# --- reading ----------------------------------------------------------------------------------------

_AFTER = select(*ENTRY_COLUMNS).where(n.seq > bindparam("after"), n.seq <= bindparam("up_to"))
_EVERYTHING_AFTER = _AFTER.where(shown()).order_by(n.seq)


def everything_after(tx: Transaction, after: int, up_to: int) -> list[Entry]:
    """All users' entries in `(after, up_to]`, oldest first."""
    found = tx.execute(_EVERYTHING_AFTER, {"after": after, "up_to": up_to, "now": tx.now_ms})
    return [Entry._make(row) for row in found]


class EntryRow(NamedTuple):
    """An entry as it comes out of the database's JSON; the order of fields is that of ENTRY_COLUMNS."""

    seq: int
    user_id: str | None
    type: str
    data: msgspec.Raw
    created_ms: int
    expires_ms: int | None
    notification_id: str | None

    def entry(self) -> Entry:
        return Entry(
            self.seq,
            self.user_id,
            self.type,
            bytes(self.data),
            self.created_ms,
            self.expires_ms,
            self.notification_id,
        )


_rows = msgspec.json.Decoder(list[EntryRow])


def entries_of(text: str | None) -> list[Entry]:
    """The entries in the JSON of `together`, oldest first."""
    return [row.entry() for row in sorted(_rows.decode(text))] if text else []


def entry_columns(rows: FromClause) -> list[Any]:
    """What `together` takes to give EntryRows."""
    return [document(rows.c[c.name]) if c is n.data else rows.c[c.name] for c in ENTRY_COLUMNS]


def _one_users_page() -> Select[*tuple[Any, ...]]:
    """All rows in one step of the database, since each step of a thread must get the GIL back."""
    after = select(*ENTRY_COLUMNS).where(n.seq > bindparam("after"), shown())
    both = union_all(after.where(n.user_id == bindparam("user")), after.where(n.user_id.is_(None)))
    merged = both.subquery("merged")
    first = select(merged).order_by(merged.c.seq).limit(bindparam("rows")).subquery("page")
    size = func.length(first.c.data)
    sized = select(
        first, size.label("size"), func.sum(size).over(order_by=first.c.seq).label("sum")
    ).subquery("sized")
    fits = or_(sized.c.sum <= bindparam("bytes"), sized.c.sum == sized.c.size)
    return select(together(*entry_columns(sized), where=fits), func.count())


_PAGE = _one_users_page()
_STANDING = select(
    meta.c.head,
    meta.c.broadcast_floor,
    select(users.c.floor).where(users.c.user_id == bindparam("user")).scalar_subquery(),
)


def page(tx: Transaction, user_id: str, after: int, limit_rows: int, limit_bytes: int) -> LogPage:
    """Entries of one user and of everyone after `after`; at least one, if there is any, whatever its size."""
    snapshot_head, *floors = tx.execute(_STANDING, {"user": user_id}).one()
    given = {"user": user_id, "after": after, "now": tx.now_ms, "rows": limit_rows + 1, "bytes": limit_bytes}
    text, found = tx.execute(_PAGE, given).one()
    entries = entries_of(text)[:limit_rows]
    trimmed = after < max(floor or 0 for floor in floors)
    return LogPage(entries, snapshot_head, complete=len(entries) == found, trimmed=trimmed)


_NEWEST = select(*ENTRY_COLUMNS).where(shown()).order_by(n.seq.desc()).limit(bindparam("rows"))
_BROADCAST_FLOOR = select(meta.c.broadcast_floor)
_FLOORS_ABOVE = (
    select(users.c.user_id, users.c.floor)
    .where(users.c.floor > bindparam("floor"))
    .order_by(users.c.floor.desc())
    .limit(bindparam("rows"))
)


class Newest(NamedTuple):
    """Entries of all users, oldest first; above `floor` none is missing but below a user's own floor."""

    entries: list[Entry]
    floor: int
    floors: dict[str, int]  # of users, those above `floor`


def newest(tx: Transaction, limit_rows: int, limit_bytes: int) -> Newest:
    """The newest entries, and the floors of at most as many users."""
    found = tx.execute(_NEWEST, {"now": tx.now_ms, "rows": limit_rows + 1})
    entries, following = _take(found, limit_rows, limit_bytes)
    floor = max(tx.execute(_BROADCAST_FLOOR).scalar_one(), 0 if following is None else following.seq)
    floors, floor = _floors_above(tx, floor, limit_rows)
    return Newest([entry for entry in reversed(entries) if entry.seq > floor], floor, floors)


def _floors_above(tx: Transaction, floor: int, most: int) -> tuple[dict[str, int], int]:
    """The highest floors of users; `floor` rises to those for which there is no room."""
    found = tx.execute(_FLOORS_ABOVE, {"floor": floor, "rows": most + 1}).all()
    if len(found) > most:
        floor = found[-1].floor
    return {user_id: own for user_id, own in found if own > floor}, floor


def _take(found: CursorResult[*tuple[Any, ...]], rows: int, size: int) -> tuple[list[Entry], Entry | None]:
    """What fits of `found`, and the first that does not. Never reads what lies behind that."""
    taken: list[Entry] = []
    for row in found:
        entry = Entry._make(row)
        size -= len(entry.data)
        if taken and (len(taken) == rows or size < 0):
            found.close()
            return taken, entry
        taken.append(entry)
    return taken, None


# --- remembered answers -----------------------------------------------------------------------------


class Key(NamedTuple):
    """What a publisher calls one of its requests."""

    publisher: str
    key: str


class Answer(NamedTuple):
    """What the first request of this key got."""

    body_hash: bytes
    seq: int
    notification_id: str


k = idempotency.c
_WANTED = rows_of("keys", value=TEXT)
_ANSWERS = select(k.publisher, k.key, k.body_hash, k.seq, k.notification_id).where(
    k.key.in_(select(_WANTED.c.value)), k.created_ms > bindparam("since")
)
_REMEMBER = ("key", "publisher", "body_hash", "seq", "notification_id", "created_ms")
#: Only an answer that is no longer remembered can be in the way.
_REPLACE = (
    "ON CONFLICT (key, publisher) DO UPDATE SET body_hash = excluded.body_hash, seq = excluded.seq, "
    "notification_id = excluded.notification_id, created_ms = excluded.created_ms"
)


def answers(tx: Transaction, keys: Collection[Key]) -> dict[Key, Answer]:
    """The answers of the last 24 hours, counted while a server ran, to requests with these keys."""
    names = encode_json([[key.key] for key in keys]).decode()
    found = tx.execute(_ANSWERS, {"keys": names, "since": tx.steady_ms - REMEMBERED_MS})
    every = {Key(row[0], row[1]): Answer(*row[2:]) for row in found}
    return {key: every[key] for key in keys if key in every}


def remember(tx: Transaction, given: dict[Key, Answer]) -> None:
    """Keep the answers for 24 hours."""
    rows = [
        (key.key, key.publisher, answer.body_hash, answer.seq, answer.notification_id, tx.steady_ms)
        for key, answer in given.items()
    ]
    tx.insert_rows(idempotency, _REMEMBER, rows, _REPLACE)


def newest_key_ms(tx: Transaction) -> int | None:
    """When the newest remembered key came, by the steady clock of the server of that time."""
    newest: int | None = tx.execute(select(func.max(k.created_ms))).scalar()
    return newest
