from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from notifyd.checker import bulk, watching
from notifyd.checker.bulk import PORTION, Setting, set_watches
from notifyd.errors import DiskFull, StatementFailed, Unprocessable
from notifyd.store import watches
from notifyd.store.watch_rules import NewBest, PercentDrop, Rule, TargetPrice, WatchSpec
from tests.checker.conftest import DAY_MS, Row, Shop

if TYPE_CHECKING:
    from notifyd.store.base import Store, Transaction
    from notifyd.store.watches import StoredWatch

RULES: list[Rule] = [
    TargetPrice(price_in_cents=100),
    TargetPrice(price_in_cents=90),
    PercentDrop(percent=10, baseline="previous"),
    NewBest(),
]


def spec(item_id: str, rule: Any = RULES[0], stores: list[int | str] | None = None) -> WatchSpec:
    return WatchSpec(item_id=item_id, rule=rule, stores=stores)


async def prices(shop: Shop, items: int = 3) -> None:
    for day, cents in enumerate([120, 95]):
        await shop.post(
            [
                Row(f"i{n}", store, "USD", day * DAY_MS, cents + 10 * n + store)
                for n in range(items)
                for store in (0, 1)
            ]
        )
    await shop.check()


async def stored(shop: Shop, user_id: str) -> list[StoredWatch]:
    return list(await shop.store.read(lambda tx: watches.list_watches(tx, user_id, "", 9999)))


async def test_many_are_set_as_one_by_one(shop: Shop) -> None:
    await prices(shop)
    wanted = [
        (f"u{n}", f"w{index}", spec(f"i{n}", rule, stores))
        for n in range(4)  # the last item has no prices
        for index, (rule, stores) in enumerate((r, s) for r in RULES for s in (None, [cast("int | str", 1)]))
    ]
    alone = {}
    for _, name, each in wanted:
        alone[name, each.item_id] = bool((await shop.watch("alone", f"{name} {each.item_id}", each)).met_by)
    found = await set_watches(cast("Store", shop.store), wanted)
    assert found == [Setting(True, alone[name, each.item_id]) for _, name, each in wanted]
    assert any(alone.values())
    assert not all(alone.values())
    again = await set_watches(cast("Store", shop.store), wanted)
    assert again == [each._replace(created=False) for each in found if isinstance(each, Setting)]


async def test_more_than_a_portion_and_those_by_words(shop: Shop) -> None:
    await prices(shop, 2)
    wanted = [("u", f"w{n:04d}", spec("i0")) for n in range(2 * PORTION + 1)]
    by_words = ("u", "words", WatchSpec(search="nothing like it", rule=RULES[0]))
    found = await set_watches(cast("Store", shop.store), [*wanted, by_words])
    assert set(found[:-1]) == {Setting(True, True)}
    assert found[-1] == Setting(True, False)
    assert len(await stored(shop, "u")) == len(wanted) + 1


async def test_prices_that_come_in_between_are_seen(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    await prices(shop, 1)
    real = watching.already_met

    async def slow(*given: Any) -> Any:
        met = await real(*given)
        monkeypatch.setattr(bulk, "already_met", real)
        await shop.post([Row("i0", 0, "USD", 3 * DAY_MS, 1)])
        return met

    monkeypatch.setattr(bulk, "already_met", slow)
    found = await set_watches(cast("Store", shop.store), [("u", "w", spec("i0", RULES[1]))])
    assert found == [Setting(True, True)]
    await shop.check()
    assert shop.alerts() == []  # it was met already when it was set


@pytest.mark.parametrize("error", [DiskFull, StatementFailed])
async def test_what_a_portion_cannot_do_is_told_or_tried_alone(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    write, calls = shop.store.write, []

    async def first_fails(work: Any) -> Any:
        calls.append(work)
        if len(calls) == 1:
            raise error("no")
        return await write(work)

    monkeypatch.setattr(shop.store, "write", first_fails)
    found = await set_watches(cast("Store", shop.store), [("u", "a", spec("i0")), ("u", "b", spec("i0"))])
    if error is StatementFailed:
        assert found == [Setting(True, False)] * 2
    else:
        assert [type(each) for each in found] == [DiskFull] * 2
        assert await stored(shop, "u") == []


async def test_one_that_cannot_be_set_fails_alone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*_: Any) -> Any:
        raise Unprocessable("too many")

    monkeypatch.setattr(bulk, "set_watch", refused)
    by_words = ("u", "words", WatchSpec(search="x", rule=RULES[0]))
    found = await set_watches(cast("Store", shop.store), [by_words, ("u", "w", spec("i0"))])
    assert isinstance(found[0], Unprocessable)
    assert found[1] == Setting(True, False)


def test_a_transaction_is_a_function_of_what_was_read() -> None:
    """Nothing known, nothing wanted: nothing is asked of the transaction."""
    nothing = bulk._Known([], 0)
    assert bulk._write(cast("Transaction", None), wanted=[], known=nothing, met={}) == set()
