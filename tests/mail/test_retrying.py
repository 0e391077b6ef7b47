from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from notifyd.mail.retrying import MAX_AGE_MS, MAX_TRIES, next_try_ms, pause_ms

chances = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, MAX_TRIES - 1), chances)
def test_pauses_double_and_are_spread_by_a_fifth(tries: int, chance: float) -> None:
    usual = 60_000 * 2 ** (tries - 1)
    assert 0.8 * usual - 1 <= pause_ms(tries, chance) <= 1.2 * usual + 1


def test_chance_is_used() -> None:
    assert pause_ms(1, 0) == 48_000
    assert pause_ms(1, 0.5) == 60_000


@given(chances)
def test_the_eighth_try_is_the_last(chance: float) -> None:
    now, made = 0, 1
    while (following := next_try_ms(made, 0, now, chance)) is not None:
        assert following > now
        now, made = following, made + 1
    assert made == MAX_TRIES


def test_nothing_is_tried_after_a_day() -> None:
    assert next_try_ms(1, 0, MAX_AGE_MS - 61_000, 0.5) is not None
    assert next_try_ms(1, 0, MAX_AGE_MS - 60_000, 0.5) is None
