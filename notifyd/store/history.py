"""What the checker reads of the prices before a run: of one series, and across stores.

Questions about many series travel as JSON, and so do the answers; `json_rows.records` decodes them into the
record types that stand here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import bindparam, exists, func, or_, select, tuple_

from notifyd.messages import encode_json
from notifyd.store.json_rows import INT, TEXT, json_of, parsed_rows_of, rows_of, together, values_of
from notifyd.store.schema import items, meta, price_runs, price_series, prices

if TYPE_CHECKING:
    from collections.abc import Iterable

    from notifyd.store.base import Transaction


class SeriesKey(NamedTuple):
    """Asks about the prices of a series that are numbered below `before`."""

    series_id: int
    before: int


class WindowKey(NamedTuple):
    """Asks about those observed at or after `since_ms`, if one of them is at least `floor` cents."""

    series_id: int
    before: int
    since_ms: int
    floor: int


class SeriesPrice(NamedTuple):
    """A price of a series."""

    series_id: int
    observed_ms: int
    price: int


class SeriesLowest(NamedTuple):
    """The lowest price of a series, None when it has none."""

    series_id: int
    price: int | None


_keys = parsed_rows_of("keys", series_id=INT, before=INT)
_windows = parsed_rows_of("keys", series_id=INT, before=INT, since_ms=INT, floor=INT)
_own = prices.alias("own")
_newest_id = (
    select(_own.c.price_id)
    .where(_own.c.series_id == _keys.c.series_id, _own.c.price_id < _keys.c.before)
    .order_by(_own.c.observed_ms.desc(), _own.c.price_id.desc())
    .limit(1)
    .scalar_subquery()
)
_newest = select(together(_keys.c.series_id, prices.c.observed_ms, prices.c.price_in_cents)).join_from(
    _keys, prices, prices.c.price_id == _newest_id
)
_series = values_of("series", series_id=INT)
_newest_id_of_series = (
    select(_own.c.price_id)
    .where(_own.c.series_id == _series.c.series_id, _own.c.price_id < bindparam("before", type_=INT))
    .order_by(_own.c.observed_ms.desc(), _own.c.price_id.desc())
    .limit(1)
    .scalar_subquery()
)
_newest_of_series = select(
    together(_series.c.series_id, prices.c.observed_ms, prices.c.price_in_cents)
).join_from(_series, prices, prices.c.price_id == _newest_id_of_series)
_lowest_price = (
    select(func.min(_own.c.price_in_cents))
    .where(_own.c.series_id == _keys.c.series_id, _own.c.price_id < _keys.c.before)
    .scalar_subquery()
)
_lowest = select(together(_keys.c.series_id, _lowest_price)).select_from(_keys)
_reaches_floor = exists().where(  # perhaps by a later price only: then what is read is read in vain
    _own.c.series_id == _windows.c.series_id,
    _own.c.observed_ms >= _windows.c.since_ms,
    _own.c.price_in_cents >= _windows.c.floor,
)
_window = (
    select(together(_windows.c.series_id, prices.c.observed_ms, prices.c.price_in_cents))
    .join_from(_windows, prices, prices.c.series_id == _windows.c.series_id)
    .where(prices.c.observed_ms >= _windows.c.since_ms, prices.c.price_id < _windows.c.before, _reaches_floor)
)


def newest(tx: Transaction, keys: str) -> bytes:
    """The newest SeriesPrice before each SeriesKey; of equal times the one stored last."""
    return json_of(tx, _newest, {"keys": keys})


def newest_of_series(tx: Transaction, series: str, before: int) -> bytes:
    """The same of each series in a JSON array of their numbers, before one price."""
    return json_of(tx, _newest_of_series, {"series": series, "before": before})


def lowest(tx: Transaction, keys: str) -> bytes:
    """The SeriesLowest before each SeriesKey."""
    return json_of(tx, _lowest, {"keys": keys})


def window(tx: Transaction, keys: str) -> bytes:
    """All SeriesPrices that each WindowKey asks for."""
    return json_of(tx, _window, {"keys": keys})


_window_lowest = (
    select(func.min(_own.c.price_in_cents))
    .where(
        _own.c.series_id == _windows.c.series_id,
        _own.c.observed_ms >= _windows.c.since_ms,
        _own.c.price_id < _windows.c.before,
    )
    .scalar_subquery()
)
_recent_lowest = select(together(_windows.c.series_id, _window_lowest)).select_from(_windows)


def recent_lowest(tx: Transaction, keys: str) -> bytes:
    """The SeriesLowest among what each WindowKey asks for, whatever its floor."""
    return json_of(tx, _recent_lowest, {"keys": keys})


# --- across stores ----------------------------------------------------------------------------------


class ItemKey(NamedTuple):
    """Asks about the prices of an item numbered below `before` and observed at or after `since_ms`."""

    item_id: str
    before: int
    since_ms: int


class StorePrice(NamedTuple):
    """A price of an item in a store; `store_id` is JSON text."""

    item_id: str
    currency: str
    store_id: str
    observed_ms: int
    price: int


_wide = parsed_rows_of("keys", item_id=TEXT, before=INT, since_ms=INT)
_all_steps = (
    select(
        price_series.c.item_id,
        price_series.c.currency,
        price_series.c.store_id,
        prices.c.observed_ms,
        prices.c.price_in_cents,
        func.min(prices.c.price_in_cents)
        .over(
            partition_by=prices.c.series_id,
            order_by=(prices.c.observed_ms.desc(), prices.c.price_in_cents),
            rows=(None, -1),
        )
        .label("later"),
    )
    .join_from(_wide, price_series, price_series.c.item_id == _wide.c.item_id)
    .join(prices, prices.c.series_id == price_series.c.series_id)
    .where(prices.c.observed_ms >= _wide.c.since_ms, prices.c.price_id < _wide.c.before)
    .subquery("all_steps")
)
_steps = select(
    together(
        _all_steps.c.item_id,
        _all_steps.c.currency,
        _all_steps.c.store_id,
        _all_steps.c.observed_ms,
        _all_steps.c.price_in_cents,
    )
).where(or_(_all_steps.c.later.is_(None), _all_steps.c.price_in_cents < _all_steps.c.later))


def steps(tx: Transaction, keys: str) -> bytes:
    """Of each item and store, the StorePrices below all later ones: what a lowest price since then can be."""
    return json_of(tx, _steps, {"keys": keys})


class ItemSeries(NamedTuple):
    """A series with its names; `store_id` is JSON text."""

    series_id: int
    item_id: str
    item_name: str
    store_id: str
    store_name: str
    currency: str


class SeriesPage(NamedTuple):
    """A price of a series, to be read page after page."""

    observed_ms: int
    price: int
    price_id: int
    valid_until_ms: int | None


_item_series = (
    select(
        together(
            price_series.c.series_id,
            price_series.c.item_id,
            items.c.name,
            price_series.c.store_id,
            price_series.c.store_name,
            price_series.c.currency,
        )
    )
    .join_from(price_series, items, items.c.item_id == price_series.c.item_id)
    .where(price_series.c.item_id == bindparam("item", type_=TEXT))
)
_page_of_series = (
    select(prices.c.observed_ms, prices.c.price_in_cents, prices.c.price_id, prices.c.valid_until_ms)
    .where(
        prices.c.series_id == bindparam("series", type_=INT),
        tuple_(prices.c.observed_ms, prices.c.price_in_cents)
        > tuple_(bindparam("after_ms", type_=INT), bindparam("after_price", type_=INT)),
    )
    .order_by(prices.c.observed_ms, prices.c.price_in_cents)
    .limit(bindparam("rows", type_=INT))
    .subquery("page")
)
_series_page = select(together(*_page_of_series.c))


def item_series(tx: Transaction, item_id: str) -> bytes:
    """The ItemSeries of an item."""
    return json_of(tx, _item_series, {"item": item_id})


def series_page(tx: Transaction, series_id: int, after: tuple[int, int], rows: int) -> bytes:
    """At most so many SeriesPages of a series after a time and price, the first in this order."""
    given = {"series": series_id, "after_ms": after[0], "after_price": after[1], "rows": rows}
    return json_of(tx, _series_page, given)


class SeriesArrival(NamedTuple):
    """The price of a series that was stored last, newest or not."""

    series_id: int
    price_id: int
    observed_ms: int
    price: int


_each_series = rows_of("keys", series_id=INT)
_last_id = (
    select(func.max(_own.c.price_id)).where(_own.c.series_id == _each_series.c.series_id).scalar_subquery()
)
_arrivals = select(
    together(_each_series.c.series_id, prices.c.price_id, prices.c.observed_ms, prices.c.price_in_cents)
).join_from(_each_series, prices, prices.c.price_id == _last_id)
_checked = (
    select(price_runs.c.last_price_id)
    .where(price_runs.c.run_id <= select(meta.c.checker_cursor).scalar_subquery())
    .order_by(price_runs.c.run_id.desc())
    .limit(1)
)


def arrivals(tx: Transaction, keys: str) -> bytes:
    """The SeriesArrival of each series in `keys`, a JSON array of one-item arrays."""
    return json_of(tx, _arrivals, {"keys": keys})


def checked_up_to(tx: Transaction) -> int:
    """The last price that the checker has dealt with."""
    return tx.execute(_checked).scalar_one_or_none() or 0


class OthersKey(NamedTuple):
    """Asks what a price competes with: since a time and numbered below `before`, None for any number."""

    price_id: int
    since_ms: int
    before: int | None


class OthersLowest(NamedTuple):
    """The lowest of them, None when there are none."""

    price_id: int
    price: int | None


_asked = rows_of("keys", price_id=INT, since_ms=INT, before=INT)
_some_stores = rows_of("stores", store_id=TEXT)
_rival = price_series.alias("rival")
_others = (
    select(func.min(_own.c.price_in_cents))
    .select_from(_rival.join(_own, _own.c.series_id == _rival.c.series_id))
    .where(
        _rival.c.item_id == price_series.c.item_id,
        _rival.c.currency == price_series.c.currency,
        or_(bindparam("everywhere", type_=INT) == 1, _rival.c.store_id.in_(select(_some_stores.c.store_id))),
        _own.c.observed_ms >= _asked.c.since_ms,
        _own.c.price_id != prices.c.price_id,
        or_(_asked.c.before.is_(None), _own.c.price_id < _asked.c.before),
    )
    .correlate(_asked, prices, price_series)
    .scalar_subquery()
)
_others_lowest = select(together(prices.c.price_id, _others)).select_from(
    _asked.join(prices, prices.c.price_id == _asked.c.price_id).join(
        price_series, price_series.c.series_id == prices.c.series_id
    )
)


def others_lowest(tx: Transaction, keys: str, stores: Iterable[str] | None) -> bytes:
    """The OthersLowest of each OthersKey, among the prices of its item and currency in these stores."""
    names = "[]" if stores is None else encode_json([(store,) for store in stores]).decode()
    return json_of(tx, _others_lowest, {"keys": keys, "stores": names, "everywhere": int(stores is None)})
