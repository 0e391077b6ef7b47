"""Which prices of a run may matter to anybody, from the little that is known of all. Pure.

Most prices are no lower than the one before, and then nothing that compares with the lowest so far, with the
best in two weeks or with the price before can fire. Only the others have their history read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from notifyd.checker.rules import BEST_WINDOW_MS, MEDIAN_WINDOW_MS, RuleState, fall_bp
from notifyd.store.history import SeriesKey, SeriesPrice, WindowKey
from notifyd.store.runs import RunPrice
from notifyd.store.watch_rules import WHOLE
from notifyd.store.watches import Awaited, Fired, Limit

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What a rule measures that looks across stores.
BEST: Final = "best_14d"

#: The prices of a run by item and series, each in the order of storing.
Items = dict[str, dict[int, list[RunPrice]]]


class Interest(NamedTuple):
    """What is known of the items and series of a portion before any history is read."""

    awaited: dict[str, Awaited]
    newest: dict[int, SeriesPrice]  # before the run
    fired: dict[int, list[Fired]]  # by series
    states: dict[tuple[int, int], RuleState]  # by watch_key and series_id


@dataclass
class Suspects:
    """What to look at more closely, and what to read for that."""

    before: int  # the first price of the run
    items: set[str] = field(default_factory=set)  # in all of their series
    series: set[int] = field(default_factory=set)  # of other items
    contested: set[str] = field(default_factory=set)  # items that may have a new best price
    targets: list[Limit] = field(default_factory=list)
    lowest: list[SeriesKey] = field(default_factory=list)
    months: list[WindowKey] = field(default_factory=list)
    fortnights: dict[int, str] = field(default_factory=dict)  # item by series
    fortnight_keys: list[WindowKey] = field(default_factory=list)

    def sift(self, item_id: str, series: dict[int, list[RunPrice]], interest: Interest) -> None:
        """Take in the prices of an item."""
        awaited = interest.awaited[item_id]
        if awaited.target is not None:
            least = min(row.price for rows in series.values() for row in rows)
            if least <= awaited.target:
                self.targets.append(Limit(item_id, "target", least))
        for series_id, rows in series.items():
            fired = interest.fired.get(series_id)
            if fired is not None or len(rows) > 1:
                self._follow(awaited, rows, fired or ())
            if len(rows) == 1:
                self._sift_one(awaited, rows[0], interest.newest.get(series_id), followed=fired is not None)

    def _follow(self, awaited: Awaited, rows: Sequence[RunPrice], fired: Sequence[Fired]) -> None:
        series_id, item_id = rows[0].series_id, rows[0].item_id
        if fired:
            self.items.add(item_id)
        if awaited.best_14d is not None and (len(rows) > 1 or any(each.measure == BEST for each in fired)):
            self.contested.add(item_id)
        self.series.add(series_id)
        if awaited.lowest is not None:
            self.lowest.append(SeriesKey(series_id, self.before))
        if awaited.median_30d is not None:
            since_ms = min(row.observed_ms for row in rows) - MEDIAN_WINDOW_MS
            self.months.append(WindowKey(series_id, self.before, since_ms, 0))

    def _sift_one(
        self, awaited: Awaited, row: RunPrice, newest: SeriesPrice | None, *, followed: bool
    ) -> None:
        """Take in the only price of a series."""
        if newest is None:  # the first price ever has nothing to fall from but other stores' prices
            if awaited.best_14d is not None:
                self.contested.add(row.item_id)
            return
        if row.observed_ms < newest.observed_ms:
            return  # it is late
        if awaited.median_30d is not None and not followed:
            floor = floor_of(row.price, awaited.median_30d)
            since_ms = row.observed_ms - MEDIAN_WINDOW_MS
            self.months.append(WindowKey(row.series_id, self.before, since_ms, floor))
        if awaited.best_14d is not None:
            since_ms = row.observed_ms - BEST_WINDOW_MS
            if row.price < newest.price or newest.observed_ms < since_ms:
                self.fortnights[row.series_id] = row.item_id
                self.fortnight_keys.append(WindowKey(row.series_id, self.before, since_ms, 0))
        if row.price <= newest.price and not followed:
            self._compare(awaited, row, fall_bp(2 * newest.price, row.price))

    def _compare(self, awaited: Awaited, row: RunPrice, fall: int | None) -> None:
        # What was lowest is no higher than what was newest: from there the price fell no deeper.
        if fall is None:
            return
        if awaited.previous is not None and awaited.previous <= fall:
            self.series.add(row.series_id)
        if awaited.lowest is not None and awaited.lowest <= fall:
            self.series.add(row.series_id)
            self.lowest.append(SeriesKey(row.series_id, self.before))


def floor_of(price: int, drop: int) -> int:
    """What a price of the last 30 days must reach at least, so that the median may lie `drop` above."""
    if drop == WHOLE:
        return 0
    return -(-price * WHOLE // (WHOLE - drop))
