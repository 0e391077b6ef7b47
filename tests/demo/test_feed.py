"""The demo's prices are the same for everyone who knows the seed, and lively without being silly."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifyd.demo.feed import (
    DAY_MS,
    HISTORY_DAYS,
    ITEMS,
    MAX_MISSED_TICKS,
    SHOPS,
    TICK_MS,
    Item,
    changes,
    due_ticks,
    history,
    price_at,
    shelf_price,
    tick_due_ms,
)
from notifyd.demo.people import PEOPLE

SEED = 20_260_131
BEGUN = 1_780_000_000_000


def test_a_tick_is_decided_by_seed_and_number() -> None:
    once = [changes(SEED, tick, tick) for tick in range(50)]
    # Written down, so that neither another Python nor another order of calls may change it.
    assert price_at(1, ITEMS[0], SHOPS[0], 0) == 409
    assert price_at(1, ITEMS[8], SHOPS[3], 12_345) == 1189
    assert [changes(SEED, tick, tick) for tick in reversed(range(50))] == once[::-1]
    assert once != [changes(SEED + 1, tick, tick) for tick in range(50)]


@settings(max_examples=30)
@given(tick=st.integers(-100_000, 100_000))
def test_a_tick_tells_exactly_what_changed(tick: int) -> None:
    told = {(point.item, point.shop): point.cents for point in changes(SEED, tick, BEGUN)}
    for item in ITEMS:
        for shop in SHOPS:
            before, now = (price_at(SEED, item, shop, at) for at in (tick - 1, tick))
            assert told.get((item, shop)) == (None if before == now else now)


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.item_id)
def test_prices_wander_but_never_away(item: Item) -> None:
    prices = [price_at(SEED, item, shop, tick) for shop in SHOPS for tick in range(0, 20_000, 97)]
    assert min(prices) > 0.5 * item.usual
    assert max(prices) < 1.3 * item.usual
    assert len(set(prices)) > 3
    assert all(price % 10 == 9 for price in prices)


def test_something_changes_every_few_seconds() -> None:
    silent = [tick for tick in range(600) if not changes(SEED, tick, BEGUN)]
    assert len(silent) < 60
    told = sum(len(changes(SEED, tick, BEGUN)) for tick in range(600))
    assert 1 < told / 600 < 8


def test_the_history_is_a_price_a_day_before_the_first_tick() -> None:
    points = history(SEED, BEGUN)
    assert len(points) == HISTORY_DAYS * len(ITEMS) * len(SHOPS)
    assert all(a.observed_ms <= b.observed_ms for a, b in pairwise(points))
    assert BEGUN - points[0].observed_ms == HISTORY_DAYS * DAY_MS
    assert points[-1].observed_ms < BEGUN


@pytest.mark.parametrize(("cents", "shelf"), [(0.0, 9), (4.0, 9), (449.0, 449), (452.0, 449), (455.0, 459)])
def test_shelf_prices_end_in_nine(cents: float, shelf: int) -> None:
    assert shelf_price(cents) == shelf


def test_nothing_is_due_before_the_first_tick() -> None:
    assert list(due_ticks(BEGUN, -1, BEGUN - 1)) == []


@given(played=st.integers(-1, 10_000), newest=st.integers(-5, 10_000), late=st.integers(0, TICK_MS - 1))
def test_due_ticks_follow_the_last_played_and_are_bounded(played: int, newest: int, late: int) -> None:
    ticks = due_ticks(BEGUN, played, tick_due_ms(BEGUN, newest) + late)
    assert list(ticks) == list(range(played + 1, newest + 1))[-MAX_MISSED_TICKS:]


def test_everyone_watches_what_is_sold() -> None:
    sold = {item.item_id for item in ITEMS}
    assert len({who.user_id for who in PEOPLE}) == len(PEOPLE) == 3
    for who in PEOPLE:
        assert set(who.watches) <= sold
