"""Setting a watch: what already meets it starts it as fired, so that only what comes later is told."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from notifyd.checker.best import Stairs
from notifyd.checker.deciding import Keys, read_histories
from notifyd.checker.matching import Bench, follow
from notifyd.checker.rules import BEST_WINDOW_MS, MEDIAN_WINDOW_MS, is_met
from notifyd.clock import Pace
from notifyd.errors import Unavailable, Unprocessable
from notifyd.messages import encode_json
from notifyd.store import history, prices, watches
from notifyd.store.history import OthersKey, OthersLowest, SeriesKey, WindowKey
from notifyd.store.json_rows import records
from notifyd.store.runs import RunPrice
from notifyd.store.watch_rules import NewBest, decode_rule, decode_stores, encode_rule, encode_stores
from notifyd.store.watches import Newest, StateRow, StoredWatch, Watch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from notifyd.store.base import Store, Transaction
    from notifyd.store.watch_rules import WatchSpec

#: How often setting is tried when prices of the very items come in between.
ATTEMPTS = 5
#: Items that a search may mean when it is set; those that are named later add to it without limit.
MAX_ITEMS = 1000
#: Items whose newest prices are looked at in one read.
PORTION = 100


class WatchSet(NamedTuple):
    """A watch after it was set, and the newest prices that meet it already."""

    watch: StoredWatch
    created: bool  # there was none of that name
    met_by: list[Newest]


class _Known(NamedTuple):
    before: StoredWatch | None
    items: list[str]
    last_price_id: int


async def set_watch(store: Store, user_id: str, watch_id: str, spec: WatchSpec) -> WatchSet:
    """Set a user's watch. The same watch again keeps its state; another under its name starts anew.

    It starts as fired in each series whose newest price meets it and has not ended. Raises StoreError;
    Unavailable also when prices of its items come in faster than it can look at them; Unprocessable when a
    search means too many.
    """
    for _ in range(ATTEMPTS):
        known = await store.read(partial(_read, user_id=user_id, watch_id=watch_id, spec=spec))
        if len(known.items) > MAX_ITEMS:
            raise Unprocessable(
                f"search: more than {MAX_ITEMS} items have these words in their names; add one"
            )
        met_by = await already_met(store, known.items, spec)
        if known.before is not None and is_same(known.before, spec):
            return WatchSet(known.before, False, met_by)
        states = [StateRow(0, each.series_id, 0, each.price, each.observed_ms) for each in met_by]

        def write(
            tx: Transaction, known: _Known = known, states: list[StateRow] = states
        ) -> StoredWatch | None:
            if watches.has_prices_after(tx, spec, known.last_price_id):
                return None
            watches.put_watch(tx, user_id, watch_id, spec, states)
            return watches.find_watch(tx, user_id, watch_id)

        if (stored := await store.write(write)) is not None:
            return WatchSet(stored, known.before is None, met_by)
    raise Unavailable("Prices of these items are coming in too fast just now")


def _read(tx: Transaction, *, user_id: str, watch_id: str, spec: WatchSpec) -> _Known:
    return _Known(
        watches.find_watch(tx, user_id, watch_id),
        watches.items_of(tx, spec, MAX_ITEMS + 1),
        prices.last_price_id(tx),
    )


def is_same(stored: StoredWatch, spec: WatchSpec) -> bool:
    """Whether a stored watch is what `spec` says."""
    return (
        (stored.item_id, stored.search) == (spec.item_id, spec.search)
        and decode_stores(stored.stores) == decode_stores(encode_stores(spec.stores))
        and decode_rule(stored.rule) == spec.rule
    )


async def already_met(store: Store, items: Sequence[str], spec: WatchSpec) -> list[Newest]:
    """Which of the newest prices of the items meet the rule now, by name and store. Raises Unavailable.

    Those that have ended (`valid_until`) meet nothing any more; others are compared with them all the same.
    """
    pace = Pace()
    met: list[Newest] = []
    for start in range(0, len(items), PORTION):
        keys = encode_json([(item_id,) for item_id in items[start : start + PORTION]]).decode()
        text, now_ms = await store.read(partial(_newest, keys=keys))
        pace.rested()
        newest = sorted(records(text, Newest), key=place)
        find = _new_bests if isinstance(spec.rule, NewBest) else _met
        found = await find(store, newest, spec, pace)
        met += [each for each in found if each.valid_until_ms is None or each.valid_until_ms > now_ms]
    return met


def _newest(tx: Transaction, *, keys: str) -> tuple[bytes, int]:
    return watches.newest_of_items(tx, keys), tx.now_ms


def place(price: Newest) -> tuple[str, ...]:
    """What prices are listed by: names first."""
    return price.item_name, price.item_id, price.store_name, price.store_id, price.currency


async def _met(store: Store, newest: list[Newest], spec: WatchSpec, pace: Pace) -> list[Newest]:
    bench = Bench()
    keys = [SeriesKey(each.series_id, each.price_id) for each in newest]
    windows = [
        WindowKey(each.series_id, each.price_id, each.observed_ms - MEDIAN_WINDOW_MS, 0) for each in newest
    ]
    measure = spec.rule.measure
    wanted = Keys(keys, keys if measure == "lowest" else [], windows if measure == "median_30d" else [])
    histories = await read_histories(store, wanted)
    pace.rested()
    met = []
    for each in newest:
        await pace.breathe()
        series = follow([row_of(each)], histories[each.series_id])
        watch = watch_of(spec, each.item_id)
        if bench.concerns(watch, series) and any(is_met(spec.rule, moment) for moment in series.moments):
            met.append(each)
    return met


def watch_of(spec: WatchSpec, item_id: str) -> Watch:
    """The watch that `spec` would be for one item."""
    return Watch(0, "", "", item_id, encode_stores(spec.stores), encode_rule(spec.rule))


def row_of(price: Newest) -> RunPrice:
    return RunPrice(
        price.price_id,
        price.series_id,
        price.observed_ms,
        price.price,
        price.item_id,
        price.store_id,
        price.currency,
    )


async def _new_bests(store: Store, newest: list[Newest], spec: WatchSpec, pace: Pace) -> list[Newest]:
    """The newest prices below all others of the watched stores since 14 days before; no other, no best."""
    stores = decode_stores(encode_stores(spec.stores))
    watched: dict[tuple[str, str], list[Newest]] = defaultdict(list)
    for each in newest:
        if stores is None or each.store_id in stores:
            watched[each.item_id, each.currency].append(each)
    leaders: list[Newest] = []
    for rivals in watched.values():
        await pace.breathe()
        leaders += _leaders(rivals)
    keys = encode_json(
        [OthersKey(each.price_id, each.observed_ms - BEST_WINDOW_MS, None) for each in leaders]
    ).decode()
    text = await store.read(lambda tx: history.others_lowest(tx, keys, stores))
    pace.rested()
    lowest = {found.price_id: found.price for found in records(text, OthersLowest)}
    return [each for each in leaders if (other := lowest[each.price_id]) is not None and each.price < other]


def _leaders(rivals: Sequence[Newest]) -> Iterator[Newest]:
    """Those that none of the others equals or beats since 14 days before; `rivals` are of one item."""
    stairs = Stairs()
    times: dict[int, list[int]] = defaultdict(list)
    for each in sorted(rivals, key=lambda each: each.observed_ms):
        stairs.add(each.observed_ms, each.price)
        times[each.price].append(each.observed_ms)
    for each in rivals:
        since_ms = each.observed_ms - BEST_WINDOW_MS
        equals = times[each.price]
        if stairs.lowest_since(since_ms) == each.price and len(equals) - bisect_left(equals, since_ms) == 1:
            yield each
