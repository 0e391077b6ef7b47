"""Storing batches of prices, and what callers may read of them.

Every batch that adds prices becomes a run. Whoever stores holds the lock of `price_log`, so price and run
numbers are given in commit order and nothing else stores in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import and_, bindparam, delete, exists, insert, or_, select, update

from notifyd.errors import Unavailable
from notifyd.store import item_words
from notifyd.store.json_rows import INT, TEXT, rows_of
from notifyd.store.schema import items, price_batches, price_log, price_runs, price_series, prices
from notifyd.store.staging import staged, staged_count, unstage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifyd.store.base import Transaction

#: A JSON text of no rows.
NONE = "[]"
#: A publisher that sends its last body again within this time gets the first answer again.
REPEAT_WITHIN_MS = 10 * 60_000


class ItemName(NamedTuple):
    """An item's name, and when the price that brought it was observed."""

    item_id: str
    name: str
    folded_name: str
    named_ms: int


class StoreName(NamedTuple):
    """The name of the store in which an item has prices in a currency; `store_id` is JSON text."""

    item_id: str
    store_id: str
    currency: str
    store_name: str
    named_ms: int


class NewPrice(NamedTuple):
    """A price to store; `store_id` is JSON text."""

    item_id: str
    store_id: str
    currency: str
    observed_ms: int
    price_in_cents: int
    valid_until_ms: int | None
    url: str | None
    image_url: str | None


@dataclass(frozen=True)
class Batch:
    """One publisher's batch, its rows as JSON texts.

    `items` and `stores` are the names that may be new (ItemName, StoreName; at least those that
    `fresh_names` picks), `words` the words of those items' names (pairs of item_id and word), `prefixes` the
    beginnings of these words (pairs of word and prefix). `prices` are pairs of an offset (1, 2, …) and a
    NewPrice's fields, no two of them alike, unless `staged_as` says under which key they wait in the staging
    table. `answer` is the JSON object to answer with, but for its last
    brace and the count of what was added.
    """

    batch_id: str
    publisher: str
    items: str
    stores: str
    prices: str
    count: int
    answer: bytes
    words: str = NONE
    prefixes: str = NONE
    staged_as: int | None = None


class Stored(NamedTuple):
    """The whole answer to a batch and how many prices it has added; none when it was a repetition."""

    answer: bytes
    added: int


# --- names ------------------------------------------------------------------------------------------

_item_rows = rows_of("items", item_id=TEXT, name=TEXT, folded_name=TEXT, named_ms=INT)
_store_rows = rows_of("stores", item_id=TEXT, store_id=TEXT, currency=TEXT, store_name=TEXT, named_ms=INT)

_same_item = items.c.item_id == _item_rows.c.item_id
_newer_item = and_(items.c.name != _item_rows.c.name, items.c.named_ms <= _item_rows.c.named_ms)
_same_series = and_(
    price_series.c.item_id == _store_rows.c.item_id,
    price_series.c.store_id == _store_rows.c.store_id,
    price_series.c.currency == _store_rows.c.currency,
)
_newer_store = and_(
    price_series.c.store_name != _store_rows.c.store_name,
    price_series.c.named_ms <= _store_rows.c.named_ms,
)

_fresh_items = (
    select(_item_rows)
    .select_from(_item_rows.outerjoin(items, _same_item))
    .where(or_(items.c.item_id.is_(None), _newer_item))
)
_fresh_stores = (
    select(_store_rows)
    .select_from(_store_rows.outerjoin(price_series, _same_series))
    .where(or_(price_series.c.series_id.is_(None), _newer_store))
)


def fresh_names(
    tx: Transaction, item_rows: str, store_rows: str
) -> tuple[Sequence[Sequence[Any]], Sequence[Sequence[Any]]]:
    """The item and store names that are new or have changed, of those in two JSON arrays.

    A name replaces another unless the price that brings it is older than the one that brought the other.
    """
    fresh_items = tx.execute(_fresh_items, {"items": item_rows}).fetchall()
    return fresh_items, tx.execute(_fresh_stores, {"stores": store_rows}).fetchall()


_add_items = insert(items).from_select(
    list(_item_rows.c.keys()), select(_item_rows).where(~exists().where(_same_item))
)
_rename_items = (
    update(items)
    .where(_same_item, _newer_item)
    .values(name=_item_rows.c.name, folded_name=_item_rows.c.folded_name, named_ms=_item_rows.c.named_ms)
)
_add_series = insert(price_series).from_select(  # those of an item side by side
    list(_store_rows.c.keys()),
    select(_store_rows)
    .where(~exists().where(_same_series))
    .order_by(_store_rows.c.item_id, _store_rows.c.store_id, _store_rows.c.currency),
)
_rename_stores = (
    update(price_series)
    .where(_same_series, _newer_store)
    .values(store_name=_store_rows.c.store_name, named_ms=_store_rows.c.named_ms)
)

# --- batches ----------------------------------------------------------------------------------------

_price_rows = rows_of(
    "prices",
    offset=INT,
    item_id=TEXT,
    store_id=TEXT,
    currency=TEXT,
    observed_ms=INT,
    price_in_cents=INT,
    valid_until_ms=INT,
    url=TEXT,
    image_url=TEXT,
)
_known = prices.alias("known")
_row = _price_rows.c
_series_of_row = and_(
    price_series.c.item_id == _row.item_id,
    price_series.c.store_id == _row.store_id,
    price_series.c.currency == _row.currency,
)


def _is_known(series_id: Any, row: Any) -> Any:
    return exists().where(
        _known.c.series_id == series_id,
        _known.c.observed_ms == row.observed_ms,
        _known.c.price_in_cents == row.price_in_cents,
    )


_COUNTED: Final = {"preserve_rowcount": True}  # without it only updates and deletions say how many
_told = ["observed_ms", "price_in_cents", "valid_until_ms", "url", "image_url"]
_add_prices = (
    insert(prices)
    .from_select(
        ["price_id", "series_id", *_told],
        select(
            _row.offset + bindparam("base", type_=INT),
            price_series.c.series_id,
            *(_row[name] for name in _told),
        )
        .select_from(_price_rows.join(price_series, _series_of_row))
        .where(~_is_known(price_series.c.series_id, _row)),
    )
    .execution_options(**_COUNTED)
)
_stage_prices = insert(staged).from_select(
    ["batch_key", "offset", "staged_ms", "series_id", *_told],
    select(
        bindparam("key", type_=INT),
        _row.offset,
        bindparam("now", type_=INT),
        price_series.c.series_id,
        *(_row[name] for name in _told),
    ).select_from(_price_rows.join(price_series, _series_of_row)),
)
_add_staged = (
    insert(prices)
    .from_select(
        ["price_id", "series_id", *_told],
        select(
            staged.c.offset + bindparam("base", type_=INT),
            staged.c.series_id,
            *(staged.c[name] for name in _told),
        ).where(staged.c.batch_key == bindparam("key", type_=INT), ~_is_known(staged.c.series_id, staged.c)),
    )
    .execution_options(**_COUNTED)
)
_take_none = update(price_log).values(last_run_id=price_log.c.last_run_id).returning(price_log.c.last_run_id)
_take_numbers = (
    update(price_log)
    .values(
        last_price_id=price_log.c.last_price_id + bindparam("count", type_=INT),
        last_run_id=price_log.c.last_run_id + 1,
    )
    .returning(price_log.c.last_price_id, price_log.c.last_run_id)
)


def last_answer(tx: Transaction, publisher: str, batch_id: str) -> bytes | None:
    """The answer to this publisher's last batch, when it was this one and not long ago."""
    found = tx.execute(
        select(price_batches.c.answer).where(
            price_batches.c.publisher == publisher,
            price_batches.c.batch_id == batch_id,
            price_batches.c.created_ms > tx.now_ms - REPEAT_WITHIN_MS,
        )
    ).scalar_one_or_none()
    return None if found is None else bytes(found)


def add_names(tx: Transaction, items: str, stores: str, words: str = NONE, prefixes: str = NONE) -> None:
    """Store such names as a Batch has; of a large one they come before it, in their own transactions."""
    _lock(tx)
    _add_names(tx, items, stores, words, prefixes)


def stage(tx: Transaction, key: int, rows: str) -> None:
    """Put aside some of a large batch's prices, whose names are stored, until the batch is added."""
    unstage(tx)
    tx.execute(_stage_prices, {"key": key, "prices": rows, "now": tx.now_ms})


def add_batch(tx: Transaction, batch: Batch) -> Stored:
    """Store what is new of a batch, as one run; what is known already is left as it is.

    Raises Unavailable when what was staged is gone.
    """
    numbers = _lock_and_number(tx, batch.count)
    repeated = last_answer(tx, batch.publisher, batch.batch_id)
    if repeated is not None:
        return Stored(repeated, 0)
    _add_names(tx, batch.items, batch.stores, batch.words, batch.prefixes)
    added = _add_prices_of(tx, batch, numbers.last_price_id - batch.count)
    if added:
        _add_run(tx, batch, numbers)
    answer = b'%s,"added":%d}' % (batch.answer, added)
    _keep_answer(tx, batch, answer)
    return Stored(answer, added)


def _add_names(tx: Transaction, items: str, stores: str, words: str, prefixes: str) -> None:
    if items != NONE:
        tx.execute(_rename_items, {"items": items})
        tx.execute(_add_items, {"items": items})
        item_words.replace(tx, items, words, prefixes)
    if stores != NONE:
        tx.execute(_rename_stores, {"stores": stores})
        tx.execute(_add_series, {"stores": stores})


def _add_prices_of(tx: Transaction, batch: Batch, base: int) -> int:
    if batch.staged_as is None:
        return tx.execute(_add_prices, {"prices": batch.prices, "base": base}).rowcount
    if staged_count(tx, batch.staged_as) != batch.count:
        raise Unavailable("the connection to the database has changed meanwhile")
    added = tx.execute(_add_staged, {"key": batch.staged_as, "base": base}).rowcount
    unstage(tx, batch.staged_as)
    return added


def _lock(tx: Transaction) -> None:
    if tx.execute(_take_none).one_or_none() is None:  # the first batch ever
        tx.execute(insert(price_log).values(id=1, last_price_id=0, last_run_id=0))


def _lock_and_number(tx: Transaction, count: int) -> Any:
    _lock(tx)
    return tx.execute(_take_numbers, {"count": count}).one()


def _add_run(tx: Transaction, batch: Batch, numbers: Any) -> None:
    tx.execute(
        insert(price_runs).values(
            run_id=numbers.last_run_id,
            batch_id=batch.batch_id,
            publisher=batch.publisher,
            first_price_id=numbers.last_price_id - batch.count + 1,
            last_price_id=numbers.last_price_id,
            created_ms=tx.now_ms,
        )
    )


def _keep_answer(tx: Transaction, batch: Batch, answer: bytes) -> None:
    tx.execute(delete(price_batches).where(price_batches.c.publisher == batch.publisher))
    tx.execute(
        insert(price_batches).values(
            publisher=batch.publisher, batch_id=batch.batch_id, answer=answer, created_ms=tx.now_ms
        )
    )


# --- what callers may read --------------------------------------------------------------------------


def item_name(tx: Transaction, item_id: str) -> str | None:
    """The item's name; None when no price of it was ever stored."""
    return tx.execute(select(items.c.name).where(items.c.item_id == item_id)).scalar_one_or_none()


def last_price_id(tx: Transaction, *, lock: bool = False) -> int:
    """The highest number that a price was given so far; with `lock`, for the rest of this transaction."""
    numbers = select(price_log.c.last_price_id)
    return tx.execute(numbers.with_for_update() if lock else numbers).scalar_one_or_none() or 0
