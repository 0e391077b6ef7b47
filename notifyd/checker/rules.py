"""When a rule fires: pure functions over one price, what was known before it, and the rule's state.

A rule has a *threshold* at every price: the target, baseline × (1 − percent / 100), or the best price of the
watched stores until then. Its state, kept per watch, item, store and currency, goes

    armed ──price ≤ threshold, cooldown over──► fired ──price ≥ threshold × (1 + rearm)──► armed
                                                  └─price ≤ told × (1 − deeper): fires again at once

A new best price must lie below its threshold; the others may be equal to it.

All time is the prices' own `observed_at`. Everything is computed in integers: a median may end in half a
cent and a percent in hundredths, so thresholds are held in 1/20,000 of a cent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from notifyd.store.watch_rules import WHOLE, Baseline, NewBest, PercentDrop, Rule, TargetPrice

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Thresholds are whole multiples of 1/SCALE cent.
SCALE = 2 * WHOLE

MEDIAN_WINDOW_MS = 30 * 86_400_000
MEDIAN_MIN_PRICES = 3
#: How far back the best price across stores looks.
BEST_WINDOW_MS = 14 * 86_400_000


class Moment(NamedTuple):
    """One price of an item in a store, and what its baselines were just before it. Cents."""

    price_id: int
    price: int
    observed_ms: int
    previous: int | None
    lowest: int | None
    median_twice: int | None  # twice the median, so that it is whole
    best: int | None = None  # across the stores of one watch
    valid_until_ms: int | None = None

    def baseline_twice(self, baseline: Baseline) -> int | None:
        """Twice the baseline in cents, or None when there is none yet."""
        match baseline:
            case "previous":
                return None if self.previous is None else 2 * self.previous
            case "lowest":
                return None if self.lowest is None else 2 * self.lowest
            case "median_30d":
                return self.median_twice

    def compared_by(self, rule: Rule) -> tuple[str, int | None]:
        """What a rule compares the price with, and that price: a median's half cent is rounded up."""
        match rule:
            case TargetPrice(price_in_cents=target):
                return "target", target
            case NewBest(measure=measure):
                return measure, self.best
            case PercentDrop(baseline=baseline):
                twice = self.baseline_twice(baseline)
                return baseline, None if twice is None else (twice + 1) // 2


class RuleState(NamedTuple):
    """A rule that has fired for an item in a store. One that never has, has no state."""

    armed: bool
    told: int  # cents: the price last told
    fired_ms: int  # when that price was observed


class Verdict(NamedTuple):
    """What one price does to a rule."""

    fires: bool
    state: RuleState | None


def threshold(rule: Rule, moment: Moment) -> int | None:
    """The rule's threshold at this price in 1/SCALE cents; None while its baseline is not known."""
    match rule:
        case TargetPrice(price_in_cents=target):
            return target * SCALE
        case PercentDrop(baseline=baseline, limit=drop_bp):
            twice = moment.baseline_twice(baseline)
            return None if twice is None else twice * (WHOLE - drop_bp)
        case NewBest():
            return None if moment.best is None else moment.best * SCALE


def is_met(rule: Rule, moment: Moment) -> bool:
    """Whether the price is low enough for the rule."""
    limit = threshold(rule, moment)
    if limit is None:
        return False
    price = moment.price * SCALE
    return price < limit if isinstance(rule, NewBest) else price <= limit


def judge(rule: Rule, state: RuleState | None, moment: Moment) -> Verdict:
    """What this price does to a rule in `state`; prices of a store come in the order of their time."""
    if state is not None and not state.armed:
        return _judge_fired(rule, state, moment)
    cool = state is None or moment.observed_ms - state.fired_ms >= rule.cooldown_s * 1000
    if cool and is_met(rule, moment):
        return Verdict(True, RuleState(False, moment.price, moment.observed_ms))
    return Verdict(False, None if cool else state)  # armed and cooled down is as if it had never fired


def _judge_fired(rule: Rule, state: RuleState, moment: Moment) -> Verdict:
    if moment.price < state.told and moment.price * WHOLE <= state.told * (WHOLE - rule.deeper_bp):
        return Verdict(True, RuleState(False, moment.price, moment.observed_ms))
    if _rearms(rule, moment):
        return Verdict(False, state._replace(armed=True))
    return Verdict(False, state)


def _rearms(rule: Rule, moment: Moment) -> bool:
    limit = threshold(rule, moment)
    if limit is None:
        return False
    price = moment.price * SCALE
    return price > limit and price * WHOLE >= limit * (WHOLE + rule.rearm_bp)


def drop_bp(moment: Moment, baseline: Baseline) -> int | None:
    """How far the price lies below the baseline, in basis points rounded down; None without a baseline.

    A percent_drop rule is met exactly when its percent in basis points is at most this.
    """
    twice = moment.baseline_twice(baseline)
    return None if twice is None else fall_bp(twice, moment.price)


def fall_bp(baseline_twice: int, price: int) -> int | None:
    """The same of a price below half of `baseline_twice`."""
    if baseline_twice == 0:
        return WHOLE if price == 0 else None
    return (baseline_twice - 2 * price) * WHOLE // baseline_twice


def median_twice(prices: Sequence[int]) -> int | None:
    """Twice the median in cents; None for fewer than MEDIAN_MIN_PRICES."""
    if len(prices) < MEDIAN_MIN_PRICES:
        return None
    ordered = sorted(prices)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return 2 * ordered[middle]
    return ordered[middle - 1] + ordered[middle]
