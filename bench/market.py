"""A shop's catalogue, its price history and many watches, put into a database in seconds.

Every item is sold by 5 stores, of which the first is the cheapest, and has 5 watches: two targets, drops
below the previous price and the monthly median, and either below the lowest ever or the best of all stores.
Only every tenth item of a large catalogue is *traded*: has prices. The watches of the others are unrelated.
A day's prices come as each store's feed after the other's, in the order of the catalogue, 10,000 a run.
"""

from __future__ import annotations

import random
import sqlite3
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from notifyd.store.schema import (
    items,
    price_log,
    price_runs,
    price_series,
    prices,
    watch_items,
    watches,
)
from notifyd.store.watch_rules import NewBest, PercentDrop, TargetPrice, encode_rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Table

    from notifyd.store.watch_rules import Rule

STORES = 5
WATCHES_OF_ITEM = 5
WATCHES_OF_USER = 20
HISTORY_DAYS = 10
#: Prices of a run: what `POST /v1/prices` takes at once.
RUN_PRICES = 10_000
#: One price in so many falls by 40 %, which meets a rule.
FALLING = 100
DAY_MS = 86_400_000
BEGUN_MS = 1_700_000_000_000


class Market(NamedTuple):
    """`traded` items with prices and as many watches as `watches` says, on them and on others."""

    path: Path
    traded: int
    watches: int
    seed: int = 4

    @property
    def series(self) -> int:
        return self.traded * STORES

    def build(self) -> None:
        """Fill an empty database that nobody has open."""
        with _quick(self.path) as database:
            catalogue = self.watches // WATCHES_OF_ITEM
            every = catalogue // self.traded
            _insert(database, items, ((_item(n), f"Item {n}", f"item {n}", 0) for n in range(catalogue)))
            _insert(database, price_series, self._series(every))
            _insert(database, price_log, [(1, 0, 0)])
            for day in range(HISTORY_DAYS):
                self._add_day(database, day, fall=False)
            database.execute("UPDATE meta SET checker_cursor = (SELECT last_run_id FROM price_log)")
            _insert(database, watches, self._watches(catalogue))
            _insert(database, watch_items, self._links(catalogue))
            database.execute("PRAGMA optimize")

    def add_day(self, day: int) -> int:
        """Store a price of every series, in runs; gives how many of them fall."""
        with _quick(self.path) as database:
            return self._add_day(database, HISTORY_DAYS + day, fall=True)

    def _add_day(self, database: sqlite3.Connection, day: int, *, fall: bool) -> int:
        chance = random.Random(self.seed * 1000 + day)
        feeds = (range(store, self.series, STORES) for store in range(STORES))
        order = list(chain.from_iterable(feeds))
        (before,) = database.execute("SELECT last_price_id FROM price_log").fetchone()
        (run,) = database.execute("SELECT last_run_id FROM price_log").fetchone()
        at_ms = BEGUN_MS + day * DAY_MS
        falls = {number for number in order if fall and _falls(number, day)}
        asked = (self._price(number, number in falls, chance) for number in order)
        rows = (
            (before + place, number + 1, at_ms, price, None, None, None)
            for place, (number, price) in enumerate(zip(order, asked, strict=True), start=1)
        )
        _insert(database, prices, rows)
        runs = []
        for index, start in enumerate(range(0, self.series, RUN_PRICES)):
            end = min(start + RUN_PRICES, self.series)
            numbers = (before + start + 1, before + end)
            runs.append((run + 1 + index, f"{day}-{index}", "bench", *numbers, at_ms))
        _insert(database, price_runs, runs)
        database.execute(
            "UPDATE price_log SET last_price_id = ?, last_run_id = ?",
            (before + self.series, run + len(runs)),
        )
        return len(falls)

    def _price(self, number: int, falls: bool, chance: random.Random) -> int:
        base = usual_price(number // STORES, number % STORES)
        if falls:
            return base * 6 // 10
        # Most prices stay; some rise a little; the dearer stores' also fall a little.
        return base + chance.choice((0, 0, base // 200, 0 if number % STORES == 0 else -base // 200))

    def _series(self, every: int) -> Iterator[tuple[object, ...]]:
        for item in range(self.traded):
            for store in range(STORES):
                yield item * STORES + store + 1, _item(item * every), str(store), "EUR", f"Store {store}", 0

    def _watches(self, catalogue: int) -> Iterator[tuple[object, ...]]:
        every = catalogue // self.traded
        users = list(range(self.watches))
        random.Random(self.seed).shuffle(users)
        for key, (item, rule) in enumerate(_rules(catalogue, every), start=1):
            user = f"user-{users[key - 1] // WATCHES_OF_USER}"
            text = encode_rule(rule)
            yield (
                key,
                user,
                f"w{key}",
                _item(item),
                None,
                0,
                None,
                text,
                rule.measure,
                rule.limit,
                0,
                BEGUN_MS,
            )

    def _links(self, catalogue: int) -> Iterator[tuple[object, ...]]:
        every = catalogue // self.traded
        for key, (item, rule) in enumerate(_rules(catalogue, every), start=1):
            yield key, _item(item), rule.measure, rule.limit


def _falls(number: int, day: int) -> bool:
    return number * 2_654_435_761 % 2**32 % FALLING == day % FALLING


def usual_price(item: int, store: int) -> int:
    """What an item costs in a store on most days, in cents; the first store asks least."""
    return (1000 + item * 37 % 90_000) * (100 + 2 * store) // 100


def _rules(catalogue: int, every: int) -> Iterator[tuple[int, Rule]]:
    for item in range(catalogue):
        low = usual_price(item // every, 0) * 8 // 10
        yield item, TargetPrice(price_in_cents=low)
        yield item, TargetPrice(price_in_cents=low * 95 // 100)
        yield item, PercentDrop(percent=20, baseline="previous")
        yield item, PercentDrop(percent=15, baseline="median_30d")
        yield item, PercentDrop(percent=10, baseline="lowest") if item // every % 2 else NewBest()


def _item(number: int) -> str:
    return f"item-{number:07d}"


def _quick(path: Path) -> sqlite3.Connection:
    """A connection that does not sync: what it does is not measured, and lost only with the machine."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA synchronous = OFF")
    return database


def _insert(database: sqlite3.Connection, table: Table, rows: Iterable[Sequence[object]]) -> None:
    marks = ", ".join("?" * len(table.columns))
    database.executemany(f"INSERT INTO {table.name} VALUES ({marks})", rows)
