"""Handshakes a second: notifyd with a token of each client's own, against Node `ws` without any.

A handshake of notifyd ends with `connection-established`: the head is checked, the token verified, the client
entered and its stream begun. Node `ws` answers the upgrade and nothing more. Each round starts both anew and
warms them up; they take turns, and the first turn.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, NamedTuple

from bench.load import load
from bench.processes import processor_s
from bench.report import Row, against, at_least, figure, not_measured
from bench.server import notifyd
from bench.subjects import SUBJECTS
from bench.users import open_users

if TYPE_CHECKING:
    from collections.abc import Callable

#: Connections before the clock runs: compilers of the servers have seen enough then.
WARM_UP = 1000
CLIENTS = 5000
QUICK_CLIENTS = 2000
ROUNDS = 5
GOAL = 1.0
PEER = SUBJECTS["Node ws"]
GOAL_NAME = f"handshakes against {PEER.name}"


class Measured(NamedTuple):
    """One round of one server."""

    rate: float  # handshakes a second
    processor_s: float  # of the server for each


def run(*, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Rounds of both in turn; medians."""
    clients = QUICK_CLIENTS if quick else CLIENTS
    missing = PEER.missing()
    ours: list[Measured] = []
    theirs: list[Measured] = []
    for number in range(1, ROUNDS + 1):
        if missing is None and number % 2 == 0:
            theirs.append(_peer(clients))
        ours.append(_notifyd(clients))
        line = f"round {number} of {ROUNDS}: notifyd {ours[-1].rate:,.0f}"
        if missing is None:
            if number % 2 == 1:
                theirs.append(_peer(clients))
            line += f", {PEER.name} {theirs[-1].rate:,.0f}"
        say(f"{line} handshakes/s")
    rows = _rows("notifyd, with a JWT", ours)
    if missing is not None:
        say(f"{PEER.name} is left out: {missing} (make bench-peers)")
        return [*rows, not_measured(GOAL_NAME, GOAL, missing)]
    ratios = _ratios(ours, theirs)
    told = against(_rate(ours), _rate(theirs), "/s")
    return [
        *rows,
        *_rows(f"{PEER.name}, without one", theirs),
        at_least(GOAL_NAME, GOAL, statistics.median(ratios), rounds=ratios, told=told),
    ]


def _rate(rounds: list[Measured]) -> float:
    return statistics.median(each.rate for each in rounds)


def _ratios(ours: list[Measured], theirs: list[Measured]) -> list[float]:
    return [own.rate / other.rate for own, other in zip(ours, theirs, strict=True)]


def _rows(name: str, rounds: list[Measured]) -> list[Row]:
    cost = statistics.median(each.processor_s for each in rounds)
    return [
        figure(f"handshakes, {name}", _rate(rounds), "/s", [each.rate for each in rounds]),
        figure(f"processor time of one, {name}", cost * 1e6, "µs"),
    ]


def _notifyd(clients: int) -> Measured:
    with notifyd() as server, load() as crowd:
        open_users(crowd, server, range(WARM_UP))
        before = processor_s(server.pid)
        opened = open_users(crowd, server, range(WARM_UP, WARM_UP + clients))
        return Measured(clients / opened.seconds, (processor_s(server.pid) - before) / clients)


def _peer(clients: int) -> Measured:
    with PEER.start() as server, load() as crowd:
        server.connect(crowd, WARM_UP)
        before = processor_s(server.pid)
        opened = crowd.open(clients, server.client_port, server.steps)
        return Measured(clients / opened.seconds, (processor_s(server.pid) - before) / clients)
