"""The newest entries of the log in memory, each encoded once per wire format. The window is the queue.

Pure: no I/O, no clock, no Trio. It covers every seq in `(floor, head]`: an entry in that range that is not
here never existed, has expired or was withdrawn.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from notifyd.store.base import Entry

MAX_ENTRIES = 10_000
MAX_BYTES = 32 * 2**20
#: What one write to a socket joins at most (design section 3).
JOIN_BYTES = 64 * 2**10

Framer = Callable[["Entry"], bytes]


class Joined(NamedTuple):
    """What lies after a reader's position: bytes for one write, and the position once they are written."""

    data: bytes
    position: int
    more: bool  # the limit was reached before the head


@dataclass(slots=True)
class _Slot:
    entry: Entry
    wire: dict[Framer, bytes] = field(default_factory=dict)

    def framed(self, framer: Framer) -> bytes:
        data = self.wire.get(framer)
        if data is None:
            data = self.wire[framer] = framer(self.entry)
        return data


class _Track:
    """Slots of one user, or of everyone, by rising seq."""

    __slots__ = ("seqs", "slots")

    def __init__(self) -> None:
        self.seqs: list[int] = []
        self.slots: list[_Slot] = []

    def after(self, seq: int) -> list[_Slot]:
        if not self.seqs or self.seqs[-1] <= seq:
            return []
        return self.slots[bisect_right(self.seqs, seq) :]
