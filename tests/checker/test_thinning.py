from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from notifyd.checker.thinning import EVERY_S, FIRST_S, Thinner
from notifyd.errors import Unavailable
from notifyd.messages import encode_json
from notifyd.store import schema, thinning
from notifyd.store.history import SeriesKey, SeriesLowest, SeriesPrice, WindowKey, lowest, newest, window
from notifyd.store.json_rows import records
from notifyd.store.watch_rules import BASELINES, NewBest, PercentDrop, Rule, TargetPrice, WatchSpec
from tests.checker.conftest import DAY_MS, Row, Shop, Watched

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio.testing import MockClock

    from notifyd.store.base import Store, Transaction
    from tests.checker.conftest import OpenShop, Reference

HOUR_MS = 3_600_000
#: The largest batch that the tests send.
RUN = 4
DETAIL_DAYS = 45
SLOW = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(autouse=True)
def _small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thinning, "MOST_IN_A_RUN", RUN)


def row(price: int, day: float, hour: int = 0, store: int = 3, valid_until_ms: int | None = None) -> Row:
    observed_ms = int((1000 + day) * DAY_MS) + hour * HOUR_MS
    return Row("a", store, "USD", observed_ms, price, valid_until_ms=valid_until_ms)


async def thin(shop: Shop) -> int:
    thinner = Thinner(cast("Store", shop.store), DETAIL_DAYS)
    await thinner.thin()
    return thinner.dropped


async def left(shop: Shop) -> list[int]:
    """The prices that are there, in the order of their times."""
    query = select(schema.prices.c.price_in_cents).order_by(schema.prices.c.observed_ms)
    return await shop.store.read(lambda tx: list(tx.execute(query).scalars()))


async def send(shop: Shop, rows: Sequence[Row]) -> None:
    for start in range(0, len(rows), RUN):
        await shop.post(rows[start : start + RUN])
    await shop.check()


#: So that what came before is neither the newest nor of about its time.
RECENT = [row(500 + day, day) for day in range(100, 106)]


async def test_of_a_day_those_stay_that_are_below_all_later_ones(shop: Shop) -> None:
    old = [row(cents, 0, hour) for hour, cents in enumerate([70, 90, 80, 95, 85, 85, 100])]
    await send(shop, [*old, row(90, 1), *RECENT])
    assert await thin(shop) == 3
    assert (await left(shop))[:4] == [70, 80, 85, 100]
    assert await thin(shop) == 0


async def test_what_is_not_old_enough_stays(shop: Shop) -> None:
    young = [row(90 - hour, 61, hour) for hour in range(5)]
    await send(shop, [*young, *RECENT])
    assert await thin(shop) == 0


async def test_what_the_checker_has_not_dealt_with_is_not_there(shop: Shop) -> None:
    old = [row(90 - hour, 0, hour) for hour in range(5)]
    for start in range(0, 12, RUN):
        await shop.post([*old, row(80, 1), *RECENT][start : start + RUN])
    assert await thin(shop) == 0
    await shop.check()
    assert await thin(shop) == 4


async def test_a_price_that_is_still_valid_stays(shop: Shop) -> None:
    old = [row(90, 0, 0, valid_until_ms=1), row(90, 0, 1), row(90, 0, 2)]
    await send(shop, [*old, row(80, 1), *RECENT])
    assert await thin(shop) == 1  # the clock stands at 0
    shop_now = await left(shop)
    assert shop_now[:2] == [90, 90]


async def test_the_newest_before_a_gap_stays(shop: Shop) -> None:
    old = [row(90, 0, 0), row(80, 0, 1), row(70, 0, 2)]
    await send(
        shop, [*old, row(95, 200), row(95, 201), row(95, 202), row(96, 203), row(97, 204), row(98, 205)]
    )
    assert await thin(shop) == 2
    assert (await left(shop))[0] == 70


# --- no rule can tell -------------------------------------------------------------------------------


@st.composite
def histories(draw: st.DrawFn) -> list[Row]:
    """Prices often a day, in two stores, with gaps longer than any window; some of them late."""
    rows = []
    hour = 24 * 1000
    for _ in range(draw(st.integers(1, 40))):
        hour += draw(st.sampled_from([0, 1, 1, 2, 3, 3, 24, 300, 1300]))
        late = draw(st.sampled_from([0, 0, 0, 0, 2, 400, 1500]))
        price = draw(st.integers(80, 120))
        rows.append(Row("a", draw(st.sampled_from([3, 3, 4])), "USD", (hour - late) * HOUR_MS, price))
    return rows


RULES: list[Rule] = [
    TargetPrice(price_in_cents=90, cooldown_s=0),
    *(PercentDrop(percent=each, baseline=base, cooldown_s=0) for base in BASELINES for each in (1, 8)),
    NewBest(cooldown_s=0),
]
STORES: list[list[int | str] | None] = [None, [3]]
SPECS = [WatchSpec(item_id="a", rule=rule, stores=stores) for rule in RULES for stores in STORES]


@pytest.mark.few_on_postgres(0)
@SLOW
@given(rows=histories(), sizes=st.lists(st.integers(1, RUN), min_size=1))
async def test_the_alerts_are_those_of_the_whole_history(
    open_shop: OpenShop, reference: Reference, rows: list[Row], sizes: list[int]
) -> None:
    async with open_shop() as shop:
        await shop.clear()
        watches = [Watched(f"user{index}", "w", each) for index, each in enumerate(SPECS)]
        for each in watches:
            await shop.watch(each.user_id, each.watch_id, each.spec)
        start = turn = 0
        while start < len(rows):
            size = sizes[turn % len(sizes)]
            await shop.post(rows[start : start + size])
            start, turn = start + size, turn + 1
            if turn % 3:
                await shop.check()  # else the checker lags
            await thin(shop)
        await shop.check()
        assert set(shop.alerts()) == reference(rows, watches)


async def baselines(shop: Shop, after_ms: int) -> object:
    """What a price to come after `after_ms` would be compared with, for each series."""

    def work(tx: Transaction) -> object:
        ids = tx.execute(select(schema.price_series.c.series_id).order_by("series_id")).scalars().all()
        keys = encode_json([SeriesKey(each, 10**9) for each in ids]).decode()
        since = after_ms - 30 * DAY_MS
        windows = encode_json([WindowKey(each, 10**9, since, 0) for each in ids]).decode()
        return (
            sorted(records(newest(tx, keys), SeriesPrice)),
            sorted(records(lowest(tx, keys), SeriesLowest)),
            sorted(records(window(tx, windows), SeriesPrice)),
        )

    return await shop.store.read(work)


@pytest.mark.few_on_postgres(0)
@settings(SLOW, max_examples=10)
@given(rows=histories(), cuts=st.lists(st.integers(1, 40), max_size=4))
async def test_baselines_and_what_a_new_watch_meets_stay(
    open_shop: OpenShop, rows: list[Row], cuts: list[int]
) -> None:
    async with open_shop() as shop, open_shop() as whole:
        for each in (shop, whole):
            await each.clear()
        unique = list({(each.store_id, each.observed_ms, each.price): each for each in rows}.values())
        start = 0
        for end in sorted({*cuts, len(unique)}):
            for each in (shop, whole):
                await send(each, unique[start:end])
            start = max(start, min(end, len(unique)))
            await thin(shop)
        latest = max(each.observed_ms for each in unique)
        assert await baselines(shop, latest) == await baselines(whole, latest)
        for index, spec in enumerate(SPECS):
            first, second = [await each.watch("u", f"w{index}", spec) for each in (shop, whole)]
            met = [[(each.store_id, each.price) for each in known.met_by] for known in (first, second)]
            assert met[0] == met[1], spec


# --- the job ----------------------------------------------------------------------------------------


class _Broken:
    """A store that refuses everything, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def read(self, work: object) -> object:
        await trio.lowlevel.checkpoint()
        self.asked += 1
        raise Unavailable("not now")


async def test_it_runs_once_a_day_and_outlives_errors(autojump_clock: MockClock) -> None:
    store = _Broken()
    with trio.move_on_after(FIRST_S + EVERY_S + 1):
        await Thinner(cast("Store", store), DETAIL_DAYS).run()
    assert store.asked == 2


async def test_many_series_and_many_prices(shop: Shop) -> None:
    for store in range(thinning.SERIES + 1):
        old = [row(90, 0, hour, store) for hour in range(8)]
        recent = [row(90, day, 0, store) for day in (100, 101, 102, 103)]
        await shop.post([*old, *recent])
    await shop.check()
    assert await thin(shop) == 7 * (thinning.SERIES + 1) > thinning.BATCH
