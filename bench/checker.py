"""The deal checker: new prices a second with a million watches, and with a tenth of them.

In process, on a SQLite file with fsync. The prices are stored, in runs of 10,000; the clock runs from the
first read to the last commit of the notifications. Every price that meets a rule must have been told.
"""

from __future__ import annotations

import gc
import json
import logging
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import structlog
import trio
from sqlalchemy import select

from bench.market import Market
from bench.report import Row, at_least, figure
from notifyd.checker.loop import Checker
from notifyd.clock import wall_ms
from notifyd.inbox import open_inbox
from notifyd.service import SWITCH_INTERVAL_S
from notifyd.store.schema import notifications
from notifyd.store.sql import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifyd.store.base import Store, Transaction

#: Watches, of which one part in ten concerns items that get prices.
WATCHES = 1_000_000
QUICK_WATCHES = 100_000
TENFOLD = 10
GOAL_RATE = 50_000.0
#: The same rate with ten times the watches, but for the noise of a machine.
GOAL_FLAT = 0.85
WEEK_S = 7 * 86_400


class Measured(NamedTuple):
    """A day of prices."""

    rate: float  # prices a second
    processor_s: float  # of each, in all threads


def run(*, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Rounds with few and many watches in turn; medians."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)  # like the server
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    gc.collect()
    gc.freeze()
    most = QUICK_WATCHES if quick else WATCHES
    rounds = 3 if quick else 5
    traded = most // 50
    with tempfile.TemporaryDirectory() as folder:
        few = Market(Path(folder, "few.db"), traded, most // TENFOLD)
        many = Market(Path(folder, "many.db"), traded, most)
        for market in (few, many):
            _create(market)
            say(f"{market.watches:,} watches, {market.series:,} prices a day")
        rates: dict[Market, list[float]] = {few: [], many: []}
        costs: list[float] = []
        for number in range(rounds):
            for market in (few, many):
                measured = measure(market, number)
                rates[market].append(measured.rate)
            costs.append(measured.processor_s * 1e6)
            say(f"round {number + 1} of {rounds}: {rates[few][-1]:,.0f} and {rates[many][-1]:,.0f} prices/s")
    slow, fast = statistics.median(rates[many]), statistics.median(rates[few])
    flat = [own / other for own, other in zip(rates[many], rates[few], strict=True)]
    return [
        figure(f"prices checked with {few.watches:,} watches", fast, "/s", rates[few]),
        at_least(f"prices checked with {many.watches:,} watches", GOAL_RATE, slow, "/s", rates[many]),
        figure("processor time of a price, all threads", statistics.median(costs), "µs", costs),
        at_least("the same against a tenth of the watches", GOAL_FLAT, statistics.median(flat), rounds=flat),
    ]


def _create(market: Market) -> None:
    async def tables() -> None:
        async with open_store(f"sqlite:///{market.path}", clock=wall_ms):
            pass

    trio.run(tables)
    market.build()


def measure(market: Market, day: int) -> Measured:
    """Another day of prices. Raises RuntimeError when a deal was missed or repeated."""
    falling = market.add_day(day)
    return trio.run(_check, market, falling)


async def _check(market: Market, falling: int) -> Measured:
    async with (
        open_store(f"sqlite:///{market.path}", clock=wall_ms) as store,
        open_inbox(store, clock=wall_ms, retention_ms=30 * WEEK_S * 1000, max_rows_per_user=10_000) as inbox,
    ):
        checker = Checker(store, inbox, wall_ms, 3600.0)
        head = inbox.head
        begun, processor = time.perf_counter(), time.process_time()
        while await checker.check_next():
            pass
        seconds, processor_s = time.perf_counter() - begun, time.process_time() - processor
        told = await _told(store, head)
    if told != falling:
        raise RuntimeError(f"{falling} prices met a rule and {told} were told")
    return Measured(market.series / seconds, processor_s / market.series)


async def _told(store: Store, head: int) -> int:
    """How many prices the notifications after `head` tell of; each user is told of a price once."""
    query = select(notifications.c.user_id, notifications.c.data).where(notifications.c.seq > head)

    def read(tx: Transaction) -> list[tuple[str, bytes]]:
        return [(user_id, data) for user_id, data in tx.execute(query)]

    told: set[tuple[object, ...]] = set()
    pairs: set[tuple[object, ...]] = set()
    for user_id, data in await store.read(read):
        for deal in json.loads(data)["deals"]:
            price = (deal["item_id"], deal["store_id"], deal["observed_at"])
            if (user_id, *price) in pairs:
                raise RuntimeError(f"{user_id} was told of {price} twice")
            pairs.add((user_id, *price))
            told.add(price)
    return len(told)
