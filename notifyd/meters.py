"""Distributions that cost a fraction of a microsecond to feed. Pure: no clock, no lock, no library.

The event loop alone feeds them, and whoever shows them reads the counts when asked.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Upper bounds in seconds: from one fsync of a good disk up to the deadline of a write.
WRITING_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
#: Upper bounds in seconds of what a client's answer takes; clients wait up to 1 s before they acknowledge.
ANSWERING_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
#: Upper bounds of how many requests share one commit.
GROUP_SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Histogram:
    """How often a value lay at or below each of `bounds` and above the bound before it."""

    __slots__ = ("bounds", "counts", "largest", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0
        self.largest = 0.0

    def observe(self, value: float) -> None:
        """Count one value, which is not negative."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
        if value > self.largest:
            self.largest = value

    @property
    def total(self) -> int:
        return sum(self.counts)

    def cumulative(self) -> list[int]:
        """How many lay at or below each bound, and all of them at the end."""
        return list(accumulate(self.counts))

    def quantile(self, part: float) -> float:
        """A value that `part` of all (0 to 1) do not exceed: the bound above it, at most the largest seen."""
        wanted = part * self.total
        for bound, reached in zip(self.bounds, self.cumulative(), strict=False):
            if reached >= wanted:
                return min(bound, self.largest)
        return self.largest
