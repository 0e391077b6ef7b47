"""What callers may read of items and their prices, page by page.

Every function takes the open `Transaction` first and runs in a store's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import and_, or_, select

from notifyd.store import item_words
from notifyd.store.json_rows import json_of, records, together
from notifyd.store.schema import items, price_series, prices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Select

    from notifyd.store.base import Transaction

# --- items ------------------------------------------------------------------------------------------


class Named(NamedTuple):
    """An item. Pages come in the order of `folded_name` and `item_id`."""

    folded_name: str
    item_id: str
    name: str


_names = select(items.c.folded_name, items.c.item_id, items.c.name).order_by(
    items.c.folded_name, items.c.item_id
)


def find_items(
    tx: Transaction, words: Sequence[str], after: tuple[str, str] | None, limit: int
) -> list[Named]:
    """Items whose names have words that begin with each of the folded `words`; all without any."""
    query, given = _names.limit(limit), {}
    if after is not None:
        name, item_id = after
        same = and_(items.c.folded_name == name, items.c.item_id > item_id)
        query = query.where(items.c.folded_name >= name, or_(items.c.folded_name > name, same))
    if words:
        query = query.where(items.c.item_id.in_(item_words.matching))
        given = item_words.matching_parameters(words)
    return [Named._make(row) for row in tx.execute(query, given)]


# --- prices -----------------------------------------------------------------------------------------


class Place(NamedTuple):
    """Where a price stands among its item's: newest first, of equal times the one stored last."""

    observed_ms: int
    price_id: int


class Asked(NamedTuple):
    """Which prices of an item; `stores` are JSON texts, None means every store. Times are inclusive."""

    item_id: str
    stores: tuple[str, ...] | None = None
    currency: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None


class PriceLine(NamedTuple):
    """A stored price; `store_id` is JSON text."""

    observed_ms: int
    price_id: int
    store_id: str
    store_name: str
    currency: str
    price_in_cents: int
    valid_until_ms: int | None
    url: str | None
    image_url: str | None

    @property
    def place(self) -> Place:
        return Place(self.observed_ms, self.price_id)


_COLUMNS = (
    prices.c.observed_ms,
    prices.c.price_id,
    price_series.c.store_id,
    price_series.c.store_name,
    price_series.c.currency,
    prices.c.price_in_cents,
    prices.c.valid_until_ms,
    prices.c.url,
    prices.c.image_url,
)


def _asked(asked: Asked, before: Place | None) -> Select[Any]:
    query = (
        select(*_COLUMNS)
        .join_from(price_series, prices, prices.c.series_id == price_series.c.series_id)
        .where(price_series.c.item_id == asked.item_id)
        .order_by(prices.c.observed_ms.desc(), prices.c.price_id.desc())
    )
    if asked.stores is not None:
        query = query.where(price_series.c.store_id.in_(asked.stores))
    if asked.currency is not None:
        query = query.where(price_series.c.currency == asked.currency)
    if asked.since_ms is not None:
        query = query.where(prices.c.observed_ms >= asked.since_ms)
    if asked.until_ms is not None:
        query = query.where(prices.c.observed_ms <= asked.until_ms)
    if before is not None:
        same = and_(prices.c.observed_ms == before.observed_ms, prices.c.price_id < before.price_id)
        earlier = or_(prices.c.observed_ms < before.observed_ms, same)
        query = query.where(prices.c.observed_ms <= before.observed_ms, earlier)
    return query


def item_prices(tx: Transaction, asked: Asked, before: Place | None, limit: int) -> list[PriceLine]:
    """The newest `limit` prices before a place, newest first."""
    page = _asked(asked, before).limit(limit).subquery("page")
    text = json_of(tx, select(together(*page.c)), {})
    return sorted(records(text, PriceLine), key=lambda line: line.place, reverse=True)


def last_place(tx: Transaction, asked: Asked, before: Place | None, limit: int) -> Place | None:
    """Where a page of `limit` prices ends; None when it is the last page."""
    ends = _asked(asked, before).offset(limit - 1).limit(2)
    found = [Place(row.observed_ms, row.price_id) for row in tx.execute(ends)]
    return found[0] if len(found) == 2 else None
