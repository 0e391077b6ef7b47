"""Why a watch did or did not fire last, in each of its stores. Reads only."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from notifyd.checker.deciding import Keys, read_histories
from notifyd.checker.explaining import Explained, Standing, explain
from notifyd.checker.matching import Bench, follow
from notifyd.checker.rules import BEST_WINDOW_MS, MEDIAN_WINDOW_MS, Moment, RuleState
from notifyd.checker.watching import place, row_of
from notifyd.clock import Pace
from notifyd.messages import encode_json
from notifyd.store import history, watches
from notifyd.store.history import OthersKey, OthersLowest, SeriesArrival, SeriesKey, WindowKey
from notifyd.store.json_rows import records
from notifyd.store.watch_rules import NewBest, TargetPrice, decode_rule, decode_stores
from notifyd.store.watches import Newest, StoredWatch, Watch, WatchState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifyd.store.base import Store, Transaction
    from notifyd.store.watch_rules import Rule

#: Items that one answer explains.
MAX_ITEMS = 20
#: Stores of these items, all together.
MAX_SERIES = 500


class SeriesExplained(NamedTuple):
    """One store of one item."""

    newest: Newest
    baseline: str
    baseline_price: int | None  # cents, half a cent rounded up
    why: Explained


class Nothing(NamedTuple):
    """Why a watch has no price to look at."""

    reason: str
    explanation: str


class WatchExplained(NamedTuple):
    """A watch and its stores, by item; `after` names the item to go on after when there is more."""

    watch: StoredWatch
    series: list[SeriesExplained]
    after: str | None
    nothing: Nothing | None = None  # why there is no store at all


class _Facts(NamedTuple):
    watch: StoredWatch
    items: list[str]
    newest: bytes
    checked: int
    now_ms: int


async def explain_watch(store: Store, user_id: str, watch_id: str, after: str = "") -> WatchExplained | None:
    """Explain a user's watch in the items after `after`; None when there is no such watch.

    Raises Unavailable.
    """
    facts = await store.read(partial(_read, user_id=user_id, watch_id=watch_id, after=after))
    if facts is None:
        return None
    watch, rule = facts.watch, decode_rule(facts.watch.rule)
    bench = Bench()
    known = sorted(records(facts.newest, Newest), key=place)
    newest = [
        each
        for each in known
        if bench.looks_at(_watch(watch, each.item_id), each.item_id, each.store_id, each.currency)
    ][:MAX_SERIES]
    series = await _explain(store, facts, rule, newest)
    if len(facts.items) == MAX_ITEMS:
        return WatchExplained(watch, series, facts.items[-1])
    nothing = None if series or after else _nothing(facts, rule, known)
    return WatchExplained(watch, series, None, nothing)


def _nothing(facts: _Facts, rule: Rule, known: Sequence[Newest]) -> Nothing:
    if not facts.items:
        return Nothing("no_item", "No item has these words in its name so far.")
    if not known:
        return Nothing("no_price", f"No price of {facts.items[0]} has come in so far.")
    where = "" if facts.watch.stores is None else " in the stores of this watch"
    currency = f" in {rule.currency}" if isinstance(rule, TargetPrice) and rule.currency else ""
    return Nothing("no_watched_price", f"There are prices of its items, but none{where}{currency}.")


def _read(tx: Transaction, *, user_id: str, watch_id: str, after: str) -> _Facts | None:
    watch = watches.find_watch(tx, user_id, watch_id)
    if watch is None:
        return None
    items = watches.linked_items(tx, watch.watch_key, after, MAX_ITEMS)
    newest = watches.newest_of_items(tx, encode_json([(item_id,) for item_id in items]).decode())
    return _Facts(watch, items, newest, history.checked_up_to(tx), tx.now_ms)


def _watch(stored: StoredWatch, item_id: str) -> Watch:
    return Watch(stored.watch_key, "", stored.watch_id, item_id, stored.stores, stored.rule)


async def _explain(
    store: Store, facts: _Facts, rule: Rule, newest: Sequence[Newest]
) -> list[SeriesExplained]:
    pace = Pace()
    keys = encode_json([(each.series_id,) for each in newest]).decode()

    def read(tx: Transaction) -> tuple[bytes, bytes]:
        return history.arrivals(tx, keys), watches.states_of_watch(tx, facts.watch.watch_key, keys)

    arrivals, states = await store.read(read)
    arrived = {each.series_id: each for each in records(arrivals, SeriesArrival)}
    state = {
        each.series_id: RuleState(each.armed, each.told, each.fired_ms)
        for each in records(states, WatchState)
    }
    moments = await _moments(store, facts.watch, rule, newest)
    pace.rested()
    explained = []
    for each in newest:
        await pace.breathe()
        moment = moments[each.series_id]
        standing = Standing(
            rule,
            each,
            moment,
            arrived[each.series_id],
            state.get(each.series_id),
            facts.watch.since_price_id,
            facts.checked,
            facts.now_ms,
        )
        label, price = moment.compared_by(rule)
        explained.append(SeriesExplained(each, label, price, explain(standing)))
    return explained


async def _moments(
    store: Store, watch: StoredWatch, rule: Rule, newest: Sequence[Newest]
) -> dict[int, Moment]:
    """Each newest price with what was known before it, by series."""
    keys = [SeriesKey(each.series_id, each.price_id) for each in newest]
    windows = [
        WindowKey(each.series_id, each.price_id, each.observed_ms - MEDIAN_WINDOW_MS, 0) for each in newest
    ]
    wanted = Keys(
        keys, keys if rule.measure == "lowest" else [], windows if rule.measure == "median_30d" else []
    )
    histories = await read_histories(store, wanted)
    best = await _best(store, watch, newest) if isinstance(rule, NewBest) else {}
    moments = {}
    for each in newest:
        (moment,) = follow([row_of(each)], histories[each.series_id]).moments
        moments[each.series_id] = moment._replace(best=best.get(each.price_id))
    return moments


async def _best(store: Store, watch: StoredWatch, newest: Sequence[Newest]) -> dict[int, int | None]:
    keys = encode_json(
        [OthersKey(each.price_id, each.observed_ms - BEST_WINDOW_MS, each.price_id) for each in newest]
    ).decode()
    stores = decode_stores(watch.stores)
    text = await store.read(lambda tx: history.others_lowest(tx, keys, stores))
    return {found.price_id: found.price for found in records(text, OthersLowest)}
