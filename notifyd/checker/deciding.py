"""What one run fires: fetches what the rules need, a portion of items at a time, and judges.

The cost grows with the prices of the run and the watches they meet. Of a portion's items it first asks what
anybody waits for at least, of its series which price came before and which watches have fired; only what
`sifting` finds suspect has its history read, and only drops that are big enough are looked for by index.
Other stores are looked at only where a price is the lowest of its own store in two weeks.

Portions are dealt with side by side, so that the database works on one while another is judged.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import trio

from notifyd.checker.best import Rivals
from notifyd.checker.matching import Bench, History, Outcome, Series, biggest_drops, follow
from notifyd.checker.rules import BEST_WINDOW_MS, RuleState
from notifyd.checker.sifting import Interest, Suspects
from notifyd.clock import Pace
from notifyd.messages import encode_json
from notifyd.store import history, runs, watches
from notifyd.store.history import ItemKey, SeriesKey, SeriesLowest, SeriesPrice, StorePrice, WindowKey
from notifyd.store.json_rows import records
from notifyd.store.runs import RunPrice
from notifyd.store.watches import Awaited, Fired, Limit, Watch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from notifyd.checker.sifting import Items
    from notifyd.store.base import Store, Transaction
    from notifyd.store.runs import Run

#: Prices whose items are dealt with at a time: some thousand rows in memory and a millisecond of decoding.
PORTION = 1000
#: Portions that are dealt with side by side.
TOGETHER = 3
#: A JSON text of no rows.
NONE = b"[]"


async def decide(store: Store, run: Run, pace: Pace) -> Outcome:
    """Everything that `run` fires and changes; writes nothing. Raises StoreError."""
    outcome = Outcome()
    portions = _portions(await _read(store, run, pace))

    async def judge() -> None:
        own = Pace(TOGETHER)
        for items in portions:
            await own.breathe()
            await _Portion(store, run, items, own).judge(outcome)

    try:
        async with trio.open_nursery() as nursery:
            for _ in range(TOGETHER):
                nursery.start_soon(judge)
    except ExceptionGroup as group:
        raise _first(group) from None  # one portion's error is as good as another's
    pace.rested()
    return outcome


def _first(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


async def _read(store: Store, run: Run, pace: Pace) -> Items:
    by_item: Items = {}
    for first in range(run.first_price_id, run.last_price_id + 1, PORTION):
        last = min(first + PORTION - 1, run.last_price_id)
        text = await store.read(partial(runs.run_prices, first=first, last=last))
        pace.rested()
        for row in records(text, RunPrice):
            by_item.setdefault(row.item_id, {}).setdefault(row.series_id, []).append(row)
    return by_item


def _portions(by_item: Items) -> Iterator[Items]:
    portion: Items = {}
    size = 0
    for item_id, series in by_item.items():
        portion[item_id] = series
        for rows in series.values():
            rows.sort()
            size += len(rows)
        if size >= PORTION:
            yield portion
            portion, size = {}, 0
    if portion:
        yield portion


class _Found(NamedTuple):
    """What was read of the suspects."""

    histories: dict[int, History]  # lowest and last month, of series that have been asked for
    targets: list[Watch]
    contested: set[str]


@dataclass
class _Portion:
    store: Store
    run: Run
    items: Items
    pace: Pace

    async def judge(self, outcome: Outcome) -> None:
        """Note in `outcome` what the items of this portion fire."""
        interest = await self._interest()
        suspects = Suspects(self.run.first_price_id)
        for item_id, each in self.items.items():
            await self.pace.breathe()
            suspects.sift(item_id, each, interest)
        found = await self._found(suspects)
        rivals = await self._rivals(found.contested)
        series = await self._follow(suspects, found, interest)
        dropped = await self._dropped(interest, series, found.contested)
        fired = (each.watch for states in interest.fired.values() for each in states)
        concerned = {(watch.watch_key, watch.item_id): watch for watch in (*fired, *found.targets, *dropped)}
        bench = Bench(rivals)
        for watch in concerned.values():
            for one in series[watch.item_id]:
                await self.pace.breathe()
                if bench.concerns(watch, one):
                    state = interest.states.get((watch.watch_key, one.series_id))
                    bench.judge(watch, one, state, outcome)

    async def _interest(self) -> Interest:
        items = encode_json(list(self.items)).decode()
        series = encode_json([series_id for each in self.items.values() for series_id in each]).decode()
        first = self.run.first_price_id

        def read(tx: Transaction) -> tuple[bytes, bytes, bytes]:
            return (
                watches.awaited(tx, items),
                history.newest_of_series(tx, series, first),
                watches.fired(tx, series, first),
            )

        awaited, newest, fired = await self.store.read(read)
        self.pace.rested()
        interest = Interest(
            {each.item_id: each for each in records(awaited, Awaited)},
            {each.series_id: each for each in records(newest, SeriesPrice)},
            defaultdict(list),
            {},
        )
        for each in records(fired, Fired):
            await self.pace.breathe()
            interest.fired[each.series_id].append(each)
            interest.states[each.watch_key, each.series_id] = RuleState(each.armed, each.told, each.fired_ms)
        return interest

    async def _found(self, suspects: Suspects) -> _Found:
        targets, lowest = _json(suspects.targets), _json(suspects.lowest)
        months, fortnights = _json(suspects.months), _json(suspects.fortnight_keys)
        first = self.run.first_price_id

        def read(tx: Transaction) -> tuple[bytes, bytes, bytes, bytes]:
            return (
                watches.met_targets(tx, targets, first) if suspects.targets else NONE,
                history.lowest(tx, lowest) if suspects.lowest else NONE,
                history.window(tx, months) if suspects.months else NONE,
                history.recent_lowest(tx, fortnights) if suspects.fortnights else NONE,
            )

        texts = await self.store.read(read)
        self.pace.rested()
        histories: dict[int, History] = defaultdict(History)
        for key in suspects.months:
            if not key.floor:  # its prices come one after another
                histories[key.series_id].wants_median = True
        _fill(histories, *texts[1:3])
        contested = suspects.contested
        for found in records(texts[3], SeriesLowest):
            item_id = suspects.fortnights[found.series_id]
            row = self.items[item_id][found.series_id][0]
            if found.price is None or row.price < found.price:
                contested.add(item_id)
        return _Found(histories, records(texts[0], Watch), contested)

    async def _follow(self, suspects: Suspects, found: _Found, interest: Interest) -> dict[str, list[Series]]:
        whole = suspects.items | found.contested | {watch.item_id for watch in found.targets}
        followed: dict[str, list[Series]] = {}
        for item_id, series in self.items.items():
            await self.pace.breathe()
            for series_id, rows in series.items():
                if item_id in whole or series_id in suspects.series or series_id in found.histories:
                    known = found.histories.get(series_id) or History()
                    newest = interest.newest.get(series_id)
                    if newest is not None:
                        known.newest_ms, known.previous = newest.observed_ms, newest.price
                    followed.setdefault(item_id, []).append(follow(rows, known))
        return followed

    async def _rivals(self, contested: set[str]) -> dict[tuple[str, str], Rivals]:
        """Who competes with the prices of items that may have a new best."""
        if not contested:
            return {}
        keys = _json(
            ItemKey(item_id, self.run.first_price_id, self._earliest(item_id) - BEST_WINDOW_MS)
            for item_id in contested
        )
        text = await self.store.read(lambda tx: history.steps(tx, keys))
        self.pace.rested()
        known: dict[tuple[str, str], list[StorePrice]] = defaultdict(list)
        for step in records(text, StorePrice):
            await self.pace.breathe()
            known[step.item_id, step.currency].append(step)
        rows: dict[tuple[str, str], list[RunPrice]] = defaultdict(list)
        for item_id in contested:
            for each in self.items[item_id].values():
                await self.pace.breathe()
                rows[item_id, each[0].currency].extend(each)
        return {key: Rivals(known[key], each) for key, each in rows.items()}

    def _earliest(self, item_id: str) -> int:
        return min(row.observed_ms for each in self.items[item_id].values() for row in each)

    async def _dropped(
        self, interest: Interest, series: dict[str, list[Series]], contested: set[str]
    ) -> list[Watch]:
        limits = [Limit(item_id, "best_14d", 0) for item_id in contested]
        for item_id, each in series.items():
            await self.pace.breathe()
            smallest = interest.awaited[item_id]._asdict()
            for baseline, drop in biggest_drops(each).items():
                if smallest[baseline] is not None and smallest[baseline] <= drop:
                    limits.append(Limit(item_id, baseline, drop))
        if not limits:
            return []
        keys, first = _json(limits), self.run.first_price_id
        text = await self.store.read(lambda tx: watches.met_drops(tx, keys, first))
        self.pace.rested()
        return records(text, Watch)


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
    for key in keys.windows:
        histories[key.series_id].wants_median = True
    _fill(histories, texts[1], texts[2])
    return histories


def _fill(histories: Mapping[int, History], lowest: bytes, windows: bytes) -> None:
    """Add what was read of lowest prices and last months."""
    for found in records(lowest, SeriesLowest):
        known = histories[found.series_id]
        known.wants_lowest, known.lowest = True, found.price
    series = set()
    for price in records(windows, SeriesPrice):
        known = histories[price.series_id]
        known.wants_median = True
        known.window.append((price.observed_ms, price.price))
        series.add(price.series_id)
    for series_id in series:
        histories[series_id].window.sort()
