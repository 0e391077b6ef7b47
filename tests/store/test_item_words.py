from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.engine import make_url
from sqlalchemy.schema import CreateTable

from notifyd.messages import encode_json
from notifyd.store import watches
from notifyd.store.folding import beyond, fold, prefixes, words
from notifyd.store.prices import Batch, ItemName, NewPrice, StoreName, add_batch
from notifyd.store.schema import item_words, watch_items, watch_words
from notifyd.store.watch_rules import TargetPrice, WatchSpec

if TYPE_CHECKING:
    from tests.store.conftest import Tables

RULE = TargetPrice(price_in_cents=100)


def name(tables: Tables, item_id: str, text: str, at_ms: int) -> None:
    """A price that brings the item this name."""
    found = [(item_id, word) for word in words(text)]
    batch = Batch(
        batch_id=f"{item_id} {text} {at_ms}",
        publisher="feed",
        items=encode_json([ItemName(item_id, text, fold(text), at_ms)]).decode(),
        stores=encode_json([StoreName(item_id, "3", "USD", "Shop", 0)]).decode(),
        prices=encode_json([(1, *NewPrice(item_id, "3", "USD", at_ms, 200, None, None, None))]).decode(),
        count=1,
        answer=b"{",
        words=encode_json(found).decode(),
        prefixes=encode_json([(word, each) for _, word in found for each in prefixes(word)]).decode(),
    )
    tables.write(add_batch, batch)


def links(tables: Tables) -> set[tuple[int, str]]:
    return tables.read(
        lambda tx: {
            (row[0], row[1]) for row in tx.execute(select(watch_items.c.watch_key, watch_items.c.item_id))
        }
    )


def test_watches_and_items_find_each_other_whichever_comes_first(tables: Tables) -> None:
    name(tables, "a", "Crème Brûlée 400 g", 1)
    key = tables.write(watches.put_watch, "ann", "w", WatchSpec(search="BRUL crem", rule=RULE), [])
    assert links(tables) == {(key, "a")}
    name(tables, "b", "creme brulee", 1)
    name(tables, "c", "Crème fraîche", 1)
    assert links(tables) == {(key, "a"), (key, "b")}


def test_an_item_that_is_renamed_joins_and_leaves(tables: Tables) -> None:
    search = tables.write(watches.put_watch, "ann", "w", WatchSpec(search="juice", rule=RULE), [])
    by_id = tables.write(watches.put_watch, "ann", "x", WatchSpec(item_id="a", rule=RULE), [])
    name(tables, "a", "Nectar", 1)
    assert links(tables) == {(by_id, "a")}
    name(tables, "a", "Juices", 2)
    assert links(tables) == {(by_id, "a"), (search, "a")}
    name(tables, "a", "An old name", 1)  # too late to be the name
    assert links(tables) == {(by_id, "a"), (search, "a")}
    name(tables, "a", "Nectar", 3)
    assert links(tables) == {(by_id, "a")}
    tables.write(watches.delete_watch, "ann", "w")
    tables.write(watches.delete_watch, "ann", "x")
    assert links(tables) == set()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Crème Brûlée, 4 × 100 g", ["creme", "brulee", "4", "100", "g"]),
        ("Straße STRASSE", ["strasse"]),
        ("Ørsted Łódź Æble ılık İzmir", ["orsted", "lodz", "aeble", "ilik", "izmir"]),
        ("ﬁne ℌ", ["fine", "h"]),
        ("— % _", []),
        ("x" * 40, ["x" * 32]),
    ],
)
def test_words(text: str, found: list[str]) -> None:
    assert words(text) == found


@given(text=st.text(), other=st.text())
def test_words_are_found_by_their_beginnings_and_by_no_others(text: str, other: str) -> None:
    for word in words(text):
        assert words(word.upper()) == [word] or not word.isascii()
        for prefix in prefixes(word):
            assert prefix <= word < beyond(prefix)
        for another in words(other):
            assert (another <= word < beyond(another)) == word.startswith(another)


def test_postgresql_compares_words_by_code_points_too() -> None:
    for table in (item_words, watch_words):
        sql = str(CreateTable(table).compile(dialect=make_url("postgresql+psycopg://").get_dialect()()))
        assert 'word TEXT COLLATE "C"' in sql
