"""The best price of an item across stores: the lowest that any of them has had in the last 14 days. Pure.

Looking back from a price there is no end to the other side: what another store is known to ask since then
counts as well, so a price is never told as the best while a better one is known.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from notifyd.checker.rules import BEST_WINDOW_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from notifyd.store.history import StorePrice
    from notifyd.store.runs import RunPrice


class Stairs:
    """The lowest price since any moment, of prices added one by one.

    Only those below all later ones are kept: they rise with their times.
    """

    def __init__(self) -> None:
        self._times: list[int] = []
        self._prices: list[int] = []

    def add(self, at_ms: int, price: int) -> None:
        """Take in a price, in any order of times."""
        following = bisect_left(self._times, at_ms)
        if following < len(self._times) and self._prices[following] <= price:
            return
        end = bisect_right(self._times, at_ms)
        start = bisect_left(self._prices, price, 0, end)
        self._times[start:end] = [at_ms]
        self._prices[start:end] = [price]

    def lowest_since(self, since_ms: int) -> int | None:
        """The lowest price observed at or after `since_ms`."""
        first = bisect_left(self._times, since_ms)
        return self._prices[first] if first < len(self._prices) else None


class Rivals:
    """All prices that compete with those of a run: an item's in one currency, in any store."""

    def __init__(self, known: Iterable[StorePrice], rows: Iterable[RunPrice]) -> None:
        self._known = list(known)
        self._rows: Sequence[RunPrice] = sorted(rows)
        self._best: dict[str | None, dict[int, int | None]] = {}

    def best(self, key: str | None, stores: frozenset[str] | None) -> dict[int, int | None]:
        """The best price just before each price of the run, by price_id, in some stores named `key`."""
        if key not in self._best:
            self._best[key] = self._follow(stores)
        return self._best[key]

    def _follow(self, stores: frozenset[str] | None) -> dict[int, int | None]:
        stairs = Stairs()
        for known in self._known:
            if stores is None or known.store_id in stores:
                stairs.add(known.observed_ms, known.price)
        best: dict[int, int | None] = {}
        for row in self._rows:
            if stores is None or row.store_id in stores:
                best[row.price_id] = stairs.lowest_since(row.observed_ms - BEST_WINDOW_MS)
                stairs.add(row.observed_ms, row.price)
        return best
