"""When a delivery is tried again, and when no more. Pure: chance is handed in."""

from __future__ import annotations

from typing import Final

FIRST_MS: Final = 60_000
#: Each pause is longer or shorter than its doubling by at most this part.
SPREAD: Final = 0.2
MAX_TRIES: Final = 8
MAX_AGE_MS: Final = 24 * 3_600_000


def pause_ms(tries: int, chance: float) -> int:
    """The pause after the `tries`-th try (from 1); `chance` in [0, 1) spreads it."""
    return round((FIRST_MS << (tries - 1)) * (1 - SPREAD + 2 * SPREAD * chance))


def next_try_ms(tries: int, created_ms: int, now_ms: int, chance: float) -> int | None:
    """When to try again after `tries` have failed; None: no more, it is a dead letter."""
    if tries >= MAX_TRIES:
        return None
    next_ms = now_ms + pause_ms(tries, chance)
    return next_ms if next_ms - created_ms < MAX_AGE_MS else None
