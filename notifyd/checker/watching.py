"""Setting a watch: what already meets it starts it as fired, so that only what comes later is told."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from notifyd.checker.deciding import Keys, read_histories
from notifyd.checker.matching import Bench, follow
from notifyd.checker.rules import MEDIAN_WINDOW_MS, is_met
from notifyd.errors import Unavailable
from notifyd.store import prices, watches
from notifyd.store.history import RunPrice, SeriesKey, WindowKey
from notifyd.store.json_rows import records
from notifyd.store.watch_rules import decode_rule, decode_stores, encode_rule, encode_stores
from notifyd.store.watches import Newest, StateRow, StoredWatch, Watch

if TYPE_CHECKING:
    from notifyd.store.base import Store, Transaction
    from notifyd.store.watch_rules import WatchSpec

#: How often setting is tried when prices of the very item come in between.
ATTEMPTS = 5


class WatchSet(NamedTuple):
    """A watch after it was set, and the newest prices that meet it already."""

    watch: StoredWatch
    created: bool  # there was none of that name
    met_by: list[Newest]


class _Known(NamedTuple):
    before: StoredWatch | None
    newest: bytes
    last_price_id: int


async def set_watch(store: Store, user_id: str, watch_id: str, spec: WatchSpec) -> WatchSet:
    """Set a user's watch. The same watch again keeps its state; another under its name starts anew.

    It starts as fired in each series whose newest price meets it. Raises StoreError; Unavailable also when
    prices of the item come in faster than it can look at them.
    """
    for _ in range(ATTEMPTS):
        known = await store.read(partial(_read, user_id=user_id, watch_id=watch_id, item_id=spec.item_id))
        met_by = await _met_by(store, records(known.newest, Newest), spec)
        if known.before is not None and _same(known.before, spec):
            return WatchSet(known.before, False, met_by)
        states = [StateRow(0, each.series_id, 0, each.price, each.observed_ms) for each in met_by]

        def write(
            tx: Transaction, known: _Known = known, states: list[StateRow] = states
        ) -> StoredWatch | None:
            if watches.has_prices_after(tx, spec.item_id, known.last_price_id):
                return None
            watches.put_watch(tx, user_id, watch_id, spec, states)
            return watches.find_watch(tx, user_id, watch_id)

        if (stored := await store.write(write)) is not None:
            return WatchSet(stored, known.before is None, met_by)
    raise Unavailable("Prices of this item are coming in too fast just now")


def _read(tx: Transaction, *, user_id: str, watch_id: str, item_id: str) -> _Known:
    return _Known(
        watches.find_watch(tx, user_id, watch_id),
        watches.newest_of_item(tx, item_id),
        prices.last_price_id(tx),
    )


def _same(stored: StoredWatch, spec: WatchSpec) -> bool:
    return (
        stored.item_id == spec.item_id
        and decode_stores(stored.stores) == decode_stores(encode_stores(spec.stores))
        and decode_rule(stored.rule) == spec.rule
    )


async def _met_by(store: Store, newest: list[Newest], spec: WatchSpec) -> list[Newest]:
    """Which of the newest prices of the item's series meet the rule, by store."""
    watch = Watch(0, "", "", spec.item_id, encode_stores(spec.stores), encode_rule(spec.rule))
    bench = Bench()
    keys = [SeriesKey(each.series_id, each.price_id) for each in newest]
    windows = [
        WindowKey(each.series_id, each.price_id, each.observed_ms - MEDIAN_WINDOW_MS, 0) for each in newest
    ]
    measure = spec.rule.measure
    wanted = Keys(keys, keys if measure == "lowest" else [], windows if measure == "median_30d" else [])
    histories = await read_histories(store, wanted)
    met = []
    for each in sorted(newest, key=lambda each: (each.store_name, each.store_id, each.currency)):
        row = RunPrice(
            each.price_id,
            each.series_id,
            each.observed_ms,
            each.price,
            spec.item_id,
            each.store_id,
            each.currency,
        )
        series = follow([row], histories[each.series_id])
        if bench.concerns(watch, series) and any(is_met(spec.rule, moment) for moment in series.moments):
            met.append(each)
    return met
