"""What publishers say of users: where to write to them, and how.

Every function takes the open `Transaction` first and runs in a store's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import bindparam, select

from notifyd.messages import encode_json
from notifyd.store.json_rows import TEXT, rows_of
from notifyd.store.schema import users

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifyd.store.base import Transaction

#: Rows of one transaction: a few milliseconds.
BATCH = 500

u = users.c


class Profile(NamedTuple):
    """One user; None where nothing is known."""

    user_id: str
    email: str | None
    locale: str | None
    time_zone: str | None


_PROFILE = select(u.user_id, u.email, u.locale, u.time_zone).where(
    u.user_id == bindparam("user"), u.profile_ms.is_not(None)
)
_WANTED = rows_of("ids", value=TEXT)
_KNOWN = select(u.user_id).where(u.user_id.in_(select(_WANTED.c.value)), u.profile_ms.is_not(None))
_COLUMNS = ("user_id", "email", "locale", "time_zone", "profile_ms")
_REPLACE = (
    "ON CONFLICT (user_id) DO UPDATE SET email = excluded.email, locale = excluded.locale, "
    "time_zone = excluded.time_zone, profile_ms = excluded.profile_ms"
)


def find(tx: Transaction, user_id: str) -> Profile | None:
    """What publishers have said of a user; None when they never have."""
    row = tx.execute(_PROFILE, {"user": user_id}).one_or_none()
    return None if row is None else Profile._make(row)


def put(tx: Transaction, profiles: Sequence[Profile]) -> set[str]:
    """Replace what is known of these users, no two alike; gives those who are new."""
    ids = encode_json([[profile.user_id] for profile in profiles]).decode()
    known = set(tx.execute(_KNOWN, {"ids": ids}).scalars())
    tx.insert_rows(users, _COLUMNS, [(*profile, tx.now_ms) for profile in profiles], _REPLACE)
    return {profile.user_id for profile in profiles} - known
