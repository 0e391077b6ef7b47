"""Servers take turns to broadcast to a crowd, one message at a time: what fanout and sse have in common.

Every turn is a fresh server, the same number of clients, a moment to warm up, and then: publish, wait until
the last client has the message (and the publisher its answer, where it gets one), publish the next.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, NamedTuple

from bench.load import LoadFailed, load
from bench.processor import spent
from bench.report import Row, against, at_least, figure, not_measured

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.subjects import Subject

CLIENTS = 1000
BURST = 10
WARM_UP_S = 0.3

#: What the servers did, by name, a turn for each round.
Turns = dict[str, list["Turn"]]


class Turn(NamedTuple):
    """One server in one round; `burst` is the rate when ten are asked for at once, where that was tried."""

    rate: float  # deliveries a second
    own_us: float  # processor time for one, in the server's own code
    kernel_us: float  # and in the kernel on its behalf
    burst: float | None = None


def take_turn(subject: Subject, seconds: float, *, clients: int = CLIENTS, burst_s: float = 0.0) -> Turn:
    """Start the server, measure, stop it. Raises LoadFailed when a message is lost or repeated."""
    with subject.start() as server, load() as crowd:
        server.connect(crowd, clients)
        server.prepare(crowd)
        crowd.run(WARM_UP_S)
        before = spent(server.pid)
        ran = crowd.run(seconds)
        used = spent(server.pid).since(before)
        burst = None
        if burst_s:
            server.prepare(crowd, BURST)
            burst = crowd.run(burst_s, each=BURST).rate
        own_us, kernel_us = (part * 1e6 / ran.messages for part in used)
        return Turn(ran.rate, own_us, kernel_us, burst)


def available(subjects: Sequence[Subject], say: Callable[[str], None]) -> list[Subject]:
    """Those that can run here; the others are named."""
    found = []
    for subject in subjects:
        reason = subject.missing()
        if reason is None:
            found.append(subject)
        else:
            say(f"{subject.name} is left out: {reason} (make bench-peers)")
    return found


def in_turns(
    subjects: Sequence[Subject],
    rounds: int,
    turn: Callable[[Subject], Turn],
    say: Callable[[str], None],
) -> Turns:
    """Every server once in each round, each round beginning with another one.

    A peer that loses a message is left out from then on; notifyd's LoadFailed is raised.
    """
    turns: Turns = {subject.name: [] for subject in subjects}
    taking_part = list(subjects)
    for number in range(rounds):
        first = number % len(taking_part)
        for subject in taking_part[first:] + taking_part[:first]:
            try:
                turns[subject.name].append(turn(subject))
            except LoadFailed as error:
                if subject.name.startswith("notifyd"):
                    raise
                say(f"{subject.name} is left out: {error}")
                taking_part.remove(subject)
                turns.pop(subject.name)
        rates = ", ".join(f"{each.name} {turns[each.name][-1].rate / 1000:,.0f}" for each in taking_part)
        say(f"round {number + 1} of {rounds}, thousands of deliveries a second: {rates}")
    return turns


def ratios(turns: Turns, ours: str, theirs: str) -> list[float]:
    """Our rate as a multiple of theirs in each round, so that a slow moment of the machine hits both."""
    return [our.rate / their.rate for our, their in zip(turns[ours], turns[theirs], strict=True)]


def compared(title: str, goal: float, turns: Turns, ours: str, theirs: str) -> Row:
    """The goal that our rate is such a multiple of theirs."""
    if theirs not in turns:
        return not_measured(f"{title}, against {theirs}", goal, f"{theirs} was left out")
    each = ratios(turns, ours, theirs)
    medians = [statistics.median(turn.rate for turn in turns[name]) for name in (ours, theirs)]
    told = against(medians[0], medians[1], "/s")
    return at_least(f"{title}, against {theirs}", goal, statistics.median(each), rounds=each, told=told)


def rate_row(name: str, rates: Sequence[float]) -> Row:
    return figure(f"deliveries a second, {name}", statistics.median(rates), "/s", rates)


def rows_of_turns(turns: Turns) -> list[Row]:
    """What each server did, and what it cost."""
    rows = [rate_row(name, [turn.rate for turn in all_turns]) for name, all_turns in turns.items()]
    for name, all_turns in turns.items():
        own = [turn.own_us for turn in all_turns]
        kernel = [turn.kernel_us for turn in all_turns]
        rows += [
            figure(f"processor time of a delivery, {name}, its own", statistics.median(own), "µs", own),
            figure(
                f"processor time of a delivery, {name}, the kernel's", statistics.median(kernel), "µs", kernel
            ),
        ]
    return rows
