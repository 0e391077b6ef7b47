"""Why a rule did or did not fire at the last price of a series, in fields and in words. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from notifyd.checker.money import money
from notifyd.checker.rules import MEDIAN_MIN_PRICES, SCALE, is_met, threshold
from notifyd.messages import iso
from notifyd.store.watch_rules import WHOLE, NewBest, PercentDrop, TargetPrice

if TYPE_CHECKING:
    from notifyd.checker.rules import Moment, RuleState
    from notifyd.store.history import SeriesArrival
    from notifyd.store.watch_rules import Rule
    from notifyd.store.watches import Newest


class Standing(NamedTuple):
    """What is known of a rule in one series: its newest price, and what the checker has made of it."""

    rule: Rule
    newest: Newest
    moment: Moment  # of the newest price
    arrived: SeriesArrival  # the price that was stored last
    state: RuleState | None
    since_price_id: int  # the watch concerns prices after this one
    checked_price_id: int  # the checker has dealt with prices up to this one
    now_ms: int


class Explained(NamedTuple):
    """Why; prices are cents, None where there is none."""

    state: str  # armed, silent or cooling_down
    threshold: int | None  # the highest price that meets the rule
    told: int | None
    fired_ms: int | None
    cooldown_ms: int | None  # when it ends
    rearms_at: int | None  # the lowest price that re-arms it
    deeper_at: int | None  # the highest price that fires at once
    reason: str
    explanation: str


def explain(standing: Standing) -> Explained:
    """What the rule has made of the last price, and what it waits for."""
    rule, state = standing.rule, standing.state
    limit = threshold(rule, standing.moment)
    silent = state is not None and not state.armed
    reason, words = _why(standing)
    return Explained(
        state=_state(standing),
        threshold=_highest(rule, limit),
        told=None if state is None else state.told,
        fired_ms=None if state is None else state.fired_ms,
        cooldown_ms=None if state is None else state.fired_ms + rule.cooldown_s * 1000,
        rearms_at=_rearms_at(rule, limit) if silent else None,
        deeper_at=_deeper_at(rule, state) if silent and state is not None else None,
        reason=reason,
        explanation=words,
    )


def _state(standing: Standing) -> str:
    state = standing.state
    if state is None:
        return "armed"
    if not state.armed:
        return "silent"
    cool_ms = state.fired_ms + standing.rule.cooldown_s * 1000
    return "armed" if standing.moment.observed_ms >= cool_ms else "cooling_down"


def _highest(rule: Rule, limit: int | None) -> int | None:
    if limit is None:
        return None
    return limit // SCALE - 1 if isinstance(rule, NewBest) else limit // SCALE


def _rearms_at(rule: Rule, limit: int | None) -> int | None:
    if limit is None:
        return None
    return max(limit // SCALE + 1, -(-limit * (WHOLE + rule.rearm_bp) // (SCALE * WHOLE)))


def _deeper_at(rule: Rule, state: RuleState) -> int | None:
    deeper = min(state.told - 1, state.told * (WHOLE - rule.deeper_bp) // WHOLE)
    return None if deeper < 0 else deeper


def _why(standing: Standing) -> tuple[str, str]:
    newest, moment, arrived = standing.newest, standing.moment, standing.arrived
    price = money(moment.price, newest.currency)
    if max(newest.price_id, arrived.price_id) > max(standing.checked_price_id, standing.since_price_id):
        return "not_checked_yet", f"{price} has just come in and is about to be checked."
    if arrived.price_id > max(newest.price_id, standing.since_price_id):
        late = money(arrived.price, newest.currency)
        return "late", (
            f"{late} came in last, but was observed at {iso(arrived.observed_ms)}, before the newest price "
            f"({price} at {iso(moment.observed_ms)}). Late prices are kept and never fire."
        )
    if standing.state is not None and not standing.state.armed:
        return _why_silent(standing, standing.state, price)
    if newest.price_id <= standing.since_price_id:
        return "set_later", f"{price} was there before the watch was set. Only later prices can fire."
    return _why_armed(standing, price)


def _why_silent(standing: Standing, state: RuleState, price: str) -> tuple[str, str]:
    moment, currency = standing.moment, standing.newest.currency
    if (state.told, state.fired_ms) == (moment.price, moment.observed_ms):
        if standing.newest.price_id <= standing.since_price_id:
            return (
                "met_when_set",
                f"{price} met the rule when the watch was set, and was told in that answer.",
            )
        return "fired", f"It fired at {price}: {_comparison(standing)}{_end(standing)}"
    rearms, deeper = (
        _rearms_at(standing.rule, threshold(standing.rule, moment)),
        _deeper_at(standing.rule, state),
    )
    ways = [] if rearms is None else [f"{money(rearms, currency)} or more re-arms it"]
    ways += [] if deeper is None else [f"{money(deeper, currency)} or less fires at once"]
    return "silent", (
        f"It fired at {money(state.told, currency)} at {iso(state.fired_ms)} and is silent since: "
        f"{', '.join(ways) or 'nothing can be cheaper'}. The last price was {price}."
    )


def _end(standing: Standing) -> str:
    end_ms = standing.newest.valid_until_ms
    if end_ms is None or end_ms > standing.now_ms:
        return ""
    return (
        f" That price ended at {iso(end_ms)}: nothing is told of it after that, and unread it is withdrawn."
    )


def _why_armed(standing: Standing, price: str) -> tuple[str, str]:
    rule, moment, state = standing.rule, standing.moment, standing.state
    if threshold(rule, moment) is None:
        return "no_baseline", (
            f"There was nothing to compare {price} with: {_missing(rule, standing.newest.currency)}."
        )
    if not is_met(rule, moment):
        return "not_met", f"{price} does not meet it: {_comparison(standing)}"
    if state is not None:
        cool = iso(state.fired_ms + rule.cooldown_s * 1000)
        return "cooldown", f"{price} meets it, but it fired at {iso(state.fired_ms)} and rests until {cool}."
    return "not_watched", f"{price} meets it, but the item was not among those of this watch at that time."


def _missing(rule: Rule, currency: str) -> str:
    match rule:
        case NewBest():
            return f"no watched store had a price in {currency} in the 14 days before"
        case PercentDrop(baseline="median_30d"):
            return f"there were fewer than {MEDIAN_MIN_PRICES} prices in the 30 days before"
        case _:
            return f"it is the first price of this store in {currency}"


def _comparison(standing: Standing) -> str:
    rule, moment, currency = standing.rule, standing.moment, standing.newest.currency
    highest = _highest(rule, threshold(rule, moment))
    least = "nothing" if highest is None or highest < 0 else money(highest, currency)
    match rule:
        case TargetPrice():
            return f"the target is {least}."
        case NewBest():
            best = money(moment.best or 0, currency)
            return f"the best of the watched stores in the 14 days before was {best}."
        case PercentDrop(percent=percent, baseline=baseline):
            twice = moment.baseline_twice(baseline) or 0
            compared = money((twice + 1) // 2, currency)
            return f"{percent:g} % below {_BASELINES[baseline]}, {compared}, is {least} or less."


_BASELINES = {
    "previous": "the price before",
    "median_30d": "the median of the 30 days before",
    "lowest": "the lowest price before",
}
