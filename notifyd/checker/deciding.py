"""What one run fires: fetches what the rules need, a portion of items at a time, and judges.

The cost grows with the prices of the run and the watches they meet. Of a portion's items it first asks how
small a drop anybody waits for, whose targets are met, and which watches have fired before; only series that
matter to one of those have their history read, and only drops that big enough are looked for by index. Other
stores are looked at only where a price is the lowest of its own store in two weeks.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from notifyd.checker.best import Rivals
from notifyd.checker.matching import (
    Bench,
    History,
    Outcome,
    Series,
    biggest_drops,
    follow,
)
from notifyd.checker.rules import BEST_WINDOW_MS, MEDIAN_WINDOW_MS, RuleState
from notifyd.messages import encode_json
from notifyd.store import history, watches
from notifyd.store.history import (
    ItemKey,
    RunPrice,
    SeriesKey,
    SeriesLowest,
    SeriesPrice,
    StorePrice,
    WindowKey,
)
from notifyd.store.json_rows import records
from notifyd.store.watch_rules import WHOLE
from notifyd.store.watches import Limit, SmallestDrops, Watch, WatchState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from notifyd.clock import Pace
    from notifyd.store.base import Store, Transaction
    from notifyd.store.history import Run

#: Prices whose items are dealt with at a time: some thousand rows in memory and a millisecond of decoding.
PORTION = 2000

#: The prices of a run by item and series, each in the order of storing.
Items = dict[str, dict[int, list[RunPrice]]]


class _Interest(NamedTuple):
    """Which watches a portion may concern."""

    drops: dict[str, SmallestDrops]
    states: dict[tuple[int, int], RuleState]  # by watch_key and series_id
    fired: list[Watch]
    targets: list[Watch]

    def items(self) -> set[str]:
        waited = {item for item, *drops in self.drops.values() if any(drop is not None for drop in drops)}
        return waited | {watch.item_id for watch in (*self.fired, *self.targets)}


async def decide(store: Store, run: Run, pace: Pace) -> Outcome:
    """Everything that `run` fires and changes; writes nothing. Raises Unavailable."""
    text = await store.read(partial(history.run_prices, run=run))
    pace.rested()
    rows = records(text, RunPrice)
    await pace.breathe()
    rows.sort()
    outcome = Outcome()
    for items in _portions(rows):
        await pace.breathe()
        await _Portion(store, run, items, pace).judge(outcome)
    return outcome


def _portions(rows: Iterable[RunPrice]) -> Iterator[Items]:
    by_item: Items = defaultdict(lambda: defaultdict(list))
    for row in rows:
        by_item[row.item_id][row.series_id].append(row)
    portion: Items = {}
    size = 0
    for item_id, series in by_item.items():
        portion[item_id] = series
        size += sum(map(len, series.values()))
        if size >= PORTION:
            yield portion
            portion, size = {}, 0
    if portion:
        yield portion


@dataclass
class _Portion:
    store: Store
    run: Run
    items: Items
    pace: Pace

    async def judge(self, outcome: Outcome) -> None:
        """Note in `outcome` what the items of this portion fire."""
        interest = await self._interest()
        series = await self._follow(interest)
        rivals = await self._rivals(interest)
        dropped = await self._dropped(interest, series, {item_id for item_id, _ in rivals})
        found = (*interest.fired, *interest.targets, *dropped)
        concerned = {(watch.watch_key, watch.item_id): watch for watch in found}
        bench = Bench(rivals)
        for watch in concerned.values():
            for each in series[watch.item_id]:
                await self.pace.breathe()
                if bench.concerns(watch, each):
                    state = interest.states.get((watch.watch_key, each.series_id))
                    bench.judge(watch, each, state, outcome)

    async def _interest(self) -> _Interest:
        items = _json((item_id,) for item_id in self.items)
        series = _json((series_id,) for each in self.items.values() for series_id in each)
        limits = _json(Limit(item_id, "target", _lowest(each)) for item_id, each in self.items.items())
        first = self.run.first_price_id

        def read(tx: Transaction) -> tuple[bytes, ...]:
            return (
                watches.smallest_drops(tx, items),
                watches.states(tx, series),
                watches.fired_watches(tx, series, first),
                watches.met_targets(tx, limits, first),
            )

        drops, states, fired, targets = await self.store.read(read)
        self.pace.rested()
        return _Interest(
            {each.item_id: each for each in records(drops, SmallestDrops)},
            await self._states(states),
            records(fired, Watch),
            records(targets, Watch),
        )

    async def _states(self, text: bytes) -> dict[tuple[int, int], RuleState]:
        states = {}
        for each in records(text, WatchState):
            await self.pace.breathe()
            states[each.watch_key, each.series_id] = RuleState(each.armed, each.told, each.fired_ms)
        return states

    async def _follow(self, interest: _Interest) -> dict[str, list[Series]]:
        wanted = {item_id: self.items[item_id] for item_id in interest.items()}
        histories = await read_histories(self.store, self._keys(wanted, interest))
        self.pace.rested()
        followed: dict[str, list[Series]] = {}
        for item_id, series in wanted.items():
            await self.pace.breathe()
            followed[item_id] = [follow(rows, histories[series_id]) for series_id, rows in series.items()]
        return followed

    def _keys(self, wanted: Items, interest: _Interest) -> Keys:
        before = self.run.first_price_id
        fired = {series_id for _, series_id in interest.states}
        keys = Keys([], [], [])
        for item_id, series in wanted.items():
            smallest = interest.drops[item_id]
            for series_id, rows in series.items():
                key = SeriesKey(series_id, before)
                keys.newest.append(key)
                if smallest.lowest is not None:
                    keys.lowest.append(key)
                if smallest.median_30d is not None:
                    floor = 0 if len(rows) > 1 or series_id in fired else _floor(rows[0], smallest.median_30d)
                    since = min(row.observed_ms for row in rows) - MEDIAN_WINDOW_MS
                    keys.windows.append(WindowKey(series_id, before, since, floor))
        return keys

    async def _rivals(self, interest: _Interest) -> dict[tuple[str, str], Rivals]:
        """Who competes with the items' prices, where one of these may be a new best."""
        fired = {watch.item_id for watch in interest.fired}
        waited = {item_id for item_id, smallest in interest.drops.items() if smallest.best_14d is not None}
        items = (waited & fired) | await self._lowest_of_its_own(waited - fired)
        if not items:
            return {}
        keys = _json(
            ItemKey(item_id, self.run.first_price_id, self._earliest(item_id) - BEST_WINDOW_MS)
            for item_id in items
        )
        text = await self.store.read(lambda tx: history.steps(tx, keys))
        self.pace.rested()
        known: dict[tuple[str, str], list[StorePrice]] = defaultdict(list)
        for step in records(text, StorePrice):
            await self.pace.breathe()
            known[step.item_id, step.currency].append(step)
        rows: dict[tuple[str, str], list[RunPrice]] = defaultdict(list)
        for item_id in items:
            for each in self.items[item_id].values():
                await self.pace.breathe()
                rows[item_id, each[0].currency].extend(each)
        return {key: Rivals(known[key], each) for key, each in rows.items()}

    async def _lowest_of_its_own(self, waited: set[str]) -> set[str]:
        """The items with a price that may be the lowest of its own store in the last 14 days."""
        items = {item_id for item_id in waited if any(len(each) > 1 for each in self.items[item_id].values())}
        single = {
            series_id: each[0]
            for item_id in waited - items
            for series_id, each in self.items[item_id].items()
        }
        if single:
            before = self.run.first_price_id
            keys = _json(
                WindowKey(series_id, before, row.observed_ms - BEST_WINDOW_MS, 0)
                for series_id, row in single.items()
            )
            text = await self.store.read(lambda tx: history.recent_lowest(tx, keys))
            self.pace.rested()
            for found in records(text, SeriesLowest):
                row = single[found.series_id]
                if found.price is None or row.price < found.price:
                    items.add(row.item_id)
        return items

    def _earliest(self, item_id: str) -> int:
        return min(row.observed_ms for each in self.items[item_id].values() for row in each)

    async def _dropped(
        self, interest: _Interest, series: dict[str, list[Series]], contested: set[str]
    ) -> list[Watch]:
        limits = [Limit(item_id, "best_14d", 0) for item_id in contested]
        for item_id, each in series.items():
            await self.pace.breathe()
            smallest = interest.drops[item_id]._asdict()
            for baseline, drop in biggest_drops(each).items():
                if smallest[baseline] is not None and smallest[baseline] <= drop:
                    limits.append(Limit(item_id, baseline, drop))
        if not limits:
            return []
        keys, first = _json(limits), self.run.first_price_id
        text = await self.store.read(lambda tx: watches.met_drops(tx, keys, first))
        self.pace.rested()
        return records(text, Watch)


def _lowest(series: dict[int, list[RunPrice]]) -> int:
    return min(row.price for rows in series.values() for row in rows)


def _floor(row: RunPrice, drop: int) -> int:
    """What a price of the last 30 days must reach at least, so that the median may lie `drop` above `row`."""
    if drop == WHOLE:
        return 0
    return -(-row.price * WHOLE // (WHOLE - drop))


def _json(rows: Iterable[Sequence[object]]) -> str:
    return encode_json(list(rows)).decode()


class Keys(NamedTuple):
    """Which series to read the history of: all, those whose lowest price, those whose last month matters."""

    newest: list[SeriesKey]
    lowest: list[SeriesKey]
    windows: list[WindowKey]


async def read_histories(store: Store, keys: Keys) -> dict[int, History]:
    """The history of each series in `keys.newest`. Raises Unavailable."""
    newest, lowest, windows = _json(keys.newest), _json(keys.lowest), _json(keys.windows)

    def read(tx: Transaction) -> tuple[bytes, bytes, bytes]:
        return (
            history.newest(tx, newest),
            history.lowest(tx, lowest),
            history.window(tx, windows),
        )

    texts = await store.read(read)
    histories = {key.series_id: History() for key in keys.newest}
    for price in records(texts[0], SeriesPrice):
        known = histories[price.series_id]
        known.newest_ms, known.previous = price.observed_ms, price.price
    for found in records(texts[1], SeriesLowest):
        known = histories[found.series_id]
        known.wants_lowest, known.lowest = True, found.price
    for key in keys.windows:
        histories[key.series_id].wants_median = True
    for price in records(texts[2], SeriesPrice):
        histories[price.series_id].window.append((price.observed_ms, price.price))
    for key in keys.windows:
        histories[key.series_id].window.sort()
    return histories
