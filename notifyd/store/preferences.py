"""What users want by mail, and the keys that the server has drawn for itself.

Every function takes the open `Transaction` first and runs in a store's thread.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import bindparam, select

from notifyd import preferences as wishes
from notifyd.store import deliveries
from notifyd.store.schema import preferences, server_keys, users

if TYPE_CHECKING:
    from notifyd.preferences import Preferences
    from notifyd.store.base import Transaction

KEY_BYTES: Final = 32
UNSUBSCRIBE: Final = "unsubscribe"

p = preferences.c
u = users.c


class Standing(NamedTuple):
    """A user's preferences, and what mail needs besides."""

    preferences: Preferences
    email: str | None
    bounced: bool
    time_zone: str | None


_FIND = select(p.data).where(p.user_id == bindparam("user"))
_USER = select(u.email, u.bounced_email, u.time_zone).where(u.user_id == bindparam("user"))
_REPLACE = "ON CONFLICT (user_id) DO UPDATE SET data = excluded.data, changed_ms = excluded.changed_ms"
_KEY = select(server_keys.c.value).where(server_keys.c.name == bindparam("key"))


def find(tx: Transaction, user_id: str) -> Preferences:
    """A user's preferences; the defaults when nothing was ever said."""
    return wishes.decode(tx.execute(_FIND, {"user": user_id}).scalar_one_or_none())


def standing(tx: Transaction, user_id: str) -> Standing:
    """The same with the user's address and time zone."""
    email, bounced, zone = tx.execute(_USER, {"user": user_id}).one_or_none() or (None, None, None)
    return Standing(find(tx, user_id), email, email is not None and bounced == email, zone)


def put(tx: Transaction, user_id: str, wanted: Preferences) -> None:
    """Replace a user's preferences and decide anew on all that waits."""
    row = (user_id, wishes.encode(wanted), tx.now_ms)
    tx.insert_rows(preferences, ("user_id", "data", "changed_ms"), [row], _REPLACE)
    deliveries.replan(tx, user_id)


def unsubscribe(tx: Transaction, user_id: str, list_: str) -> None:
    """End mail of one type of notification, or of all. Doing it again changes nothing."""
    put(tx, user_id, wishes.unsubscribed(find(tx, user_id), list_))


def unsubscribe_key(tx: Transaction) -> bytes | None:
    """What unsubscribe links are proven by; None as long as no mail was ever written."""
    found = tx.execute(_KEY, {"key": UNSUBSCRIBE}).scalar_one_or_none()
    return None if found is None else bytes(found)


def draw_unsubscribe_key(tx: Transaction) -> bytes:
    """The same, drawn now if there is none; it stays for ever, for mails are kept."""
    conflict = "ON CONFLICT (name) DO NOTHING"
    new = (UNSUBSCRIBE, secrets.token_bytes(KEY_BYTES))
    tx.insert_rows(server_keys, ("name", "value"), [new], conflict)
    return bytes(tx.execute(_KEY, {"key": UNSUBSCRIBE}).scalar_one())
