from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notifyd.checker.deciding import PORTION
from notifyd.store.watch_rules import BASELINES, NewBest, PercentDrop, Rule, TargetPrice, WatchSpec
from tests.checker.conftest import Alert, Killed, Row, Shop, Watched

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.checker.conftest import OpenShop, Reference

HOUR = 3_600_000
DAY = 24 * HOUR


def spec(rule: Rule, item_id: str = "a", stores: list[int | str] | None = None) -> WatchSpec:
    return WatchSpec(item_id=item_id, rule=rule, stores=stores)


def row(price: int, day: float, store_id: int | str = 3, item_id: str = "a", currency: str = "USD") -> Row:
    return Row(item_id, store_id, currency, int(day * DAY), price)


TARGET = TargetPrice(price_in_cents=100)
DROP = PercentDrop(percent=15, baseline="previous")

# --- any history, in any batches ----------------------------------------------------------------------

percents = st.sampled_from([0, 1, 2, 5, 10, 12.5, 33.33])
tuning = {
    "rearm_percent": percents,
    "cooldown_s": st.sampled_from([0, 3600, 86_400, 5 * 86_400]),
    "deeper_percent": percents,
}
rules: st.SearchStrategy[Any] = st.one_of(
    st.builds(
        TargetPrice,
        price_in_cents=st.integers(60, 120),
        currency=st.sampled_from([None, "USD"]),
        **tuning,
    ),
    st.builds(
        PercentDrop,
        percent=st.sampled_from([1, 5, 9.99, 15, 30, 100]),
        baseline=st.sampled_from(BASELINES),
        **tuning,
    ),
    st.builds(NewBest, **tuning),
)
stores = st.sampled_from([None, [3], ["3", 4], [4]])
watched = st.one_of(
    st.builds(WatchSpec, item_id=st.sampled_from(["a", "b"]), rule=rules, stores=stores),
    st.builds(
        WatchSpec,
        search=st.sampled_from(["cre", "creme bru", "4 c", "g creme", "e"]),
        rule=rules,
        stores=stores,
    ),
)


STORES: list[int | str] = [3, 3, 3, "3", 4]


@st.composite
def histories(draw: st.DrawFn) -> list[Row]:
    """Prices of few series: mostly later than the last ones, some at the same time, some late."""
    rows: list[Row] = []
    hour = 24 * 60
    for _ in range(draw(st.integers(1, 40))):
        hour += draw(st.sampled_from([0, 1, 5, 24, 24, 72, 240, 800]))
        late = draw(st.sampled_from([0, 0, 0, 0, 30, 600]))
        rows.append(
            Row(
                draw(st.sampled_from(["a", "a", "a", "b"])),
                draw(st.sampled_from(STORES)),
                draw(st.sampled_from(["USD", "USD", "USD", "EUR"])),
                (hour - late) * HOUR,
                draw(st.one_of(st.integers(60, 140), st.sampled_from([0, 85, 100]))),
            )
        )
    return rows


def batches(rows: Sequence[Row], sizes: Sequence[int]) -> list[Sequence[Row]]:
    parts, start = [], 0
    for size in sizes:
        parts.append(rows[start : start + size])
        start += size
    parts.append(rows[start:])
    return [part for part in parts if part]


SLOW = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@SLOW
@given(
    rows=histories(),
    specs=st.lists(watched, min_size=1, max_size=6),
    sizes=st.lists(st.integers(1, 15), max_size=8),
    checks=st.lists(st.booleans(), min_size=9, max_size=9),
)
async def test_any_history_in_any_batches_gives_the_alerts_of_the_reference(
    open_shop: OpenShop,
    reference: Reference,
    rows: list[Row],
    specs: list[WatchSpec],
    sizes: list[int],
    checks: list[bool],
) -> None:
    """Whether the checker keeps up with the batches or finds several."""
    async with open_shop() as shop:
        await shop.clear()
        watches = [Watched(f"user{index}", "w", each) for index, each in enumerate(specs)]
        for each in watches:
            await shop.watch(each.user_id, each.watch_id, each.spec)
        for batch, check in zip(batches(rows, sizes), checks, strict=False):
            await shop.post(batch)
            if check:
                await shop.check()
        await shop.check()
        told = shop.alerts()
        assert len(told) == len(set(told))
        assert set(told) == reference(rows, watches)


@settings(SLOW, max_examples=25)
@given(rows=histories(), specs=st.lists(watched, min_size=1, max_size=4), size=st.integers(1, 20))
async def test_killed_at_every_step_it_neither_misses_nor_repeats(
    open_shop: OpenShop, reference: Reference, rows: list[Row], specs: list[WatchSpec], size: int
) -> None:
    async with open_shop() as shop:
        await shop.clear()
        watches = [Watched(f"user{index}", "w", each) for index, each in enumerate(specs)]
        for each in watches:
            await shop.watch(each.user_id, each.watch_id, each.spec)
        for batch in batches(rows, [size] * 3):
            await shop.post(batch)
        kills = 0
        while True:  # one step further each time
            shop.store.steps, shop.store.fail_at = 0, kills + 1
            try:
                await shop.check()
            except Killed:
                kills += 1
            else:
                break
        assert kills > 0
        told = shop.alerts()
        assert len(told) == len(set(told))
        assert set(told) == reference(rows, watches)


async def test_a_batch_killed_at_every_step_and_sent_again_is_stored_once(shop: Shop) -> None:
    await shop.watch("ann", "w", spec(TARGET))
    rows = [row(120, 1), row(99, 2), row(101, 2, "3")]
    kills = 0
    while True:
        shop.store.steps, shop.store.fail_at = 0, kills + 1
        try:
            added = await shop.post(rows)
        except Killed:
            kills += 1
        else:
            break
    shop.store.fail_at = 0
    assert kills > 5
    assert added == 3
    assert await shop.post(rows) == 0
    await shop.check()
    assert [alert.price for alert in shop.alerts()] == [99]


# --- the wording, case by case ------------------------------------------------------------------------


async def alerts_of(shop: Shop, rule: Rule, prices: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
    """(day, price) told of a series of (day, price), a batch each."""
    await shop.clear()
    await shop.watch("ann", "w", spec(rule))
    for day, price in prices:
        await shop.post([row(price, day)])
    await shop.check()
    return [(alert.observed_ms / DAY, alert.price) for alert in shop.alerts()]


MEDIAN = PercentDrop(percent=15, baseline="median_30d")
LOWEST = PercentDrop(percent=10, baseline="lowest")


@pytest.mark.parametrize(
    ("rule", "prices", "told"),
    [
        pytest.param(TARGET, [(1, 100)], [(1, 100)], id="the first price ever can meet a target"),
        pytest.param(DROP, [(1, 100)], [], id="the first price ever has no baseline"),
        pytest.param(TARGET, [(1, 99), (2, 99), (3, 98)], [(1, 99)], id="silent while it stays"),
        pytest.param(
            TARGET, [(1, 99), (2, 101), (3, 99), (4, 102), (5, 99)], [(1, 99), (5, 99)], id="flapping"
        ),
        pytest.param(TARGET, [(1, 99), (1.2, 110), (1.4, 99)], [(1, 99)], id="cooldown"),
        pytest.param(
            TARGET, [(1, 99), (1.2, 110), (1.4, 80), (2, 80)], [(1, 99), (2, 80)], id="told after cooldown"
        ),
        pytest.param(TARGET, [(1, 100), (1.1, 95), (1.2, 91)], [(1, 100), (1.1, 95)], id="deeper at once"),
        pytest.param(TARGET, [(3, 120), (1, 50), (4, 99)], [(4, 99)], id="a late price fires nothing"),
        pytest.param(TARGET, [(3, 99), (1, 150), (4, 99)], [(3, 99)], id="a late price re-arms nothing"),
        pytest.param(DROP, [(1, 100), (2, 85), (3, 85), (4, 72)], [(2, 85), (4, 72)], id="previous"),
        pytest.param(DROP, [(3, 100), (1, 500), (4, 86)], [], id="late is not previous"),
        pytest.param(MEDIAN, [(1, 100), (2, 100), (3, 50)], [], id="two prices are no median"),
        pytest.param(MEDIAN, [(1, 100), (2, 100), (3, 100), (4, 85)], [(4, 85)], id="median of three"),
        pytest.param(MEDIAN, [(1, 100), (2, 100), (3, 100), (31, 85)], [(31, 85)], id="30 days, both ends"),
        pytest.param(MEDIAN, [(1, 100), (2, 100), (3, 100), (31.01, 85)], [], id="the month has passed"),
        pytest.param(MEDIAN, [(5, 100), (6, 100), (4, 100), (7, 85)], [(7, 85)], id="late is in the median"),
        pytest.param(MEDIAN, [(d, 1000 - d) for d in range(1, 120)], [], id="slow drift"),
        pytest.param(
            LOWEST, [(1, 100), (200, 120), (400, 91), (500, 82), (600, 73)], [(600, 73)], id="lowest ever"
        ),
        pytest.param(LOWEST, [(5, 100), (1, 80), (6, 85), (7, 72)], [(7, 72)], id="late is in the lowest"),
    ],
)
async def test_histories(
    shop: Shop, rule: Rule, prices: list[tuple[float, int]], told: list[tuple[float, int]]
) -> None:
    assert await alerts_of(shop, rule, prices) == told


async def test_currencies_and_stores_are_apart(shop: Shop) -> None:
    await shop.watch("ann", "all", spec(DROP))
    await shop.watch("bob", "some", spec(DROP, stores=["3"]))
    await shop.post([row(100, 1), row(300, 1, "3"), row(80, 2, currency="EUR"), row(200, 2, "3")])
    await shop.check()
    assert shop.alerts() == [
        Alert("ann", "all", "a", "3", "USD", 200, 2 * DAY),
        Alert("bob", "some", "a", "3", "USD", 200, 2 * DAY),
    ]


async def test_a_price_that_meets_two_watches_of_a_user_is_told_once(shop: Shop) -> None:
    await shop.watch("ann", "first", spec(TARGET))
    await shop.watch("ann", "second", spec(TargetPrice(price_in_cents=90)))
    await shop.post([row(80, 1)])
    await shop.check()
    assert [alert.watch_id for alert in shop.alerts()] == ["first"]
    await shop.post([row(70, 1.1)])  # both are now silent but for deeper prices
    await shop.check()
    assert [alert.price for alert in shop.alerts()] == [80, 70]


# --- what is told -------------------------------------------------------------------------------------


async def test_a_deal_carries_its_evidence(shop: Shop) -> None:
    shop.now_ms = 77
    await shop.watch("ann", "oj", spec(MEDIAN, stores=[3, "4"]))
    await shop.post(
        [row(100, 1), row(90, 1.5), row(111, 2), row(100, 3), row(40, 4), row(90, 4, 4), row(9, 4, "4")]
    )
    await shop.check()
    (entry,) = shop.inbox.entries
    assert (entry.user_id, entry.type, entry.created_ms) == ("ann", "deal-notification", 77)
    (told,) = shop.notifications()
    assert (told.notification_id, told.user_id) == (entry.notification_id, "ann")
    assert told.message == "You have 1 new deal(s) on your watched items!"
    (deal,) = told.deals
    assert (deal.item_name, deal.item_id) == ("Crème brûlée, 4 × 100 g", "a")
    assert (deal.store_name, deal.store_id) == ("Store 3", 3)
    assert (deal.best_price_in_cents, deal.old_price_in_cents, deal.currency) == (40, 100, "USD")
    assert (deal.baseline, deal.baseline_price_in_cents, deal.rank_in_history) == ("median_30d", 100, 1)
    assert deal.stores_compared == 1  # of stores 3 and "4" only 3 had a price before; 4 is not watched
    assert deal.observed_at == "1970-01-05T00:00:00.000Z"
    assert deal.watch_id == "oj"


async def test_a_target_is_told_as_the_baseline(shop: Shop) -> None:
    await shop.watch("ann", "w", spec(TARGET))
    await shop.post([row(120, 1), row(90, 1.5), row(95, 2, 4)])
    await shop.check()
    deals = shop.notifications()[0].deals
    assert [(deal.baseline, deal.baseline_price_in_cents) for deal in deals] == [("target", 100)] * 2
    assert [deal.old_price_in_cents for deal in deals] == [120, None]
    assert [deal.stores_compared for deal in deals] == [1, 2]


async def test_one_notification_a_user_and_run_with_fifty_deals_at_most(shop: Shop) -> None:
    for user_id in ("ann", "bob"):
        await shop.watch(user_id, "w", spec(TARGET))
    await shop.post([row(90, 1, store) for store in range(53)])
    await shop.post([row(90, 1, store, currency="EUR") for store in range(50)])
    await shop.check()
    told = shop.notifications()
    assert [each.user_id for each in told] == ["ann", "bob"] * 2
    assert [len(each.deals) for each in told] == [50] * 4
    assert [each.more_deals or 0 for each in told] == [3, 3, 0, 0]
    assert told[0].message == "You have 53 new deal(s) on your watched items!"


async def test_a_run_of_many_items_is_decided_in_portions(shop: Shop) -> None:
    items = [f"item {number}" for number in range(2 * PORTION + 1)]
    for item_id in (items[0], items[PORTION], items[-1]):
        await shop.watch("ann", item_id, spec(TARGET, item_id))
    await shop.post([row(90, 1, item_id=item_id) for item_id in items])
    await shop.check()
    (told,) = shop.notifications()
    assert [deal.item_id for deal in told.deals] == [items[0], items[PORTION], items[-1]]


# --- runs -----------------------------------------------------------------------------------------------


async def test_two_checkers_at_once_tell_each_deal_once(shop: Shop) -> None:
    await shop.watch("ann", "w", spec(TARGET))
    for day in range(5):
        await shop.post([row(99, 2 * day), row(110, 2 * day + 1)])

    async def check() -> None:
        await shop.check()

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(check)
    told = shop.alerts()
    assert len(told) == len(set(told)) == 5


async def test_a_watch_that_changes_while_a_run_is_decided_is_decided_again(shop: Shop) -> None:
    await shop.watch("ann", "w", spec(TARGET))
    await shop.post([row(99, 1)])
    changed = spec(TargetPrice(price_in_cents=99))
    shop.inbox.before.append(lambda: shop.watch("ann", "w", changed))
    await shop.check()
    assert shop.alerts() == []  # the new watch starts as fired by the price that was there
    await shop.post([row(150, 2), row(99, 3)])
    await shop.check()
    assert [alert.price for alert in shop.alerts()] == [99]


@pytest.mark.parametrize("interval_s", [3600.0, 0.001])
async def test_it_wakes_when_told_or_when_the_interval_is_over(
    shop: Shop, nursery: trio.Nursery, interval_s: float
) -> None:
    shop.interval_s = interval_s
    await shop.watch("ann", "w", spec(TARGET))
    checker = shop.checker
    nursery.start_soon(checker.run)
    for day in (1, 2):
        told = shop.inbox.changed
        await shop.post([row(90 - 10 * day, day)])
        if interval_s == 3600:
            checker.wake()
        with trio.fail_after(10):
            await told.wait()
    assert [alert.price for alert in shop.alerts()] == [80, 70]
