from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifyd.meters import Histogram


@given(st.lists(st.floats(0, 20), max_size=50))
def test_each_value_is_counted_below_every_bound_it_does_not_exceed(values: list[float]) -> None:
    histogram = Histogram((1.0, 2.0, 10.0))
    for value in values:
        histogram.observe(value)
    below = [sum(value <= bound for value in values) for bound in histogram.bounds]
    assert histogram.cumulative() == [*below, len(values)]
    assert histogram.total == len(values)
    assert histogram.sum == pytest.approx(sum(values))
    assert histogram.largest == max(values, default=0.0)


@given(st.lists(st.floats(0, 20), min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_quantile_is_never_too_low_and_never_above_all_that_was_seen(
    values: list[float], part: float
) -> None:
    histogram = Histogram((1.0, 2.0, 10.0))
    for value in values:
        histogram.observe(value)
    told = histogram.quantile(part)
    assert sum(value <= told for value in values) >= part * len(values)
    assert told <= max(values)


def test_nothing_seen_is_nothing() -> None:
    assert Histogram((1.0,)).quantile(0.99) == 0.0
