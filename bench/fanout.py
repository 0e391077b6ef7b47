"""Broadcast to 1,000 WebSockets: deliveries a second, against a bare C loop and other servers in turns.

One message at a time: the next is published when the last client has the one before. notifyd is measured on
its own path, HTTP publish, commit with fsync, window and dispatcher included; the others are handed a byte,
and nchan an HTTP request. A realistic load beside it looks at every message.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from bench import realistic
from bench.broadcasts import (
    BURST,
    CLIENTS,
    WARM_UP_S,
    Turns,
    available,
    compared,
    in_turns,
    rate_row,
    ratios,
    rows_of_turns,
    take_turn,
)
from bench.load import LoadFailed, load
from bench.report import RATIO, Row, Rows, against, at_least, figure
from bench.subjects import NOTIFYD, SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.broadcasts import Turn
    from bench.subjects import Subject

LIMIT = "bare C loop"
#: notifyd as a multiple of it, at least.
GOALS = {LIMIT: 0.90, "Node ws": 1.5, "picows": 1.1, "nchan": 1.5}
GOAL_BURST = 5.0
#: How much of its core the bare loop has to use up: what it does not use it has waited for the load.
GOAL_BUSY = 0.9
#: For the plot.
SERIES_OF = ("notifyd", LIMIT, "Node ws", "picows")
SERIES_ROUNDS = 3
SERIES_CLIENTS = (100, 300, 1000, 3000, 10_000)
#: The documentation's way to serve WebSockets with Quart-Trio, which notifyd's fast lane replaces.
STOCK = "Quart-Trio"


def run(*, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Rounds of all servers in turn; medians, and the least and most of the rounds."""
    rounds, seconds, rest_seconds = (2, 0.5, 0.0) if quick else (5, 2.0, 0.7)
    checked = realistic.run("websocket", seconds=1.5 if quick else 5.0)
    say(f"realistic load: {checked.messages:,} messages to {checked.clients} clients, all right")
    every = [each for each in SUBJECTS.values() if each.kind == "websocket"]
    matters = {NOTIFYD.name, *GOALS}
    if quick:
        say("a short run: only the servers with a goal, no plot")
        every = [each for each in every if each.name in matters]

    def turn(subject: Subject) -> Turn:
        burst_s = seconds / 2 if subject.name in (NOTIFYD.name, LIMIT) else 0.0
        return take_turn(subject, seconds if subject.name in matters else rest_seconds, burst_s=burst_s)

    turns = in_turns(available(every, say), rounds, turn, say)
    rows = [*_goals(turns), realistic.row(checked), *_load_limit(turns), *rows_of_turns(turns)]
    rows.append(_publish_cost(seconds))
    return Rows(rows, series=[] if quick else _series(say))


def _goals(turns: Turns) -> list[Row]:
    title = f"broadcast to {CLIENTS:,} WebSockets, one message at a time"
    rows = [compared(title, goal, turns, NOTIFYD.name, name) for name, goal in GOALS.items()]
    ours = _bursts(turns, NOTIFYD.name)
    if LIMIT in turns:
        rates = [turn.rate for turn in turns[LIMIT]]
        each = [burst / rate for burst, rate in zip(ours, rates, strict=True)]
        told = against(statistics.median(ours), statistics.median(rates), "/s")
        name = f"the same in bursts of {BURST}, against {LIMIT}, one at a time"
        rows.append(at_least(name, GOAL_BURST, statistics.median(each), rounds=each, told=told))
        rows.append(rate_row(f"{LIMIT}, bursts of {BURST}", _bursts(turns, LIMIT)))
    rows.append(rate_row(f"notifyd, bursts of {BURST}", ours))
    if STOCK in turns:
        each = ratios(turns, NOTIFYD.name, STOCK)
        rows.append(figure(f"notifyd as a multiple of stock {STOCK}", statistics.median(each), RATIO, each))
    return rows


def _bursts(turns: Turns, name: str) -> list[float]:
    return [turn.burst for turn in turns[name] if turn.burst is not None]


def _load_limit(turns: Turns) -> list[Row]:
    """That the load is not the bottleneck: the bare loop never waits for it, its core is busy all the time.

    Beside it, what the load could count if it slept in epoll and had to be woken. While it measures it asks
    without end instead, which spares the servers the waking and gives it many messages at once.
    """
    if LIMIT not in turns:
        return []
    busy = [turn.rate * (turn.own_us + turn.kernel_us) / 1e6 for turn in turns[LIMIT]]
    with SUBJECTS[LIMIT].start() as server, load() as crowd:
        server.connect(crowd, CLIENTS)
        server.prepare(crowd)
        crowd.run(WARM_UP_S, sleeps=True)
        ran = crowd.run(1.0, sleeps=True)
    limit = ran.messages / (ran.busy * ran.seconds)
    return [
        at_least(f"part of its core that {LIMIT} uses", GOAL_BUSY, statistics.median(busy), rounds=busy),
        figure("what the load can count asleep, each message read alone", limit, "/s"),
    ]


def _publish_cost(seconds: float) -> Row:
    """Publishes over HTTP one after the other, to one client."""
    turn = take_turn(NOTIFYD, seconds, clients=1)
    return figure("processor time of a publish over HTTP", turn.own_us + turn.kernel_us, "µs")


def _series(say: Callable[[str], None]) -> list[tuple[str, list[tuple[int, float]]]]:
    """Deliveries a second by number of clients, for each server."""
    names = [name for name in SERIES_OF if SUBJECTS[name].missing() is None]
    points: dict[str, list[tuple[int, float]]] = {name: [] for name in names}
    for clients in SERIES_CLIENTS:
        for name in names:
            points[name].append((clients, round(_rate_at(SUBJECTS[name], clients))))
        say(f"{clients:,} clients: {_thousands(names, points)}")
    return list(points.items())


def _rate_at(subject: Subject, clients: int) -> float:
    """The median of three runs of half a second, one server each."""
    try:
        return statistics.median(take_turn(subject, 0.5, clients=clients).rate for _ in range(SERIES_ROUNDS))
    except LoadFailed as error:
        raise LoadFailed(f"{subject.name} with {clients:,} clients: {error}") from error


def _thousands(names: Sequence[str], points: dict[str, list[tuple[int, float]]]) -> str:
    return ", ".join(f"{name} {points[name][-1][1] / 1000:,.0f}" for name in names)
