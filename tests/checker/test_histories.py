"""Histories made by hand with the alerts that each rule must give: by the checker, however the prices are cut
into batches, by the reference, and by a backtest."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from notifyd.checker.backtest import backtest
from notifyd.store.watch_rules import NewBest, PercentDrop, Rule, TargetPrice, WatchSpec, decode_store_id
from tests.checker.conftest import DAY_MS, Alert, Row, Shop, Watched

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.checker.conftest import Reference

SPLITS = 50

TARGET = TargetPrice(price_in_cents=100)
DROP = PercentDrop(percent=15, baseline="previous")
MEDIAN = PercentDrop(percent=15, baseline="median_30d")
LOWEST = PercentDrop(percent=10, baseline="lowest")
BEST = NewBest()


class P(NamedTuple):
    """A price on a day, in store 1 and US dollars unless said otherwise."""

    day: float
    price: int
    store: int | str = 1
    currency: str = "USD"
    until: float | None = None

    def row(self) -> Row:
        until = None if self.until is None else round(self.until * DAY_MS)
        return Row("a", self.store, self.currency, round(self.day * DAY_MS), self.price, until)


class History(NamedTuple):
    """Prices in the order in which they became known, and those that each rule must tell."""

    about: str
    prices: Sequence[P]
    told: dict[Rule, Sequence[P]]
    stores: list[int | str] | None = None


def flat(days: range, price: int, store: int | str = 1) -> list[P]:
    return [P(day, price, store) for day in days]


HISTORIES = [
    History("first price ever", [P(1, 90)], {TARGET: [P(1, 90)], DROP: [], MEDIAN: [], LOWEST: [], BEST: []}),
    History(
        "never a change", flat(range(1, 40), 120), {TARGET: [], DROP: [], MEDIAN: [], BEST: [], LOWEST: []}
    ),
    History(
        "stays low",
        [P(1, 120), P(2, 95), P(3, 95), P(4, 95)],
        {TARGET: [P(2, 95)], DROP: [P(2, 95)], LOWEST: [P(2, 95)], BEST: [P(2, 95)], MEDIAN: []},
    ),
    History(
        "one cent above the target",
        [P(1, 120), P(2, 101), P(3, 100)],
        {TARGET: [P(3, 100)], BEST: [P(2, 101)], DROP: [P(2, 101)], MEDIAN: [], LOWEST: [P(2, 101)]},
    ),
    History(
        "flapping below re-arm",
        [P(1, 99), P(2, 101), P(3, 99), P(4, 101), P(5, 99)],
        {TARGET: [P(1, 99)], DROP: [], MEDIAN: [], LOWEST: [], BEST: []},
    ),
    History(
        "flapping above re-arm, a day apart",
        [P(1, 99), P(2, 110), P(3, 99), P(4, 110), P(5, 99)],
        {TARGET: [P(1, 99), P(3, 99), P(5, 99)], DROP: [], BEST: [], MEDIAN: [], LOWEST: []},
    ),
    History(
        "flapping by the hour",
        [P(1, 99), P(1.04, 110), P(1.08, 99), P(1.12, 110), P(2, 99)],
        {TARGET: [P(1, 99), P(2, 99)], DROP: [], MEDIAN: [], LOWEST: [], BEST: []},
    ),
    History(
        "deeper and deeper",
        [P(1, 120), P(2, 100), P(2.1, 96), P(2.2, 95), P(2.3, 91), P(2.4, 90)],
        {
            TARGET: [P(2, 100), P(2.2, 95), P(2.4, 90)],
            BEST: [P(2, 100), P(2.2, 95), P(2.4, 90)],
            DROP: [P(2, 100)],
            MEDIAN: [],
            LOWEST: [P(2, 100)],
        },
    ),
    History(
        "deeper at any time",
        [P(1, 100), P(1.01, 50)],
        {
            TARGET: [P(1, 100), P(1.01, 50)],
            DROP: [P(1.01, 50)],
            MEDIAN: [],
            LOWEST: [P(1.01, 50)],
            BEST: [P(1.01, 50)],
        },
    ),
    History(
        "no deeper percent: every cent counts",
        [P(1, 100), P(1.1, 99), P(1.2, 99), P(1.3, 98)],
        {
            TargetPrice(price_in_cents=100, deeper_percent=0): [P(1, 100), P(1.1, 99), P(1.3, 98)],
            TARGET: [P(1, 100)],
            DROP: [],
            MEDIAN: [],
            LOWEST: [],
            BEST: [P(1.1, 99)],
        },
    ),
    History(
        "slow drift down",
        [P(day, 200 - day) for day in range(1, 60)],
        # a new best at once; then at every 5 % below the one last told
        {
            DROP: [],
            MEDIAN: [],
            BEST: [P(2, 198), P(12, 188), P(22, 178), P(31, 169), P(40, 160), P(48, 152), P(56, 144)],
            TARGET: [],
            LOWEST: [],
        },
    ),
    History(
        "slow drift up",
        [P(day, 100 + day) for day in range(1, 60)],
        {TARGET: [], DROP: [], BEST: [], MEDIAN: [], LOWEST: []},
    ),
    History(
        "sale that ends and comes again",
        [*flat(range(1, 6), 120), P(6, 90, until=13), P(13, 120), P(20, 90, until=27), P(27, 120)],
        {
            TARGET: [P(6, 90), P(20, 90)],
            DROP: [P(6, 90), P(20, 90)],
            MEDIAN: [P(6, 90), P(20, 90)],
            LOWEST: [P(6, 90)],
            BEST: [P(6, 90)],  # at day 20 the first sale is 14 days old, which still counts
        },
    ),
    History(
        "sale that comes again after the best is forgotten",
        [P(1, 120), P(6, 90), P(13, 120), P(20.5, 90)],
        {
            BEST: [P(6, 90), P(20.5, 90)],
            LOWEST: [P(6, 90)],
            TARGET: [P(6, 90), P(20.5, 90)],
            DROP: [P(6, 90), P(20.5, 90)],
            MEDIAN: [P(20.5, 90)],
        },
    ),
    History(
        "nothing for 14 days: no best to be below",
        [P(1, 120), P(16, 100), P(17, 99)],
        {BEST: [P(17, 99)], DROP: [P(16, 100)], TARGET: [P(16, 100)], MEDIAN: [], LOWEST: [P(16, 100)]},
    ),
    History(
        "late data",
        [P(3, 120), P(1, 50), P(4, 99), P(2, 200), P(5, 99)],
        {TARGET: [P(4, 99)], DROP: [P(4, 99)], LOWEST: [], BEST: [], MEDIAN: []},
    ),
    History(
        "late data re-arms nothing",
        [P(3, 99), P(1, 150), P(4, 99), P(2, 500), P(5, 98)],
        {TARGET: [P(3, 99)], DROP: [], MEDIAN: [P(5, 98)], LOWEST: [], BEST: [P(5, 98)]},
    ),
    History(
        "late data counts in the median",
        [P(5, 100), P(6, 100), P(4, 100), P(7, 85)],
        {
            MEDIAN: [P(7, 85)],
            TARGET: [P(5, 100), P(7, 85)],
            DROP: [P(7, 85)],
            LOWEST: [P(7, 85)],
            BEST: [P(7, 85)],
        },
    ),
    History(
        "the same price twice",
        [P(1, 120), P(2, 99), P(2, 99), P(3, 120), P(2, 99)],
        {TARGET: [P(2, 99)], DROP: [P(2, 99)], MEDIAN: [], LOWEST: [P(2, 99)], BEST: [P(2, 99)]},
    ),
    History(
        "two prices at one moment: the one stored last is the newest",
        [P(1, 120), P(2, 99), P(2, 130), P(3, 111), P(4, 110)],
        {TARGET: [P(2, 99)], DROP: [P(2, 99)], MEDIAN: [], LOWEST: [P(2, 99)], BEST: [P(2, 99)]},
    ),
    History(
        "one shop only",
        [P(1, 120), P(1, 120, 2), P(2, 90), P(2, 80, 2), P(9, 120), P(10, 90)],
        {
            TARGET: [P(2, 90), P(10, 90)],
            DROP: [P(2, 90), P(10, 90)],
            BEST: [P(2, 90)],
            MEDIAN: [P(10, 90)],
            LOWEST: [P(2, 90)],
        },
        stores=[1],
    ),
    History(
        "the shops' numbers and names are apart",
        [P(1, 120, 1), P(1, 120, "1"), P(2, 90, "1")],
        {TARGET: [], DROP: [], BEST: [], MEDIAN: [], LOWEST: []},
        stores=[1],
    ),
    History(
        "equal prices in two shops",
        [P(1, 120, 1), P(1, 120, 2), P(2, 90, 1), P(2, 90, 2), P(3, 90, 1)],
        {
            TARGET: [P(2, 90, 1), P(2, 90, 2)],
            DROP: [P(2, 90, 1), P(2, 90, 2)],
            BEST: [P(2, 90, 1)],
            MEDIAN: [],
            LOWEST: [P(2, 90), P(2, 90, 2)],
        },
    ),
    History(
        "cheaper in its own shop, but not the best",
        [P(1, 100, 1), P(1, 150, 2), P(2, 110, 2), P(3, 99, 2)],
        {
            DROP: [P(2, 110, 2), P(3, 99, 2)],
            BEST: [P(3, 99, 2)],
            TARGET: [P(1, 100), P(3, 99, 2)],
            MEDIAN: [],
            LOWEST: [P(2, 110, 2), P(3, 99, 2)],
        },
    ),
    History(
        "a shop that opens with the best price",
        [P(1, 120, 1), P(2, 95, 2)],
        {TARGET: [P(2, 95, 2)], DROP: [], BEST: [P(2, 95, 2)], MEDIAN: [], LOWEST: []},
    ),
    History(
        "another shop is known to be cheaper since",
        [P(1, 120, 1), P(1, 120, 2), P(10, 80, 1), P(9, 90, 2)],
        {
            BEST: [P(10, 80, 1)],
            DROP: [P(10, 80, 1), P(9, 90, 2)],
            TARGET: [P(9, 90, 2), P(10, 80)],
            MEDIAN: [],
            LOWEST: [P(9, 90, 2), P(10, 80)],
        },
    ),
    History(
        "two currencies",
        [P(1, 120), P(2, 80, currency="EUR"), P(3, 119), P(4, 79, currency="EUR"), P(5, 60, currency="EUR")],
        {
            DROP: [P(5, 60, currency="EUR")],
            BEST: [P(3, 119), P(4, 79, currency="EUR"), P(5, 60, currency="EUR")],
            TargetPrice(price_in_cents=100, currency="USD"): [],
            TargetPrice(price_in_cents=75, currency="EUR"): [P(5, 60, currency="EUR")],
            TARGET: [P(2, 80, currency="EUR"), P(5, 60, currency="EUR")],
            MEDIAN: [],
            LOWEST: [P(5, 60, currency="EUR")],
        },
    ),
    History(
        "a median of three, and no sooner",
        [P(1, 100), P(2, 50), P(3, 100), P(4, 50), P(5, 100), P(6, 42)],
        {
            MEDIAN: [P(4, 50), P(6, 42)],
            DROP: [P(2, 50), P(4, 50), P(6, 42)],
            TARGET: [P(1, 100), P(2, 50), P(6, 42)],
            LOWEST: [P(2, 50), P(6, 42)],
            BEST: [P(2, 50), P(6, 42)],
        },
    ),
    History(
        "a median of half a cent",
        [P(1, 100), P(2, 101), P(3, 100), P(4, 101), P(5, 86), P(6, 85)],
        {MEDIAN: [P(6, 85)], TARGET: [P(1, 100), P(5, 86)], DROP: [], LOWEST: [P(5, 86)], BEST: [P(5, 86)]},
    ),
    History(
        "a month without prices",
        [P(1, 100), P(2, 100), P(3, 100), P(33.5, 80)],
        {MEDIAN: [], DROP: [P(33.5, 80)], LOWEST: [P(33.5, 80)], TARGET: [P(1, 100), P(33.5, 80)], BEST: []},
    ),
    History(
        "never lower than ever",
        [P(1, 100), P(50, 120), P(100, 95), P(150, 120), P(200, 85), P(250, 76)],
        {
            LOWEST: [P(200, 85), P(250, 76)],
            DROP: [P(100, 95), P(200, 85), P(250, 76)],
            TARGET: [P(1, 100), P(100, 95), P(200, 85), P(250, 76)],
            MEDIAN: [],
            BEST: [],
        },
    ),
    History(
        "it costs nothing",
        [P(1, 5), P(2, 0), P(3, 0)],
        {TARGET: [P(1, 5), P(2, 0)], LOWEST: [P(2, 0)], DROP: [P(2, 0)], MEDIAN: [], BEST: [P(2, 0)]},
    ),
    History(
        "a cooldown of a week",
        [P(1, 99), P(2, 120), P(3, 99), P(7.9, 99), P(8, 99)],
        {
            TargetPrice(price_in_cents=100, cooldown_s=7 * 86_400): [P(1, 99), P(8, 99)],
            TARGET: [P(1, 99), P(3, 99)],
            DROP: [P(3, 99)],
            MEDIAN: [],
            LOWEST: [],
            BEST: [],
        },
    ),
]


def watches_of(history: History) -> list[Watched]:
    """One user for each rule, with the rule's place as name."""
    return [
        Watched(str(place), "w", WatchSpec(item_id="a", rule=rule, stores=history.stores))
        for place, rule in enumerate(history.told)
    ]


def expected(history: History) -> set[Alert]:
    return {
        Alert(str(place), "w", "a", each.store, each.currency, each.price, each.row().observed_ms)
        for place, told in enumerate(history.told.values())
        for each in told
    }


@pytest.fixture(params=HISTORIES, ids=[history.about for history in HISTORIES])
def history(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_there_are_thirty_and_each_has_every_rule() -> None:
    assert len(HISTORIES) >= 30
    for history in HISTORIES:
        assert {TARGET, DROP, MEDIAN, LOWEST, BEST} <= history.told.keys(), history.about


def test_the_reference_agrees(history: History, reference: Reference) -> None:
    assert reference([each.row() for each in history.prices], watches_of(history)) == expected(history)


@pytest.mark.few_on_postgres(3)
async def test_any_batches_give_the_same_alerts(shop: Shop, history: History) -> None:
    """One price after another, all at once, and SPLITS random ways between."""
    rows = [each.row() for each in history.prices]
    draw = random.Random(history.about)
    cuts = [list(range(1, len(rows))), []]
    cuts += [sorted(draw.sample(range(1, len(rows)), draw.randint(0, len(rows) - 1))) for _ in range(SPLITS)]
    seen = set()
    for cut in cuts:
        if tuple(cut) in seen:
            continue
        seen.add(tuple(cut))
        await shop.clear()
        for watched in watches_of(history):
            await shop.watch(watched.user_id, watched.watch_id, watched.spec)
        for start, end in zip([0, *cut], [*cut, len(rows)], strict=True):
            await shop.post(rows[start:end])
            if draw.random() < 0.7:
                await shop.check()
        await shop.check()
        told = shop.alerts()
        assert len(told) == len(set(told))
        assert set(told) == expected(history), cut


async def test_a_backtest_says_so_beforehand(shop: Shop, history: History) -> None:
    for each in history.prices:
        await shop.post([each.row()])
    found = set()
    for watched in watches_of(history):
        tested = await backtest(shop.store, watched.spec, limit=100)
        assert (tested.items, tested.after) == (1, None)
        assert tested.total == len(tested.alerts)
        for alert in tested.alerts:
            store = decode_store_id(alert.series.store_id)
            found.add(
                Alert(watched.user_id, "w", "a", store, alert.series.currency, alert.price, alert.observed_ms)
            )
    assert found == expected(history)
