from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from notifyd.messages import encode_json
from notifyd.store.folding import fold
from notifyd.store.prices import (
    Batch,
    ItemName,
    NewPrice,
    StoreName,
    add_batch,
    fresh_names,
    item_name,
    last_answer,
    last_price_id,
)
from notifyd.store.schema import items, price_runs, price_series, prices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifyd.store.base import Transaction
    from tests.store.conftest import Tables


def names(*rows: ItemName) -> str:
    return encode_json(rows).decode()


def batch(
    *rows: NewPrice, number: int = 1, publisher: str = "feed", name: str = "Juice", named_ms: int = 0
) -> Batch:
    item_ids = dict.fromkeys(row.item_id for row in rows)
    series = dict.fromkeys(row[:3] for row in rows)
    return Batch(
        batch_id=f"batch-{number}",
        publisher=publisher,
        items=encode_json([ItemName(item_id, name, fold(name), named_ms) for item_id in item_ids]).decode(),
        stores=encode_json([StoreName(*key, name, named_ms) for key in series]).decode(),
        prices=encode_json([(offset, *row) for offset, row in enumerate(rows, 1)]).decode(),
        count=len(rows),
        answer=b'{"n":%d' % number,
    )


def price(cents: int = 5, at_ms: int = 0, store_id: str = "3", item_id: str = "a") -> NewPrice:
    return NewPrice(item_id, store_id, "USD", at_ms, cents, None, None, None)


def all_rows(tx: Transaction, table: Any) -> Sequence[Any]:
    return tx.execute(select(table).order_by(*table.primary_key)).fetchall()


def test_prices_are_numbered_in_their_order_without_a_break(tables: Tables) -> None:
    assert tables.read(last_price_id) == 0
    tables.write(add_batch, batch(price(3), price(1), price(2)))
    tables.write(add_batch, batch(price(9, 1), number=2))
    stored = [(row.price_id, row.price_in_cents) for row in tables.read(all_rows, prices)]
    assert stored == [(1, 3), (2, 1), (3, 2), (4, 9)]
    runs = [tuple(row) for row in tables.read(all_rows, price_runs)]
    assert runs == [
        (1, "batch-1", "feed", 1, 3, 1_000_000),
        (2, "batch-2", "feed", 4, 4, 1_000_000),
    ]
    assert tables.read(last_price_id) == 4


def test_a_batch_of_known_prices_makes_no_run(tables: Tables) -> None:
    assert tables.write(add_batch, batch(price(3), price(4))).added == 2
    stored = tables.write(add_batch, batch(price(4), price(3), number=2))
    assert stored == (b'{"n":2,"added":0}', 0)
    assert len(tables.read(all_rows, price_runs)) == 1
    assert tables.write(add_batch, batch(price(4), price(5), number=3)).added == 1


def test_each_publisher_has_one_last_answer_for_ten_minutes(tables: Tables) -> None:
    tables.write(add_batch, batch(price(3)))
    assert tables.read(last_answer, "feed", "batch-1") == b'{"n":1,"added":1}'
    assert tables.read(last_answer, "other", "batch-1") is None
    assert tables.read(last_answer, "feed", "batch-2") is None
    assert tables.write(add_batch, batch(price(99))) == (b'{"n":1,"added":1}', 0)  # by its name alone
    tables.now_ms += 600_000
    assert tables.read(last_answer, "feed", "batch-1") is None
    tables.write(add_batch, batch(price(4), number=2))
    assert tables.read(last_answer, "feed", "batch-2") is not None


def test_a_name_gives_way_unless_the_other_is_older(tables: Tables) -> None:
    tables.write(add_batch, batch(price(1), name="First", named_ms=10))

    def told() -> set[str]:
        named = tables.read(all_rows, price_series)
        return {str(tables.read(item_name, "a"))} | {row.store_name for row in named}

    tables.write(add_batch, batch(price(2), number=2, name="Older", named_ms=9))
    assert told() == {"First"}
    tables.write(add_batch, batch(price(3), number=3, name="Same time", named_ms=10))
    assert told() == {"Same time"}
    tables.write(add_batch, batch(price(4), number=4, name="Newer", named_ms=11))
    assert told() == {"Newer"}
    assert [row.folded_name for row in tables.read(all_rows, items)] == ["newer"]
    assert tables.read(item_name, "b") is None


def test_only_new_and_changed_names_are_fresh(tables: Tables) -> None:
    tables.write(add_batch, batch(price(), price(store_id="4"), name="Known", named_ms=10))
    rows = [("a", "Known", "known", 11), ("b", "New", "new", 0)]
    stores = [
        ("a", "3", "USD", "Known", 11),
        ("a", "4", "USD", "Renamed", 10),
        ("a", "4", "EUR", "New", 0),
        ("a", "3", "USD", "Too old", 9),
    ]
    fresh = tables.read(fresh_names, encode_json(rows).decode(), encode_json(stores).decode())
    assert [tuple(row) for row in fresh[0]] == rows[1:]
    assert [tuple(row) for row in fresh[1]] == stores[1:3]


@pytest.mark.parametrize(
    ("name", "folded"),
    [("Crème Brûlée", "creme brulee"), ("STRASSE Straße", "strasse strasse"), ("Ωμέγα", "ωμεγα"), ("", "")],
)
def test_folding(name: str, folded: str) -> None:
    assert fold(name) == folded
