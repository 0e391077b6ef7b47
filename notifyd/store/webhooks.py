"""Publishers' webhooks: where each wants to be told of users who were not reached.

Every function takes the open `Transaction` first and runs in a store's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import bindparam, delete, select

from notifyd.store.schema import webhooks

if TYPE_CHECKING:
    from notifyd.store.base import Transaction

w = webhooks.c


class Webhook(NamedTuple):
    """Where calls go and the secret that signs them; `every`: of all notifications, reached or not."""

    publisher: str
    url: str
    secret: str
    every: bool


_ALL = select(w.publisher, w.url, w.secret, w.every).order_by(w.publisher)
_ONE = _ALL.where(w.publisher == bindparam("of"))
_REMOVE = delete(webhooks).where(w.publisher == bindparam("of"))
_REPLACE = (
    "ON CONFLICT (publisher) DO UPDATE SET url = excluded.url, secret = excluded.secret, "
    "every = excluded.every, changed_ms = excluded.changed_ms"
)


def everybodys(tx: Transaction) -> list[Webhook]:
    """All webhooks."""
    return [Webhook._make(row) for row in tx.execute(_ALL)]


def find(tx: Transaction, publisher: str) -> Webhook | None:
    """A publisher's webhook."""
    row = tx.execute(_ONE, {"of": publisher}).one_or_none()
    return None if row is None else Webhook._make(row)


def put(tx: Transaction, webhook: Webhook) -> None:
    """Set a publisher's webhook."""
    columns = ("publisher", "url", "secret", "every", "changed_ms")
    tx.insert_rows(webhooks, columns, [(*webhook, tx.now_ms)], _REPLACE)


def remove(tx: Transaction, publisher: str) -> bool:
    """End a publisher's webhook; False when there was none."""
    return tx.execute(_REMOVE, {"of": publisher}).rowcount == 1
