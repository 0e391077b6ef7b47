"""Which alerts a watch would have given on the prices that are stored. Reads only, a slice at a time.

Prices are taken in the order in which they were stored, as the checker took them; only what retention has
thinned out since can make a difference.
"""

from __future__ import annotations

from heapq import merge
from typing import TYPE_CHECKING, NamedTuple

import trio

from notifyd.checker.matching import Bench
from notifyd.checker.replay import Replay
from notifyd.checker.watching import MAX_ITEMS, watch_of
from notifyd.clock import Pace
from notifyd.errors import Unprocessable
from notifyd.store import history, watches
from notifyd.store.history import ItemSeries, SeriesPage
from notifyd.store.json_rows import records
from notifyd.store.runs import RunPrice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifyd.store.base import Store
    from notifyd.store.watch_rules import WatchSpec

#: What one call looks at, at most; the answer says where to go on.
MAX_PRICES = 200_000
DEADLINE_S = 5.0
#: Prices in one read.
PAGE = 2000


class WouldTell(NamedTuple):
    """An alert that a watch would have given. Prices are cents."""

    series: ItemSeries
    price: int
    observed_ms: int
    valid_until_ms: int | None
    previous: int | None
    baseline: str
    baseline_price: int | None


class Tested(NamedTuple):
    """What a backtest has found; `after` names the item to go on after when it did not get to the end."""

    alerts: Sequence[WouldTell]
    total: int  # of alerts, with those beyond the limit
    items: int
    prices: int
    after: str | None


async def backtest(
    store: Store, spec: WatchSpec, *, after: str = "", limit: int, deadline_s: float = DEADLINE_S
) -> Tested:
    """What `spec` would have told, item by item from the one after `after`; at most `limit` alerts are given.

    It stops between items after MAX_PRICES prices or `deadline_s` seconds; an item that is too much alone is
    tested as far as it goes. Raises Unavailable; Unprocessable when a search means too many items.
    """
    items = await store.read(lambda tx: watches.items_of(tx, spec, MAX_ITEMS + 1))
    if len(items) > MAX_ITEMS:
        raise Unprocessable(f"search: more than {MAX_ITEMS} items have these words in their names; add one")
    return await _Backtest(store, spec, limit, trio.current_time() + deadline_s).run(
        [item_id for item_id in items if item_id > after]
    )


class _Backtest:
    def __init__(self, store: Store, spec: WatchSpec, limit: int, deadline: float) -> None:
        self._store = store
        self._spec = spec
        self._limit = limit
        self._deadline = deadline
        self._pace = Pace()
        self._prices = 0

    async def run(self, items: Sequence[str]) -> Tested:
        alerts: list[WouldTell] = []
        total = tested = 0
        last = None
        for item_id in items:
            before = self._prices
            found, complete = await self._test(item_id)
            if not complete and tested:
                return Tested(alerts, total, tested, before, last)
            tested, total, last = tested + 1, total + len(found), item_id
            alerts += found[: self._limit - len(alerts)]
            if not complete or (self._over() and item_id != items[-1]):
                return Tested(alerts, total, tested, self._prices, last)
        return Tested(alerts, total, tested, self._prices, None)

    def _over(self) -> bool:
        return self._prices >= MAX_PRICES or trio.current_time() >= self._deadline

    async def _test(self, item_id: str) -> tuple[list[WouldTell], bool]:
        """The item's alerts, and whether all of its prices were looked at."""
        series = {each.series_id: each for each in await self._series(item_id)}
        rows: list[list[RunPrice]] = []
        complete = True
        for each in series.values():
            some, whole = await self._rows(each)
            rows.append(some)
            complete = complete and whole
        replay = Replay(self._spec.rule)
        found: list[WouldTell] = []
        for row in merge(*rows):
            await self._pace.breathe()
            if trio.current_time() >= self._deadline:
                return found, False
            if (moment := replay.step(row)) is not None:
                label, price = moment.compared_by(self._spec.rule)
                found.append(
                    WouldTell(
                        series[row.series_id],
                        row.price,
                        row.observed_ms,
                        row.valid_until_ms,
                        moment.previous,
                        label,
                        price,
                    )
                )
        return found, complete

    async def _series(self, item_id: str) -> list[ItemSeries]:
        text = await self._store.read(lambda tx: history.item_series(tx, item_id))
        self._pace.rested()
        bench, watch = Bench(), watch_of(self._spec, item_id)
        every = sorted(records(text, ItemSeries))
        return [each for each in every if bench.looks_at(watch, item_id, each.store_id, each.currency)]

    async def _rows(self, series: ItemSeries) -> tuple[list[RunPrice], bool]:
        """Prices of a series in the order of storing, and whether these are all: no more may be looked at."""
        rows: list[RunPrice] = []
        last = (-1, -1)
        while not self._over():
            page = await self._page(series.series_id, last)
            self._prices += len(page)
            rows += [_row(series, each) for each in page]
            await self._pace.breathe()
            if len(page) < PAGE:
                rows.sort()
                return rows, True
            last = (page[-1].observed_ms, page[-1].price)
        rows.sort()
        return rows, False

    async def _page(self, series_id: int, last: tuple[int, int]) -> list[SeriesPage]:
        text = await self._store.read(lambda tx: history.series_page(tx, series_id, last, PAGE))
        self._pace.rested()
        return sorted(records(text, SeriesPage))


def _row(series: ItemSeries, price: SeriesPage) -> RunPrice:
    return RunPrice(
        price.price_id,
        series.series_id,
        price.observed_ms,
        price.price,
        series.item_id,
        series.store_id,
        series.currency,
        price.valid_until_ms,
    )
