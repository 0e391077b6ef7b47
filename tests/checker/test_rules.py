from __future__ import annotations

import pytest

from notifyd.checker.rules import (
    Moment,
    RuleState,
    Verdict,
    drop_bp,
    is_met,
    judge,
    median_twice,
    threshold,
)
from notifyd.store.watch_rules import BASELINES, Baseline, PercentDrop, Rule, TargetPrice

DAY = 86_400_000
TARGET = TargetPrice(price_in_cents=100)
DROP = PercentDrop(percent=15, baseline="previous")


def moment(
    price: int,
    at_ms: int = 0,
    *,
    previous: int | None = None,
    lowest: int | None = None,
    median: int | None = None,
) -> Moment:
    return Moment(1, price, at_ms, previous, lowest, median)


def told(price: int, at_ms: int = 0) -> RuleState:
    return RuleState(False, price, at_ms)


@pytest.mark.parametrize(
    ("rule", "at", "met"),
    [
        (TARGET, moment(100), True),
        (TARGET, moment(101), False),
        (TARGET, moment(0), True),
        (TargetPrice(price_in_cents=0), moment(0), True),
        (DROP, moment(85, previous=100), True),
        (DROP, moment(86, previous=100), False),
        (DROP, moment(1), False),  # nothing to compare with
        (DROP, moment(1, lowest=100, median=200), False),  # another baseline is none
        (DROP, moment(0, previous=0), True),
        (PercentDrop(percent=15, baseline="lowest"), moment(85, lowest=100), True),
        (PercentDrop(percent=15, baseline="lowest"), moment(86, lowest=100), False),
        (PercentDrop(percent=20, baseline="median_30d"), moment(80, median=201), True),  # 100.5: at most 80.4
        (PercentDrop(percent=20, baseline="median_30d"), moment(81, median=201), False),
        (PercentDrop(percent=0.01, baseline="previous"), moment(9999, previous=10_000), True),
        (PercentDrop(percent=12.35, baseline="previous"), moment(8765, previous=10_000), True),
        (PercentDrop(percent=12.35, baseline="previous"), moment(8766, previous=10_000), False),
        (PercentDrop(percent=100, baseline="previous"), moment(0, previous=100), True),
        (PercentDrop(percent=100, baseline="previous"), moment(1, previous=100), False),
    ],
)
def test_a_rule_is_met_at_or_below_its_threshold(rule: Rule, at: Moment, met: bool) -> None:
    assert is_met(rule, at) is met
    assert judge(rule, None, at).fires is met


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("price", [0, 1, 84, 85, 86, 99, 100, 101, 250])
def test_the_drop_says_which_percents_are_met(baseline: Baseline, price: int) -> None:
    at = moment(price, previous=100, lowest=100, median=200)
    drop = drop_bp(at, baseline)
    assert drop is not None
    for percent in (0.01, 1, 14, 14.99, 15, 15.01, 16, 99.99, 100):
        rule = PercentDrop(percent=percent, baseline=baseline)
        assert (rule.limit <= drop) is is_met(rule, at)


def test_a_drop_from_nothing_is_whole_or_none() -> None:
    assert drop_bp(moment(5), "previous") is None
    assert drop_bp(moment(5, previous=0), "previous") is None
    assert drop_bp(moment(0, previous=0), "previous") == 10_000
    assert is_met(PercentDrop(percent=100, baseline="previous"), moment(0, previous=0))


def test_a_fired_rule_is_silent_at_the_same_price() -> None:
    assert judge(TARGET, told(90), moment(90, 10 * DAY)) == Verdict(False, told(90))


@pytest.mark.parametrize(("price", "armed"), [(101, False), (102, True), (500, True)])
def test_a_price_two_percent_above_the_target_rearms(price: int, armed: bool) -> None:
    verdict = judge(TARGET, told(90), moment(price, DAY))
    assert verdict == Verdict(False, RuleState(armed, 90, 0))


@pytest.mark.parametrize(("price", "armed"), [(86, False), (87, True)])
def test_rearming_looks_at_the_threshold_of_that_moment(price: int, armed: bool) -> None:
    """85 × 1.02 = 86.7; the price that fired is no part of it."""
    verdict = judge(DROP, told(40), moment(price, DAY, previous=100))
    assert verdict.state == RuleState(armed, 40, 0)


def test_without_a_baseline_nothing_rearms() -> None:
    assert judge(DROP, told(40), moment(900, DAY)) == Verdict(False, told(40))


@pytest.mark.parametrize(("price", "fires"), [(86, False), (85, True), (20, True)])
def test_a_price_five_percent_below_the_one_last_told_fires_at_once(price: int, fires: bool) -> None:
    """90 × 0.95 = 85.5, cooldown or not."""
    verdict = judge(TARGET, told(90), moment(price, 1))
    assert verdict.fires is fires
    assert verdict.state == (told(price, 1) if fires else told(90))


def test_a_deeper_price_needs_no_baseline_and_wins_over_rearming() -> None:
    assert judge(DROP, told(100), moment(95, 1)).fires
    at = moment(95, 1, previous=100)  # above 86.7, so it would re-arm as well
    assert judge(DROP, told(100), at) == Verdict(True, told(95, 1))


def test_deeper_counts_from_the_last_told_price_not_the_first() -> None:
    state = judge(TARGET, told(100), moment(95, 1)).state
    assert not judge(TARGET, state, moment(91, 2)).fires
    assert judge(TARGET, state, moment(90, 2)).fires


@pytest.mark.parametrize(("after_ms", "fires"), [(1, False), (DAY - 1, False), (DAY, True)])
def test_a_rearmed_rule_fires_only_after_its_cooldown(after_ms: int, fires: bool) -> None:
    verdict = judge(TARGET, RuleState(True, 90, 1000), moment(50, 1000 + after_ms))
    assert verdict.fires is fires
    assert verdict.state == (told(50, 1000 + after_ms) if fires else RuleState(True, 90, 1000))


def test_a_rearmed_and_cooled_rule_is_as_if_it_had_never_fired() -> None:
    assert judge(TARGET, RuleState(True, 90, 0), moment(150, DAY)) == Verdict(False, None)


def test_the_numbers_are_the_rules_own() -> None:
    rule = TargetPrice(price_in_cents=100, rearm_percent=10, cooldown_s=5, deeper_percent=50)
    assert judge(rule, told(90), moment(109)).state == told(90)
    assert judge(rule, told(90), moment(110)).state == RuleState(True, 90, 0)
    assert not judge(rule, told(90), moment(46)).fires
    assert judge(rule, told(90), moment(45)).fires
    assert judge(rule, RuleState(True, 90, 0), moment(100, 5000)).fires
    assert not judge(rule, RuleState(True, 90, 0), moment(100, 4999)).fires


def test_zero_percents_still_need_a_move() -> None:
    rule = TargetPrice(price_in_cents=100, rearm_percent=0, cooldown_s=0, deeper_percent=0)
    assert judge(rule, told(100), moment(100, 1)) == Verdict(False, told(100))
    assert judge(rule, told(100), moment(101, 1)).state == RuleState(True, 100, 0)
    assert judge(rule, told(100), moment(99, 1)).fires


@pytest.mark.parametrize(
    ("prices", "twice"),
    [([], None), ([1, 2], None), ([3, 1, 2], 4), ([4, 1, 2, 9], 6), ([1, 2, 3, 4], 5), ([7] * 5, 14)],
)
def test_the_median_needs_three_prices(prices: list[int], twice: int | None) -> None:
    assert median_twice(prices) == twice


def test_thresholds_are_exact() -> None:
    assert threshold(TARGET, moment(1)) == 100 * 20_000
    assert threshold(PercentDrop(percent=0.01, baseline="median_30d"), moment(1, median=3)) == 3 * 9_999
    assert threshold(DROP, moment(1)) is None
