"""What a deal says beside its price: its rank in the price history, and the stores it was compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import and_, exists, func, select

from notifyd.store.json_rows import INT, json_of, rows_of, together
from notifyd.store.schema import items, price_series, prices

if TYPE_CHECKING:
    from notifyd.store.base import Transaction


_own = prices.alias("own")


class Told(NamedTuple):
    """What a deal says of its price beside the price; `rank` 1 is the lowest that the store ever had."""

    price_id: int
    item_name: str
    store_name: str
    valid_until_ms: int | None
    url: str | None
    image_url: str | None
    rank: int


class Compared(NamedTuple):
    """How many stores had a price of the item and currency shortly before a price was observed, or later."""

    price_id: int
    stores: int


class ComparedStore(NamedTuple):
    """One of those stores; its id is JSON text."""

    price_id: int
    store_id: str


_alerted = rows_of("keys", price_id=INT, since_ms=INT)
_cheaper = (
    select(func.count())
    .where(
        _own.c.series_id == prices.c.series_id,
        _own.c.price_id < prices.c.price_id,
        _own.c.price_in_cents < prices.c.price_in_cents,
    )
    .scalar_subquery()
)
_told = (
    select(
        together(
            prices.c.price_id,
            items.c.name,
            price_series.c.store_name,
            prices.c.valid_until_ms,
            prices.c.url,
            prices.c.image_url,
            _cheaper + 1,
        )
    )
    .join_from(_alerted, prices, prices.c.price_id == _alerted.c.price_id)
    .join(price_series, price_series.c.series_id == prices.c.series_id)
    .join(items, items.c.item_id == price_series.c.item_id)
)
_other = price_series.alias("other")
_was_there = (
    exists()
    .where(
        _own.c.series_id == _other.c.series_id,
        _own.c.observed_ms >= _alerted.c.since_ms,
        _own.c.price_id <= prices.c.price_id,
    )
    .correlate(_alerted, prices, _other)
)
_same_item = and_(_other.c.item_id == price_series.c.item_id, _other.c.currency == price_series.c.currency)
_alerted_series = _alerted.join(prices, prices.c.price_id == _alerted.c.price_id).join(
    price_series, price_series.c.series_id == prices.c.series_id
)
_stores_there = (
    select(func.count())
    .select_from(_other)
    .where(_same_item, _was_there)
    .correlate(_alerted, prices, price_series)
    .scalar_subquery()
)
_compared = select(together(prices.c.price_id, _stores_there)).select_from(_alerted_series)
_compared_stores = (
    select(together(prices.c.price_id, _other.c.store_id))
    .select_from(_alerted_series.join(_other, _same_item))
    .where(_was_there)
)


def told(tx: Transaction, keys: str) -> bytes:
    """The Told of each price: `keys` are pairs of a price_id and a time."""
    return json_of(tx, _told, {"keys": keys})


def compared(tx: Transaction, keys: str) -> bytes:
    """How many stores are Compared with each price: those with one since the time beside its price_id."""
    return json_of(tx, _compared, {"keys": keys})


def compared_stores(tx: Transaction, keys: str) -> bytes:
    """Those stores themselves, each a ComparedStore."""
    return json_of(tx, _compared_stores, {"keys": keys})
