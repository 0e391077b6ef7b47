"""Rows and their table."""

from __future__ import annotations

import pytest

from bench.report import Rows, at_least, at_most, figure, number, spread_text, table, verdict


def test_a_goal_holds_or_is_missed() -> None:
    assert [verdict(row) for row in (at_least("a", 1.0, 1.0), at_least("a", 1.0, 0.999))] == [
        "holds",
        "MISSED",
    ]
    assert [verdict(row) for row in (at_most("a", 2.0, 2.0, "s"), at_most("a", 2.0, 2.1, "s"))] == [
        "holds",
        "MISSED",
    ]
    assert verdict(figure("a", 1.0, "/s")) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (107_210.4, "107,210"),
        (12.345, "12.3"),
        (0.9312, "0.931"),
        (0.00123, "0.00123"),
        (5.0, "5"),
        (100.0, "100"),
        (-1.5, "-1.5"),
    ],
)
def test_three_digits_that_say_something(value: float, text: str) -> None:
    assert number(value) == text


def test_the_spread_is_the_least_and_the_most_of_the_rounds() -> None:
    assert spread_text(at_least("a", 1.0, 2.0, rounds=[3.0, 1.0, 2.0])) == "1 – 3"
    assert spread_text(figure("a", 2.0, "/s")) == ""


def test_a_table_has_name_goal_measured_unit_rounds_verdict_and_the_command() -> None:
    rows = [
        at_least("against the limit", 0.9, 0.95, rounds=[0.9, 1.0]),
        at_most("bytes", 8000, 9000.0, "bytes"),
        figure("deliveries", 107_210.0, "/s"),
    ]
    assert table(rows, "python -m bench fanout").splitlines() == [
        "$ python -m bench fanout",
        "                      goal  measured         rounds",
        "against the limit    ≥ 0.9      0.95  ×      0.9 – 1  holds",
        "bytes              ≤ 8,000     9,000  bytes           MISSED",
        "deliveries                   107,210  /s",
    ]


def test_rows_carry_series_for_the_plots() -> None:
    rows = Rows([figure("a", 1.0, "")], series=[[1, 2]])
    assert (len(rows), rows.series) == (1, {"series": [[1, 2]]})
