"""Runs: the stored batches of prices that the checker deals with one by one, behind its own cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct
from sqlalchemy import bindparam, select, update

from notifyd.store.json_rows import INT, json_of, together
from notifyd.store.schema import meta, price_runs, price_series, prices

if TYPE_CHECKING:
    from notifyd.store.base import Transaction


class Run(NamedTuple):
    """A stored batch that the checker has not dealt with, and the run it has dealt with before."""

    run_id: int
    first_price_id: int
    last_price_id: int
    after_run_id: int


class RunPrice(Struct, frozen=True, array_like=True, order=True, gc=False):
    """One price of a run; `store_id` is JSON text. Ordered by number."""

    price_id: int
    series_id: int
    observed_ms: int
    price: int
    item_id: str
    store_id: str
    currency: str
    valid_until_ms: int | None = None


_next_run = (
    select(
        price_runs.c.run_id, price_runs.c.first_price_id, price_runs.c.last_price_id, meta.c.checker_cursor
    )
    .where(price_runs.c.run_id > meta.c.checker_cursor)
    .order_by(price_runs.c.run_id)
    .limit(1)
)
_run_prices = (  # of some of its numbers
    select(
        together(
            prices.c.price_id,
            prices.c.series_id,
            prices.c.observed_ms,
            prices.c.price_in_cents,
            price_series.c.item_id,
            price_series.c.store_id,
            price_series.c.currency,
            prices.c.valid_until_ms,
        )
    )
    .join_from(prices, price_series, prices.c.series_id == price_series.c.series_id)
    .where(prices.c.price_id.between(bindparam("first"), bindparam("last")))
)
_advance = (
    update(meta)
    .where(meta.c.checker_cursor == bindparam("before", type_=INT))
    .values(checker_cursor=bindparam("after", type_=INT))
)


def next_run(tx: Transaction) -> Run | None:
    """The oldest run that the checker has not dealt with."""
    found = tx.execute(_next_run).one_or_none()
    return None if found is None else Run._make(found)


def run_prices(tx: Transaction, first: int, last: int) -> bytes:
    """The RunPrices with these numbers."""
    return json_of(tx, _run_prices, {"first": first, "last": last})


def advance(tx: Transaction, run: Run) -> bool:
    """Move the checker's cursor over `run`; False when it is no longer where it was read."""
    moved = tx.execute(_advance, {"before": run.after_run_id, "after": run.run_id})
    return moved.rowcount == 1
