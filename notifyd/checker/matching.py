"""From the prices of a run to what they fire. Pure: the loop fetches, this decides.

A *series* is one item in one store in one currency; rules keep their state per watch and series. Only the
best price looks across series: at all of an item in one currency (best.py). Prices are taken in the order in
which they were stored. One observed before the newest of its series is *late*: it belongs to the history of
those after it, and fires nothing.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from notifyd.checker.rules import MEDIAN_WINDOW_MS, Moment, RuleState, drop_bp, judge, median_twice
from notifyd.store.watch_rules import BASELINES, NewBest, Rule, TargetPrice, decode_rule, decode_stores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from notifyd.checker.best import Rivals
    from notifyd.store.runs import RunPrice
    from notifyd.store.watch_rules import Baseline
    from notifyd.store.watches import Watch


@dataclass
class History:
    """What is known of a series before some price. Baselines that nobody asks for are left out."""

    newest_ms: int | None = None
    previous: int | None = None
    lowest: int | None = None
    window: list[tuple[int, int]] = field(default_factory=list)  # (observed_ms, price), in this order
    wants_lowest: bool = False
    wants_median: bool = False

    def take(self, row: RunPrice) -> Moment | None:
        """Add the next price that was stored; None when it is late."""
        late = self.newest_ms is not None and row.observed_ms < self.newest_ms
        moment = None if late else self._moment(row)
        if self.wants_lowest:
            self.lowest = row.price if self.lowest is None else min(self.lowest, row.price)
        if self.wants_median:
            insort(self.window, (row.observed_ms, row.price))
        if not late:
            self.newest_ms, self.previous = row.observed_ms, row.price
        return moment

    def _moment(self, row: RunPrice) -> Moment:
        # No later price that may fire looks further back than this one.
        del self.window[: bisect_left(self.window, (row.observed_ms - MEDIAN_WINDOW_MS, -1))]
        median = median_twice([price for _, price in self.window])
        return Moment(
            row.price_id,
            row.price,
            row.observed_ms,
            self.previous,
            self.lowest,
            median,
            valid_until_ms=row.valid_until_ms,
        )


@dataclass(frozen=True)
class Series:
    """A series with the prices of a run that may fire something."""

    series_id: int
    item_id: str
    store_id: str  # JSON text
    currency: str
    moments: Sequence[Moment]


class Alert(NamedTuple):
    """A rule has fired."""

    watch: Watch
    rule: Rule
    series: Series
    moment: Moment


@dataclass
class Outcome:
    """What a run does: alerts, and the states to store (None: to forget) by watch_key and series_id."""

    alerts: list[Alert] = field(default_factory=list)
    states: dict[tuple[int, int], RuleState | None] = field(default_factory=dict)

    def watch_keys(self) -> set[int]:
        """The watches that must not have changed when this is written."""
        return {watch_key for watch_key, _ in self.states}


def follow(rows: Sequence[RunPrice], history: History) -> Series:
    """The series of `rows`, all of one, with what was known at each price that is not late."""
    first = rows[0]
    moments = [moment for row in rows if (moment := history.take(row)) is not None]
    return Series(first.series_id, first.item_id, first.store_id, first.currency, moments)


def biggest_drops(series: Sequence[Series]) -> dict[Baseline, int]:
    """The biggest drop below each baseline, in basis points, where there is one."""
    drops: dict[Baseline, int] = {}
    for baseline in BASELINES:
        known = (drop_bp(moment, baseline) for each in series for moment in each.moments)
        biggest = max((drop for drop in known if drop is not None), default=-1)
        if biggest > 0:
            drops[baseline] = biggest
    return drops


class Course(NamedTuple):
    """What the prices of a series do to a rule."""

    fired: tuple[Moment, ...]
    state: RuleState | None
    changed: bool  # the state is, or was meanwhile, another than before


def judge_series(rule: Rule, series: Series, state: RuleState | None) -> Course:
    """Judge the prices of a series in turn, for a rule that is in `state` before them."""
    fired, changed = [], False
    for moment in series.moments:
        verdict = judge(rule, state, moment)
        if verdict.fires:
            fired.append(moment)
        changed = changed or verdict.state != state
        state = verdict.state
    return Course(tuple(fired), state, changed)


class Bench:
    """Judges watches, equal rules in equal states only once: many users watch an item by the same rule.

    `rivals` are by item and currency; where they are left out no price is a new best.
    """

    def __init__(self, rivals: Mapping[tuple[str, str], Rivals] | None = None) -> None:
        self._rivals = rivals or {}
        self._rules: dict[str, Rule] = {}
        self._stores: dict[str | None, frozenset[str] | None] = {}
        self._courses: dict[tuple[str, int, RuleState | None, str | None], Course] = {}

    def concerns(self, watch: Watch, series: Series) -> bool:
        """Whether the watch looks at this series."""
        return self.looks_at(watch, series.item_id, series.store_id, series.currency)

    def looks_at(self, watch: Watch, item_id: str, store_id: str, currency: str) -> bool:
        """Whether the watch looks at this item, store and currency."""
        if watch.stores not in self._stores:
            self._stores[watch.stores] = decode_stores(watch.stores)
        stores, rule = self._stores[watch.stores], self._rule(watch)
        if item_id != watch.item_id or (stores is not None and store_id not in stores):
            return False
        return not isinstance(rule, TargetPrice) or rule.currency in (None, currency)

    def judge(self, watch: Watch, series: Series, state: RuleState | None, outcome: Outcome) -> None:
        """Note in `outcome` what the series does to a watch that it concerns."""
        rule = self._rule(watch)
        compared = watch.stores if isinstance(rule, NewBest) else None
        key = (watch.rule, series.series_id, state, compared)
        course = self._courses.get(key)
        if course is None:
            course = self._courses[key] = judge_series(rule, self.compared(watch, series), state)
        outcome.alerts.extend(Alert(watch, rule, series, moment) for moment in course.fired)
        if course.changed:
            outcome.states[watch.watch_key, series.series_id] = course.state

    def compared(self, watch: Watch, series: Series) -> Series:
        """The series with what was the best price across the watch's stores, if its rule asks for that."""
        rivals = self._rivals.get((series.item_id, series.currency))
        if rivals is None or not isinstance(self._rule(watch), NewBest):
            return series
        best = rivals.best(watch.stores, decode_stores(watch.stores))
        moments = [moment._replace(best=best[moment.price_id]) for moment in series.moments]
        return replace(series, moments=moments)

    def _rule(self, watch: Watch) -> Rule:
        rule = self._rules.get(watch.rule)
        if rule is None:
            rule = self._rules[watch.rule] = decode_rule(watch.rule)
        return rule
