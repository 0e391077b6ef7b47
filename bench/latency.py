"""Publish over HTTP to the last client: p50, p95 and p99, WebSocket and SSE, at a steady pace.

The clock runs from the moment a publish was due, so that a slow one also counts for those behind it. A
percentile is of the publishes of one round; of fewer than a hundred, p99 is the slowest.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import statistics
import tempfile
import time
from typing import TYPE_CHECKING, NamedTuple

from bench.load import PONG, Ran, load, percentile
from bench.processor import spent
from bench.report import RATIO, Row, Rows, against, at_least, at_most, figure, not_measured
from bench.server import notifyd
from bench.sockets import unsent
from bench.subjects import NOTIFYD, NOTIFYD_SSE, SUBJECTS, broadcast_body, text
from bench.users import open_users, user_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.load import Load
    from bench.subjects import Running, Subject

LIMIT = SUBJECTS["bare C loop"]
PERCENTS = (50, 95, 99)
RATE = 10.0
#: A broadcast to so many takes a tenth of a second of processor time and more.
SLOW_RATE = 4.0
MANY = 10_000
PIECE_S = 5.0
#: In which the server reads the pongs of all clients; a publish would wait behind them.
SETTLE_S = 0.5
GOAL_LATENCY = 2.0
LIMIT_NAME = "publish over HTTP to the last of 1,000 WebSockets, p99 at 10 publishes/s"
LIMIT_GOAL = f"{LIMIT_NAME}, against {LIMIT.name} + one fsync"
GOAL_FROZEN = 1.10
#: Notifications in one call, each for another user.
BATCH = 100
SYNCS = 50
PAGE_BYTES = 4096
#: A message that fills the socket of a client that does not read: some dozens do.
LARGE_BYTES = 16_000
#: In the kernel's send queue of one that is full, at least.
FULL_BYTES = 100_000
#: A client's receive buffer there. Without a limit it grows by megabytes as it reads.
RECEIVE_BYTES = 32_768
#: notifyd resets a client that has accepted nothing for 20 seconds.
FILL_S = 6.0
PATIENCE_S = 20.0


class Plan(NamedTuple):
    """How long everything takes."""

    clients: Sequence[int]
    phase_s: float
    rounds: int
    round_s: float
    users: int
    users_s: float
    crowd: int
    cycles: int
    cycle_s: float


FULL = Plan((100, 1000, 5000, MANY), 4.0, 5, 10.0, 10_000, 5.0, 5000, 5, 5.0)
QUICK = Plan((100, 1000), 0.8, 2, 1.1, 2000, 1.0, 1000, 1, 1.2)


def run(*, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Four parts: by number of clients, against the limit, to single users, and with some clients frozen."""
    plan = QUICK if quick else FULL
    goal = against_limit(plan, say)
    frozen = with_frozen(plan, say)
    single = to_single_users(plan, say)
    series = []
    rows: list[Row] = []
    for name, subject in (("WebSocket", NOTIFYD), ("SSE", NOTIFYD_SSE)):
        points = by_clients(subject, plan, say)
        series.append([name, [[clients, *_ms(ran)] for clients, ran in points]])
        for clients, ran in points:
            rows += percentile_rows(f"{name}, {clients:,} clients", ran)
    return Rows([*goal, *frozen, *single, *rows], series=series)


def steady(
    crowd: Load, seconds: float, alive: Sequence[Load], *, rate: float = RATE, each: int = 1, total: int = 0
) -> Ran:
    """A run in pieces. Before each of them the clients of `alive` say something.

    notifyd takes a WebSocket for dead that does not answer a ping within eight seconds, and the load answers
    nothing by itself: it would have to while it measures.
    """
    pieces = []
    for _ in range(math.ceil(seconds / PIECE_S)):
        for load_alive in alive:
            load_alive.send(PONG)
        time.sleep(SETTLE_S)
        pieces.append(crowd.run(min(seconds, PIECE_S), rate=rate, each=each, total=total))
    return together(*pieces)


def together(*pieces: Ran) -> Ran:
    """Several runs as if they had been one."""
    return Ran(
        publishes=sum(ran.publishes for ran in pieces),
        messages=sum(ran.messages for ran in pieces),
        seconds=sum(ran.seconds for ran in pieces),
        busy=statistics.mean(ran.busy for ran in pieces),
        latencies_s=tuple(sorted(latency for ran in pieces for latency in ran.latencies_s)),
    )


def percentile_rows(name: str, ran: Ran) -> list[Row]:
    return [figure(f"{name}, p{percent}", ms, "ms") for percent, ms in zip(PERCENTS, _ms(ran), strict=True)]


def _ms(ran: Ran) -> list[float]:
    return [round(ran.percentile(percent) * 1000, 3) for percent in PERCENTS]


# --- by number of clients --------------------------------------------------------------------------------


def by_clients(subject: Subject, plan: Plan, say: Callable[[str], None]) -> list[tuple[int, Ran]]:
    """One server, more and more clients."""
    points = []
    with subject.start() as server, load() as crowd:
        there = 0
        for clients in plan.clients:
            server.connect(crowd, clients - there)
            there = clients
            server.prepare(crowd)
            crowd.run(0.3)
            alive = [crowd] if subject.kind == "websocket" else []
            ran = steady(crowd, plan.phase_s, alive, rate=SLOW_RATE if clients >= MANY else RATE)
            points.append((clients, ran))
            say(f"{subject.name}, {clients:,} clients: {_spelled(ran)}")
    return points


def _spelled(ran: Ran) -> str:
    return ", ".join(f"p{percent} {ms:.1f}" for percent, ms in zip(PERCENTS, _ms(ran), strict=True)) + " ms"


# --- against the limit -----------------------------------------------------------------------------------


def against_limit(plan: Plan, say: Callable[[str], None]) -> list[Row]:
    """1,000 clients, 10 publishes a second: notifyd and the bare loop in turns, and a sync of the disk."""
    ours: list[Ran] = []
    limit: list[Ran] = []
    syncs: list[float] = []
    if LIMIT.missing() is not None:
        say(f"{LIMIT.name} is left out: {LIMIT.missing()} (make bench-peers)")
        return [not_measured(LIMIT_GOAL, GOAL_LATENCY, str(LIMIT.missing()))]
    with crowded(NOTIFYD, 1000) as (crowd, _), crowded(LIMIT, 1000) as (bare, _):
        for number in range(1, plan.rounds + 1):
            ours.append(steady(crowd, plan.round_s, [crowd]))
            limit.append(steady(bare, plan.round_s, [crowd]))
            syncs.append(sync_s())
            say(
                f"round {number} of {plan.rounds}: notifyd {_spelled(ours[-1])}; {LIMIT.name} "
                f"{_spelled(limit[-1])}; fsync {syncs[-1] * 1000:.2f} ms"
            )
    return _limit_rows(ours, limit, statistics.median(syncs))


def _limit_rows(ours: list[Ran], limit: list[Ran], sync: float) -> list[Row]:
    return [
        _compared(LIMIT_GOAL, GOAL_LATENCY, ours, limit, sync),
        _p99_row(f"{LIMIT_NAME}, notifyd", ours),
        _p99_row(f"{LIMIT_NAME}, {LIMIT.name}", limit),
        figure("one fsync", sync * 1000, "ms"),
    ]


def _compared(name: str, goal: float, ours: list[Ran], theirs: list[Ran], more_s: float = 0.0) -> Row:
    """The goal that our p99 is at most such a multiple of theirs: of all publishes, not the median of the
    rounds, as the p99 of one round's few is hardly more than its slowest."""
    our, their = pooled_p99(ours), pooled_p99(theirs) + more_s
    pairs = zip(ours, theirs, strict=True)
    rounds = [one.percentile(99) / (other.percentile(99) + more_s) for one, other in pairs]
    return at_most(name, goal, our / their, RATIO, rounds, told=against(our * 1000, their * 1000, "ms"))


def pooled_p99(runs: Sequence[Ran]) -> float:
    """Seconds: p99 of what all runs published."""
    return percentile(sorted(latency for ran in runs for latency in ran.latencies_s), 99)


def _p99_row(name: str, runs: Sequence[Ran]) -> Row:
    return figure(name, pooled_p99(runs) * 1000, "ms", [ran.percentile(99) * 1000 for ran in runs])


@contextlib.contextmanager
def crowded(subject: Subject, clients: int, receive_bytes: int = 0) -> Iterator[tuple[Load, Running]]:
    """A server with its own load, connected and warmed up."""
    with subject.start() as server, load() as crowd:
        crowd.receive_buffers(receive_bytes)
        server.connect(crowd, clients)
        server.prepare(crowd)
        crowd.run(0.5)
        yield crowd, server


def sync_s() -> float:
    """Seconds that fdatasync of one written page takes, where the servers' databases are: the median."""
    took = []
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(SYNCS):
            os.pwrite(file.fileno(), b"x" * PAGE_BYTES, 0)
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - begun)
    return statistics.median(took)


# --- to single users -------------------------------------------------------------------------------------


def to_single_users(plan: Plan, say: Callable[[str], None]) -> list[Row]:
    """Each user one WebSocket; ten calls a second of a hundred notifications, each for another user."""
    with notifyd() as server, load() as crowd:
        open_users(crowd, server, range(plan.users))
        blobs = [
            server.publish_request(batch_body(range(first, first + BATCH)))
            for first in range(0, plan.users, BATCH)
        ]
        crowd.publisher(server.address[1], blobs, answered=True)
        crowd.run(0.5, rate=RATE, each=0, total=BATCH)
        before = spent(server.pid)
        ran = steady(crowd, plan.users_s, [crowd], each=0, total=BATCH)
        cost = spent(server.pid).since(before).total_s / ran.messages
    name = f"own notifications to {plan.users:,} users, {BATCH * RATE:,.0f}/s by batches of {BATCH}"
    say(f"{name}: {_spelled(ran)}")
    return [
        *percentile_rows(name, ran),
        figure("processor time of an own notification, by batches", cost * 1e6, "µs"),
    ]


def batch_body(users: range) -> bytes:
    """A publish of one notification for each of these users."""
    each = [{"user_id": user_id(number), "type": "x-bench", "data": {"text": text()}} for number in users]
    return json.dumps({"notifications": each}).encode()


# --- with some frozen ------------------------------------------------------------------------------------


def with_frozen(plan: Plan, say: Callable[[str], None]) -> list[Row]:
    """The others' p99 while 1 % of the clients read nothing and their sockets are full, and without it: half
    of that before, half after, so that neither has the warmer server."""
    calm: list[Ran] = []
    frozen: list[Ran] = []
    full: list[int] = []
    for number in range(1, plan.cycles + 1):
        # Anew each time: no ping comes in the first 15 s, and one that cannot leave ends a client 12 s later.
        with crowded(NOTIFYD, plan.crowd, RECEIVE_BYTES) as (crowd, server):
            steady(crowd, plan.cycle_s / 2, [crowd])
            before = steady(crowd, plan.cycle_s / 2, [crowd])
            full.append(_freeze_until_full(crowd, server, plan.crowd // 100))
            server.prepare(crowd)
            frozen.append(steady(crowd, plan.cycle_s, [crowd]))
            crowd.thaw()
            took = crowd.settle(PATIENCE_S)
            calm.append(together(before, steady(crowd, plan.cycle_s / 2, [crowd])))
        say(
            f"cycle {number} of {plan.cycles}: {_spelled(calm[-1])}, with {full[-1]} frozen and "
            f"full {_spelled(frozen[-1])}; thawed, they had everything after {took:.2f} s"
        )
    name = f"p99 of {plan.crowd:,} clients"
    return [
        _compared(f"{name} with 1 % frozen, against none", GOAL_FROZEN, frozen, calm),
        at_least("frozen clients whose sockets were full", plan.crowd // 100, min(full), "clients", full),
        _p99_row(f"{name}, none frozen", calm),
        _p99_row(f"{name}, 1 % frozen", frozen),
    ]


def _freeze_until_full(crowd: Load, server: Running, count: int) -> int:
    """Freeze so many clients and publish until the kernel takes nothing more for them. Returns how many."""
    assert server.notifyd is not None
    crowd.freeze(count)
    body = broadcast_body(size=LARGE_BYTES)
    crowd.publisher(server.publish_port, [server.notifyd.publish_request(body)], answered=True)
    until = time.monotonic() + FILL_S
    full = 0
    while full < count and time.monotonic() < until:
        crowd.send(PONG)
        crowd.run(0.5)
        full = sum(size >= FULL_BYTES for size in unsent(server.client_port))
    return full
