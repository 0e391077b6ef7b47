"""The wall clock, in one place so that tests can hand in another."""

from __future__ import annotations

import time


def wall_ms() -> int:
    """Milliseconds since 1970-01-01 UTC; jumps when the system's clock is set."""
    return time.time_ns() // 1_000_000
