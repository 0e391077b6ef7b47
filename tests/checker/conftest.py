"""A second, slow opinion on which prices fire which watches, written from the rules' wording alone."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

import pytest

from notifyd.store.watch_rules import TargetPrice, WatchSpec

DAY_MS = 86_400_000


class Row(NamedTuple):
    """One price as a publisher sends it."""

    item_id: str
    store_id: int | str
    currency: str
    observed_ms: int
    price: int


class Watched(NamedTuple):
    """One watch; only prices from number `since` on (counting every row sent) are its business."""

    user_id: str
    watch_id: str
    spec: WatchSpec
    since: int = 0


class Alert(NamedTuple):
    user_id: str
    watch_id: str
    item_id: str
    store_id: int | str
    currency: str
    price: int
    observed_ms: int


class _State:
    def __init__(self) -> None:
        self.ever_fired = False
        self.silent = False
        self.told = 0
        self.fired_ms = 0


Reference = Callable[[Sequence[Row], Iterable[Watched]], set[Alert]]


def _percent(value: float) -> Fraction:
    return Fraction(str(value)) / 100


def _threshold(spec: WatchSpec, row: Row, earlier: list[Row]) -> Fraction | None:
    rule = spec.rule
    if isinstance(rule, TargetPrice):
        return Fraction(rule.price_in_cents)
    if not earlier:
        return None
    if rule.baseline == "previous":
        newest = max(r.observed_ms for r in earlier)
        baseline = Fraction([r.price for r in earlier if r.observed_ms == newest][-1])
    elif rule.baseline == "lowest":
        baseline = Fraction(min(r.price for r in earlier))
    else:
        month = [r.price for r in earlier if r.observed_ms >= row.observed_ms - 30 * DAY_MS]
        if len(month) < 3:
            return None
        baseline = statistics.median(Fraction(price) for price in month)
    return baseline * (1 - _percent(rule.percent))


def _fires(spec: WatchSpec, state: _State, row: Row, earlier: list[Row]) -> bool:
    rule = spec.rule
    threshold = _threshold(spec, row, earlier)
    if state.silent:
        if row.price < state.told and row.price <= state.told * (1 - _percent(rule.deeper_percent)):
            return True
        if threshold is not None and threshold < row.price >= threshold * (1 + _percent(rule.rearm_percent)):
            state.silent = False
        return False
    if state.ever_fired and row.observed_ms < state.fired_ms + rule.cooldown_s * 1000:
        return False
    return threshold is not None and row.price <= threshold


def _concerns(spec: WatchSpec, row: Row) -> bool:
    if spec.item_id != row.item_id:
        return False
    if spec.stores is not None and not any(
        store == row.store_id and type(store) is type(row.store_id) for store in spec.stores
    ):
        return False
    return not (
        isinstance(spec.rule, TargetPrice)
        and spec.rule.currency is not None
        and spec.rule.currency != row.currency
    )


def _alerts_of(rows: Sequence[Row], watched: Watched) -> set[Alert]:
    states: dict[object, _State] = {}
    stored: list[Row] = []
    alerts = set()
    for number, row in enumerate(rows):
        if row in stored:
            continue
        series = [r for r in stored if r[:3] == row[:3]]
        stored.append(row)
        late = any(r.observed_ms > row.observed_ms for r in series)
        if number < watched.since or late or not _concerns(watched.spec, row):
            continue
        state = states.setdefault(row[:3], _State())
        if _fires(watched.spec, state, row, series):
            state.ever_fired = state.silent = True
            state.told, state.fired_ms = row.price, row.observed_ms
            alerts.add(
                Alert(
                    watched.user_id,
                    watched.watch_id,
                    row.item_id,
                    row.store_id,
                    row.currency,
                    row.price,
                    row.observed_ms,
                )
            )
    return alerts


def _reference(rows: Sequence[Row], watches: Iterable[Watched]) -> set[Alert]:
    return {alert for watched in watches for alert in _alerts_of(rows, watched)}


@pytest.fixture(scope="session")
def reference() -> Reference:
    """All alerts that `rows`, in this order, owe to `watches`."""
    return _reference
