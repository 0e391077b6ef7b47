"""Allowances, and who shares one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifyd.limits import MAX_NAMES, Rates, shared_address


def test_so_many_at_once_and_then_at_the_rate() -> None:
    rates = Rates(rate=2, burst=5)
    assert [rates.take("a", 100.0) for _ in range(6)] == [True] * 5 + [False]
    assert rates.take("b", 100.0)
    assert [rates.take("a", 100.5) for _ in range(2)] == [True, False]
    assert [rates.take("a", 200.0) for _ in range(6)] == [True] * 5 + [False]


def test_more_than_is_left_is_let_pass_and_paid_for_afterwards() -> None:
    rates = Rates(rate=1000, burst=2000)
    assert [rates.take("a", 0.0, 1000) for _ in range(3)] == [True, True, False]
    assert rates.take("a", 0.5, 1000)
    assert not rates.take("a", 1.0, 1)
    assert rates.take("a", 1.002, 1)


def test_what_is_given_back_can_be_taken_again() -> None:
    rates = Rates(rate=1, burst=1)
    assert rates.take("a", 0.0)
    rates.give_back("a")
    assert [rates.take("a", 0.0) for _ in range(2)] == [True, False]
    rates.give_back("nobody")


def test_a_flood_of_names_takes_no_more_memory_and_no_allowance_of_others() -> None:
    rates = Rates(rate=1, burst=1)
    assert rates.take("first", 0.0)
    for number in range(3 * MAX_NAMES):
        rates.take(f"n{number}", 0.0)
    assert len(rates._due) <= MAX_NAMES + 1
    assert not rates.take("first", 0.5)
    assert rates.take("late", 5.0)  # the others' allowances are whole again
    assert len(rates._due) < MAX_NAMES


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 5)), max_size=50))
def test_never_more_than_burst_and_rate_allow(steps: list[tuple[float, int]]) -> None:
    rates, now, taken = Rates(rate=3, burst=4), 0.0, 0
    for wait, count in steps:
        now += wait
        if rates.take("a", now, count):
            taken += count
        assert taken <= 4 + 3 * now + 5  # what was let pass last may be owed


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::ffff:127.0.0.1", None),
        ("127.0.0.1", None),
        ("127.8.8.8", None),
        ("::1", None),
        ("unix", None),
    ],
)
def test_who_shares_an_allowance(peer: str, name: str | None) -> None:
    assert shared_address(peer) == name
