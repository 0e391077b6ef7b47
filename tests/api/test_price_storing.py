"""Large batches of prices: put aside in portions, then one run at once; or nothing but names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
from sqlalchemy import func, select

from notifyd.api.price_rows import Reader
from notifyd.api.price_storing import ITEMS, ROWS, store_batch
from notifyd.errors import Unavailable
from notifyd.messages import encode_json
from notifyd.store import staging
from notifyd.store.schema import price_runs, price_series, prices
from notifyd.store.staging import STALE_MS, staged
from tests.api.conftest import NOW_MS

if TYPE_CHECKING:
    from notifyd.store.base import Store, Transaction
    from tests.api.conftest import Api

#: More than one portion of prices, of items and of stores.
ITEM_COUNT = ITEMS + 50
STORE_COUNT = -(-(2 * ROWS + 100) // ITEM_COUNT)
COUNT = ITEM_COUNT * STORE_COUNT


def rows(item_count: int = ITEM_COUNT, store_count: int = STORE_COUNT) -> list[dict[str, Any]]:
    return [
        {
            "item_id": f"item-{item}",
            "item_name": f"Juice number{item}",
            "store_id": store,
            "store_name": f"Shop {store}",
            "price_in_cents": 100 + item + store,
            "currency": "USD",
        }
        for item in range(item_count)
        for store in range(store_count)
    ]


def read(some: list[dict[str, Any]]) -> Reader:
    reader = Reader(NOW_MS)
    for index, row in enumerate(some):
        reader.read(index, msgspec.Raw(encode_json(row)))
    return reader


class Failing:
    """A store whose `left`-th next write does not happen."""

    def __init__(self, store: Store, left: int) -> None:
        self.read = store.read
        self.writes = 0
        self._store = store
        self._left = left

    async def write(self, work: Any) -> Any:
        self.writes += 1
        if self.writes == self._left:
            raise Unavailable("not now")
        return await self._store.write(work)


def stored(tx: Transaction) -> tuple[int, int, int]:
    """How many prices, runs and series there are."""
    counts = [
        tx.execute(select(func.count()).select_from(table)) for table in (prices, price_runs, price_series)
    ]
    found, runs, series = (count.scalar_one() for count in counts)
    return found, runs, series


async def test_a_large_batch_is_one_run(api: Api) -> None:
    answer = await api.call("POST", "/v1/prices", as_="pub", body={"prices": rows()})
    assert (answer.status, answer.json["accepted"], answer.json["added"]) == (202, COUNT, COUNT)
    assert await api.parts.store.read(stored) == (COUNT, 1, COUNT)
    found = await api.call("GET", f"/v1/items?search=number{ITEM_COUNT - 1}+juice", as_="pub")
    assert [item["item_id"] for item in found.json["items"]] == [f"item-{ITEM_COUNT - 1}"]
    again = await api.call("POST", "/v1/prices", as_="pub", body={"prices": rows()})
    assert again.json == answer.json
    assert await api.parts.store.read(stored) == (COUNT, 1, COUNT)


async def test_what_is_known_of_a_large_batch_is_left_as_it_is(api: Api) -> None:
    store = api.parts.store
    half = rows(ITEM_COUNT // 2)
    assert (await store_batch(store, "pub", "first", read(half))).added == len(half)
    whole = await store_batch(store, "pub", "second", read(rows()))
    assert whole.added == COUNT - len(half)
    assert json.loads(whole.answer) == {
        "batch_id": "second",
        "accepted": COUNT,
        "rejected": [],
        "added": whole.added,
    }
    assert await store.read(stored) == (COUNT, 2, COUNT)


async def test_refused_anywhere_it_can_be_sent_again(api: Api) -> None:
    store = api.parts.store
    for left in range(1, 100):
        failing: Any = Failing(store, left)
        try:
            done = await store_batch(failing, "pub", "batch", read(rows()))
        except Unavailable:
            found, runs, _ = await store.read(stored)
            assert (found, runs) == (0, 0)
        else:
            break
    assert left > 3  # what an earlier try has stored of the names needs no write any more
    assert done.added == COUNT
    assert await store.read(stored) == (COUNT, 1, COUNT)


async def test_rows_that_a_lost_connection_took_along_are_missed(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = api.parts.store
    with monkeypatch.context() as patch:
        patch.setattr("notifyd.store.prices.staged_count", lambda tx, key: staging.staged_count(tx, key) - 1)
        with pytest.raises(Unavailable, match="connection to the database has changed"):
            await store_batch(store, "pub", "batch", read(rows()))
    assert (await store.read(stored))[:2] == (0, 0)
    assert (await store_batch(store, "pub", "batch", read(rows()))).added == COUNT


async def test_nothing_stays_put_aside(api: Api) -> None:
    store = api.parts.store

    def waiting(tx: Transaction) -> int:
        staging.staged_count(tx, 0)
        return int(tx.execute(select(func.count()).select_from(staged)).scalar_one())

    await store_batch(store, "pub", "batch", read(rows()))
    assert await store.write(waiting) == 0
    counting: Any = Failing(store, 10**9)
    await store_batch(counting, "pub", "other", read(rows()))
    failing: Any = Failing(store, counting.writes)  # all is put aside, and its publisher never comes back
    with pytest.raises(Unavailable):
        await store_batch(failing, "pub", "third", read([row | {"price_in_cents": 7} for row in rows()]))
    assert await store.write(waiting) == COUNT
    await store.write(lambda tx: tx.execute(staged.update().values(staged_ms=NOW_MS - STALE_MS - 1)))
    more = [row | {"price_in_cents": 8} for row in rows()]
    assert (await store_batch(store, "pub", "fourth", read(more))).added == COUNT
    assert await store.write(waiting) == 0


async def test_two_large_batches_side_by_side_do_not_mix(api: Api) -> None:
    store = api.parts.store
    cheap = [row | {"price_in_cents": 1} for row in rows()]
    dear = [row | {"price_in_cents": 2} for row in rows()]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store_batch, store, "a", "cheap", read(cheap))
        nursery.start_soon(store_batch, store, "b", "dear", read(dear))

    def runs_of(tx: Transaction) -> list[set[int]]:
        found = tx.execute(select(price_runs.c.first_price_id, price_runs.c.last_price_id)).all()
        return [
            set(
                tx.execute(
                    select(prices.c.price_in_cents).where(prices.c.price_id.between(first, last))
                ).scalars()
            )
            for first, last in found
        ]

    assert sorted(await store.read(runs_of), key=sorted) == [{1}, {2}]
