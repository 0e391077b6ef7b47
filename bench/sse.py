"""Broadcast to 1,000 SSE streams: deliveries a second, against nchan's EventSource and sse-starlette.

As in `fanout`, one message at a time, over HTTP and with fsync for notifyd.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import realistic
from bench.broadcasts import BURST, CLIENTS, available, compared, in_turns, rate_row, rows_of_turns, take_turn
from bench.subjects import NOTIFYD_SSE, SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.broadcasts import Turn
    from bench.report import Row
    from bench.subjects import Subject

RIVAL = "nchan EventSource"
GOAL = 1.0


def run(*, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Rounds of all servers in turn; medians, and the least and most of the rounds."""
    rounds, seconds = (2, 0.6) if quick else (5, 2.0)
    checked = realistic.run("sse", seconds=1.5 if quick else 5.0)
    say(f"realistic load: {checked.messages:,} messages to {checked.clients} clients, all right")

    def turn(subject: Subject) -> Turn:
        return take_turn(subject, seconds, burst_s=seconds / 2 if subject is NOTIFYD_SSE else 0.0)

    every = [each for each in SUBJECTS.values() if each.kind == "sse"]
    turns = in_turns(available(every, say), rounds, turn, say)
    title = f"broadcast to {CLIENTS:,} SSE streams, one message at a time"
    bursts = [each.burst for each in turns[NOTIFYD_SSE.name] if each.burst is not None]
    return [
        compared(title, GOAL, turns, NOTIFYD_SSE.name, RIVAL),
        realistic.row(checked),
        rate_row(f"{NOTIFYD_SSE.name}, bursts of {BURST}", bursts),
        *rows_of_turns(turns),
    ]
