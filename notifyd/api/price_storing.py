"""Storing a batch of prices in transactions that keep nobody waiting."""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from notifyd.clock import Pace
from notifyd.messages import encode_json
from notifyd.store import prices
from notifyd.store.folding import prefixes, words
from notifyd.store.prices import NONE, Batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from notifyd.api.price_rows import Reader
    from notifyd.store.base import Store
    from notifyd.store.prices import Stored

    Rows = Sequence[Sequence[Any]]

#: Rows in one transaction, each some 10 ms: prices and their stores; items, whose words are stored too.
ROWS: Final = 2_000
ITEMS: Final = 400


async def store_batch(store: Store, publisher: str, batch_id: str, reader: Reader) -> Stored:
    """Store what was read as one run. Of a large one names go ahead, and then the prices, put aside.

    Killed or refused anywhere between, nothing but names is stored, and the batch can be sent again.
    """
    fresh_items, fresh_stores = await _fresh(store, reader)
    new_prices = reader.prices()
    if len(fresh_items) > ITEMS or len(fresh_stores) > ROWS or len(new_prices) > ROWS:
        await _add_names(store, fresh_items, fresh_stores)
        fresh_items = fresh_stores = ()
    named, beginnings = await _words(fresh_items)
    staged_as = await _stage(store, new_prices) if len(new_prices) > ROWS else None
    head = {"batch_id": batch_id, "accepted": reader.accepted, "rejected": reader.rejected}
    batch = Batch(
        batch_id=batch_id,
        publisher=publisher,
        items=_json(fresh_items),
        stores=_json(fresh_stores),
        prices=NONE if staged_as is not None else _json(_numbered(new_prices, 0)),
        count=len(new_prices),
        answer=encode_json(head).removesuffix(b"}"),
        words=named,
        prefixes=beginnings,
        staged_as=staged_as,
    )
    return await store.write(partial(prices.add_batch, batch=batch))


async def _fresh(store: Store, reader: Reader) -> tuple[Rows, Rows]:
    """The names of items and of stores that are not stored yet."""
    every_item, every_store = reader.items(), reader.stores()
    fresh_items: list[Sequence[Any]] = []
    fresh_stores: list[Sequence[Any]] = []
    for start in range(0, max(len(every_item), len(every_store)), ROWS):
        some_items, some_stores = (
            _json(every_item[start : start + ROWS]),
            _json(every_store[start : start + ROWS]),
        )
        look = partial(prices.fresh_names, item_rows=some_items, store_rows=some_stores)
        of_items, of_stores = await store.read(look)
        fresh_items += of_items
        fresh_stores += of_stores
    return fresh_items, fresh_stores


async def _add_names(store: Store, items: Rows, stores: Rows) -> None:
    for some in _portions(items, ITEMS):
        named, beginnings = await _words(some)
        add = partial(prices.add_names, items=_json(some), stores=NONE, words=named, prefixes=beginnings)
        await store.write(add)
    for some in _portions(stores, ROWS):
        await store.write(partial(prices.add_names, items=NONE, stores=_json(some)))


async def _stage(store: Store, new_prices: Rows) -> int:
    key = secrets.randbits(62)
    for start in range(0, len(new_prices), ROWS):
        rows = _json(_numbered(new_prices[start : start + ROWS], start))
        await store.write(partial(prices.stage, key=key, rows=rows))
    return key


async def _words(names: Rows) -> tuple[str, str]:
    """The words of items' names, and the beginnings of these words, as JSON."""
    pace = Pace()
    found: list[tuple[str, str]] = []
    beginnings: dict[str, list[str]] = {}
    for item_id, _, folded_name, *_ in names:
        await pace.breathe()
        for word in words(folded_name):
            found.append((item_id, word))
            if word not in beginnings:
                beginnings[word] = prefixes(word)
    return _json(found), _json([(word, prefix) for word, each in beginnings.items() for prefix in each])


def _portions(rows: Rows, size: int) -> Iterator[Rows]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _numbered(rows: Rows, before: int) -> Rows:
    return [(offset, *row) for offset, row in enumerate(rows, before + 1)]


def _json(rows: Rows) -> str:
    return encode_json([tuple(row) for row in rows]).decode()
