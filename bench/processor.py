"""Processor time of a server, its own and the kernel's on its behalf."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from bench.processes import family

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class Spent(NamedTuple):
    """Seconds."""

    user_s: float
    kernel_s: float

    @property
    def total_s(self) -> float:
        return self.user_s + self.kernel_s

    def since(self, before: Spent) -> Spent:
        return Spent(self.user_s - before.user_s, self.kernel_s - before.kernel_s)


def spent(pid: int) -> Spent:
    """What a process and all that come from it have used up to now."""
    stats = [_ticks(each) for each in family(pid)]
    return Spent(*(sum(column) / _TICKS_A_SECOND for column in zip(*stats, strict=True)))


def _ticks(pid: int) -> tuple[int, int]:
    """utime and stime, proc(5)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended
        return 0, 0
    return int(fields[11]), int(fields[12])
