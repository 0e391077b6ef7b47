from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notifyd.checker.watching import ATTEMPTS, set_watch
from notifyd.errors import Unavailable
from notifyd.store.watch_rules import BASELINES, PercentDrop, TargetPrice, WatchSpec
from tests.checker.conftest import Row, Shop, Watched

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from notifyd.store.base import Store, Transaction
    from notifyd.store.watch_rules import Baseline
    from tests.checker.conftest import OpenShop, Reference

T = TypeVar("T")

DAY = 86_400_000
SPEC = WatchSpec(item_id="a", rule=TargetPrice(price_in_cents=100))


def row(price: int, day: float, store_id: int | str = 3, item_id: str = "a") -> Row:
    return Row(item_id, store_id, "USD", int(day * DAY), price)


class Between:
    """A store where something happens before each write."""

    def __init__(self, store: Store, before_write: Callable[[], Awaitable[object]]) -> None:
        self._store = store
        self._before_write = before_write
        self.epoch, self.failed = store.epoch, store.failed

    async def read(self, work: Callable[[Transaction], T]) -> T:
        return await self._store.read(work)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        await self._before_write()
        return await self._store.write(work)


async def test_a_watch_starts_as_fired_where_it_is_met(shop: Shop) -> None:
    await shop.post([row(90, 1, 3), row(110, 1, 4)])
    result = await shop.watch("ann", "w", SPEC)
    assert result.created
    assert [(met.store_id, met.price) for met in result.met_by] == [("3", 90)]
    await shop.post([row(90, 2, 3), row(100, 2, 4), row(85, 3, 3)])
    await shop.check()
    assert [(alert.store_id, alert.price) for alert in shop.alerts()] == [(4, 100), (3, 85)]


async def test_a_sale_that_is_over_does_not_silence_a_new_watch(shop: Shop) -> None:
    await shop.post([row(90, -2, 3)._replace(valid_until_ms=-DAY), row(95, -2, 4)])  # now is 0
    result = await shop.watch("ann", "w", SPEC)
    assert [(met.store_id, met.price) for met in result.met_by] == [("4", 95)]
    await shop.post([row(90, 1, 3), row(95, 1, 4)])
    await shop.check()
    assert [(alert.store_id, alert.price) for alert in shop.alerts()] == [(3, 90)]


async def test_prices_that_are_stored_but_not_yet_checked_do_not_fire_a_new_watch(shop: Shop) -> None:
    await shop.post([row(80, 1), row(120, 2)])
    await shop.watch("ann", "w", SPEC)
    await shop.check()
    assert shop.alerts() == []


async def test_the_same_watch_again_keeps_its_state_and_another_does_not(shop: Shop) -> None:
    await shop.watch("ann", "w", SPEC)
    await shop.post([row(90, 1)])
    await shop.check()
    same = await shop.watch("ann", "w", SPEC)
    assert not same.created
    assert [met.price for met in same.met_by] == [90]
    await shop.post([row(150, 1.1), row(90, 1.2)])
    await shop.check()
    assert len(shop.alerts()) == 1  # still cooling down
    await shop.post([row(150, 1.3)])
    changed = await shop.watch("ann", "w", WatchSpec(item_id="a", rule=TargetPrice(price_in_cents=99)))
    assert not changed.created
    assert changed.watch.watch_key != same.watch.watch_key
    await shop.post([row(90, 1.4)])
    await shop.check()
    assert len(shop.alerts()) == 2  # as new


async def test_the_order_of_stores_and_the_spelling_of_numbers_change_nothing(shop: Shop) -> None:
    def spec(percent: float, stores: list[int | str]) -> WatchSpec:
        return WatchSpec(item_id="a", rule=PercentDrop(percent=percent, baseline="previous"), stores=stores)

    first = await shop.watch("ann", "w", spec(15, [3, "x"]))
    assert (await shop.watch("ann", "w", spec(15.0, ["x", 3, 3]))).watch == first.watch
    assert (await shop.watch("ann", "w", spec(15, [3]))).watch != first.watch


async def test_prices_of_the_item_that_come_in_between_are_looked_at(shop: Shop) -> None:
    once = [row(90, 1)]

    async def post_once() -> None:
        if once:
            await shop.post([once.pop()])
            await shop.check()

    result = await set_watch(Between(shop.store, post_once), "ann", "w", SPEC)
    assert [met.price for met in result.met_by] == [90]
    await shop.post([row(89, 2)])
    await shop.check()
    assert shop.alerts() == []


async def test_prices_of_other_items_in_between_do_not_matter(shop: Shop) -> None:
    writes = 0

    async def post_another() -> None:
        nonlocal writes
        writes += 1
        await shop.post([row(90, writes, item_id="b")])

    await set_watch(Between(shop.store, post_another), "ann", "w", SPEC)
    assert writes == 1


async def test_it_gives_up_when_prices_of_the_item_never_stop(shop: Shop) -> None:
    day = 0

    async def post_more() -> None:
        nonlocal day
        day += 1
        await shop.post([row(150, day)])

    with pytest.raises(Unavailable, match="too fast"):
        await set_watch(Between(shop.store, post_more), "ann", "w", SPEC)
    assert day == ATTEMPTS


@pytest.mark.few_on_postgres(0)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prices=st.lists(st.tuples(st.integers(0, 40), st.integers(60, 140)), min_size=1, max_size=12),
    baseline=st.sampled_from([None, *BASELINES]),
)
async def test_met_already_is_what_would_have_fired(
    open_shop: OpenShop, reference: Reference, prices: list[tuple[int, int]], baseline: Baseline | None
) -> None:
    """A watch is met by exactly that newest price that fires an armed watch of the same rule."""
    async with open_shop() as shop:
        await shop.clear()
        rule = (
            TargetPrice(price_in_cents=90) if baseline is None else PercentDrop(percent=10, baseline=baseline)
        )
        spec = WatchSpec(item_id="a", rule=rule)
        rows = list(dict.fromkeys(row(price, day) for day, price in prices))
        await shop.post(rows)
        result = await shop.watch("ann", "w", spec)
        newest = max(enumerate(rows), key=lambda each: (each[1].observed_ms, each[0]))[0]
        fires = reference(rows[: newest + 1], [Watched("ann", "w", spec, since=newest)])
        assert [met.price for met in result.met_by] == [alert.price for alert in fires]
