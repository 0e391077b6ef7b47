"""A rule taken through stored prices from the first on. Pure: gives what the checker would have fired."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from notifyd.checker.best import Stairs
from notifyd.checker.matching import History
from notifyd.checker.rules import BEST_WINDOW_MS, judge
from notifyd.store.watch_rules import NewBest

if TYPE_CHECKING:
    from notifyd.checker.rules import Moment, RuleState
    from notifyd.store.runs import RunPrice
    from notifyd.store.watch_rules import Rule


class Replay:
    """One item's prices in the watched stores; take them in the order in which they were stored."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._histories: dict[int, History] = defaultdict(self._history)
        self._states: dict[int, RuleState | None] = {}
        self._stairs: dict[str, Stairs] = defaultdict(Stairs)

    def _history(self) -> History:
        measure = self._rule.measure
        return History(wants_lowest=measure == "lowest", wants_median=measure == "median_30d")

    def step(self, row: RunPrice) -> Moment | None:
        """Take the next price; gives it with its baselines when it fires."""
        moment = self._histories[row.series_id].take(row)
        if isinstance(self._rule, NewBest):
            moment = self._compare(row, moment)
        if moment is None:
            return None
        verdict = judge(self._rule, self._states.get(row.series_id), moment)
        self._states[row.series_id] = verdict.state
        return moment if verdict.fires else None

    def _compare(self, row: RunPrice, moment: Moment | None) -> Moment | None:
        stairs = self._stairs[row.currency]
        best = stairs.lowest_since(row.observed_ms - BEST_WINDOW_MS)
        stairs.add(row.observed_ms, row.price)
        return None if moment is None else moment._replace(best=best)
