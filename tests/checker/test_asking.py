from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from notifyd.checker import asking, backtest
from notifyd.checker.asking import explain_watch
from notifyd.checker.watching import MAX_ITEMS
from notifyd.errors import Unprocessable
from notifyd.store.watch_rules import NewBest, PercentDrop, TargetPrice, WatchSpec
from tests.checker.conftest import DAY_MS, Row, Shop

if TYPE_CHECKING:
    from notifyd.checker.asking import SeriesExplained
    from notifyd.store.watch_rules import Rule

TARGET = TargetPrice(price_in_cents=100)
DROP = PercentDrop(percent=15, baseline="previous")
MEDIAN = PercentDrop(percent=15, baseline="median_30d")


def row(price: int, day: float, store_id: int | str = 3, item_id: str = "a") -> Row:
    return Row(item_id, store_id, "USD", round(day * DAY_MS), price)


async def explained(shop: Shop) -> list[SeriesExplained]:
    found = await explain_watch(shop.store, "ann", "w")
    assert found is not None
    return found.series


async def why(
    shop: Shop, rule: Rule, *after: tuple[float, int], before: tuple[tuple[float, int], ...] = ()
) -> SeriesExplained:
    """The explanation after prices of (day, price) that came before and after the watch was set."""
    for day, price in before:
        await shop.post([row(price, day)])
    await shop.watch("ann", "w", WatchSpec(item_id="a", rule=rule))
    for day, price in after:
        await shop.post([row(price, day)])
    await shop.check()
    (series,) = await explained(shop)
    return series


@pytest.mark.parametrize(
    ("rule", "before", "after", "reason", "words"),
    [
        (TARGET, (), [(1, 90)], "fired", "It fired at USD 0.90: the target is USD 1.00."),
        (
            MEDIAN,
            (),
            [(1, 100), (2, 101), (3, 100), (4, 85)],
            "fired",
            "It fired at USD 0.85: 15 % below the median of the 30 days before, USD 1.00, is USD 0.85 "
            "or less.",
        ),
        (
            NewBest(),
            (),
            [(1, 100), (2, 99)],
            "fired",
            "It fired at USD 0.99: the best of the watched stores in the 14 days before was USD 1.00.",
        ),
        (
            TARGET,
            ((1, 90),),
            [],
            "met_when_set",
            "USD 0.90 met the rule when the watch was set, and was told in that answer.",
        ),
        (
            TARGET,
            (),
            [(1, 90), (2, 95)],
            "silent",
            "It fired at USD 0.90 at 1970-01-02T00:00:00.000Z and is silent since: USD 1.02 or more re-arms "
            "it, USD 0.85 or less fires at once. The last price was USD 0.95.",
        ),
        (
            TARGET,
            (),
            [(1, 0), (2, 50)],
            "silent",
            "It fired at USD 0.00 at 1970-01-02T00:00:00.000Z and is silent since: USD 1.02 or more re-arms "
            "it. The last price was USD 0.50.",
        ),
        (
            TARGET,
            (),
            [(1, 90), (1.25, 120), (1.5, 95)],
            "cooldown",
            "USD 0.95 meets it, but it fired at 1970-01-02T00:00:00.000Z and rests until "
            "1970-01-03T00:00:00.000Z.",
        ),
        (TARGET, (), [(1, 120)], "not_met", "USD 1.20 does not meet it: the target is USD 1.00."),
        (
            DROP,
            (),
            [(1, 100), (2, 90)],
            "not_met",
            "USD 0.90 does not meet it: 15 % below the price before, USD 1.00, is USD 0.85 or less.",
        ),
        (
            DROP,
            (),
            [(1, 100)],
            "no_baseline",
            "There was nothing to compare USD 1.00 with: it is the first price of this store in USD.",
        ),
        (
            MEDIAN,
            (),
            [(1, 100), (2, 50)],
            "no_baseline",
            "There was nothing to compare USD 0.50 with: there were fewer than 3 prices in the 30 days "
            "before.",
        ),
        (
            NewBest(),
            (),
            [(1, 100)],
            "no_baseline",
            "There was nothing to compare USD 1.00 with: no watched store had a price in USD in the 14 days "
            "before.",
        ),
        (
            TARGET,
            (),
            [(3, 120), (1, 50)],
            "late",
            "USD 0.50 came in last, but was observed at 1970-01-02T00:00:00.000Z, before the newest price "
            "(USD 1.20 at 1970-01-04T00:00:00.000Z). Late prices are kept and never fire.",
        ),
        (
            TARGET,
            ((1, 120),),
            [],
            "set_later",
            "USD 1.20 was there before the watch was set. Only later prices can fire.",
        ),
    ],
)
async def test_reasons(
    shop: Shop,
    rule: Rule,
    before: tuple[tuple[float, int], ...],
    after: list[tuple[float, int]],
    reason: str,
    words: str,
) -> None:
    series = await why(shop, rule, *after, before=before)
    assert (series.why.reason, series.why.explanation) == (reason, words)


async def test_a_late_price_from_before_the_watch_explains_nothing_of_it(shop: Shop) -> None:
    series = await why(shop, TARGET, before=((3, 90), (1, 50)))
    assert series.why.reason == "met_when_set"


async def test_what_fired_and_has_ended_says_so(shop: Shop) -> None:
    await shop.watch("ann", "w", WatchSpec(item_id="a", rule=TARGET))
    await shop.post([row(90, -2)._replace(valid_until_ms=-DAY_MS)])  # now is 0
    await shop.check()
    assert shop.alerts() == []
    (series,) = await explained(shop)
    assert (series.why.reason, series.newest.valid_until_ms) == ("fired", -DAY_MS)
    assert series.why.explanation == (
        "It fired at USD 0.90: the target is USD 1.00. That price ended at 1969-12-31T00:00:00.000Z: nothing "
        "is told of it after that, and unread it is withdrawn."
    )
    await shop.post([row(80, -1)._replace(valid_until_ms=1)])
    await shop.check()
    (series,) = await explained(shop)
    assert series.why.explanation == "It fired at USD 0.80: the target is USD 1.00."


async def test_a_watch_without_any_price_says_so(shop: Shop) -> None:
    async def nothing(spec: WatchSpec) -> object:
        await shop.watch("ann", "w", spec)
        found = await explain_watch(shop.store, "ann", "w")
        assert found is not None
        assert found.series == []
        return found.nothing

    assert await nothing(WatchSpec(search="creme", rule=TARGET)) == (
        "no_item",
        "No item has these words in its name so far.",
    )
    assert await nothing(WatchSpec(item_id="a", rule=TARGET)) == (
        "no_price",
        "No price of a has come in so far.",
    )
    await shop.post([row(90, 1)])
    euros = TargetPrice(price_in_cents=100, currency="EUR")
    assert await nothing(WatchSpec(search="creme", rule=euros, stores=[3])) == (
        "no_watched_price",
        "There are prices of its items, but none in the stores of this watch in EUR.",
    )
    assert await nothing(WatchSpec(item_id="a", rule=DROP, stores=[4])) == (
        "no_watched_price",
        "There are prices of its items, but none in the stores of this watch.",
    )
    await shop.watch("ann", "w", WatchSpec(item_id="a", rule=DROP))
    found = await explain_watch(shop.store, "ann", "w")
    assert found is not None
    assert (len(found.series), found.nothing) == (1, None)


async def test_a_price_that_is_not_checked_yet(shop: Shop) -> None:
    await why(shop, TARGET, (1, 120))
    await shop.post([row(90, 2)])
    (series,) = await explained(shop)
    assert series.why.reason == "not_checked_yet"
    await shop.check()
    (series,) = await explained(shop)
    assert series.why.reason == "fired"


async def test_fields_of_a_silent_rule_come_true(shop: Shop) -> None:
    """What would re-arm it does, and one cent less does not; the same for what fires at once."""
    silent = (await why(shop, TARGET, (1, 90), (2, 95))).why
    assert (silent.state, silent.threshold, silent.told) == ("silent", 100, 90)
    assert silent.rearms_at is not None
    assert silent.deeper_at is not None
    await shop.post([row(silent.rearms_at - 1, 3), row(silent.deeper_at + 1, 4)])
    await shop.check()
    assert len(shop.alerts()) == 1
    await shop.post([row(silent.deeper_at, 5)])
    await shop.check()
    assert len(shop.alerts()) == 2
    await shop.post([row(silent.rearms_at, 5.1)])
    await shop.check()
    (series,) = await explained(shop)
    assert (series.why.state, series.why.rearms_at) == ("cooling_down", None)
    await shop.post([row(120, 6)])
    await shop.check()
    (series,) = await explained(shop)
    assert series.why.state == "armed"


async def test_only_watched_stores_page_after_page(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MAX_ITEMS", 1)
    await shop.watch("ann", "w", WatchSpec(search="CRÈM", rule=TARGET, stores=["3"]))
    await shop.post([row(120, 1, store, item) for item in ("a", "b", "c") for store in (3, "3")])
    await shop.check()
    first = await explain_watch(shop.store, "ann", "w")
    assert first is not None
    assert [(each.newest.item_id, each.newest.store_id) for each in first.series] == [("a", '"3"')]
    assert first.after == "a"
    second = await explain_watch(shop.store, "ann", "w", first.after)
    assert second is not None
    assert [each.newest.item_id for each in second.series] == ["b"]
    assert await explain_watch(shop.store, "bob", "w") is None


async def test_a_backtest_goes_on_where_it_stopped(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backtest, "MAX_PRICES", 3)
    monkeypatch.setattr(backtest, "PAGE", 1)
    for day in range(1, 3):
        await shop.post([row(120 - 15 * day, day, store, item) for item in ("a", "b") for store in (3, 4)])
    spec = WatchSpec(search="creme", rule=TARGET)
    first = await backtest.backtest(shop.store, spec, limit=9)
    second = await backtest.backtest(shop.store, spec, limit=1, after=str(first.after))
    assert (first.items, first.after, first.total) == (1, "a", 1)  # the fourth price was too much
    assert second.after == "b"
    monkeypatch.setattr(backtest, "MAX_PRICES", 1000)
    all_ = await backtest.backtest(shop.store, spec, limit=3)
    assert (all_.items, all_.prices, all_.total, len(all_.alerts), all_.after) == (2, 8, 4, 3, None)
    stopped = await backtest.backtest(shop.store, spec, limit=3, deadline_s=0)
    assert (stopped.total, stopped.after) == (0, "a")


async def test_a_search_that_means_too_much(shop: Shop) -> None:
    await shop.post([row(120, 1, item_id=f"c{number}") for number in range(MAX_ITEMS + 1)])
    spec = WatchSpec(search="item", rule=TARGET)
    with pytest.raises(Unprocessable, match="more than 1000 items"):
        await shop.watch("ann", "w", spec)
    with pytest.raises(Unprocessable, match="more than 1000 items"):
        await backtest.backtest(shop.store, spec, limit=1)


async def test_a_new_best_is_met_already_by_the_best_alone(shop: Shop) -> None:
    await shop.post([row(100, 1, 3), row(100, 1, 4), row(90, 2, 3), row(80, 3, 4)])
    result = await shop.watch("ann", "w", WatchSpec(item_id="a", rule=NewBest()))
    assert [(met.store_id, met.price) for met in result.met_by] == [("4", 80)]
    await shop.post([row(80, 4, 3)])
    again = await shop.watch("ann", "x", WatchSpec(item_id="a", rule=NewBest()))
    assert again.met_by == []
    alone = await shop.watch("ann", "y", WatchSpec(item_id="a", rule=NewBest(), stores=[3]))
    assert [(met.store_id, met.price) for met in alone.met_by] == [("3", 80)]
