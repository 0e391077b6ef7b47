"""Memory for each idle connection, how many one process holds, and a storm of connects.

Each client of notifyd is a user of its own with a token of its own, and has answered a ping, as a client has
that stayed. Memory of the process is its proportional set size (PSS) beside that with the first few
connections. The kernel's share is what its slabs and TCP's buffers have grown by; both ends of a connection
are on this machine, so half of it is the client's. The series is lines of connections, bytes of the process
for each and the kernel's bytes for each.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.load import PONG, load
from bench.processes import Memory, memory
from bench.processor import spent
from bench.report import Row, Rows, at_least, at_most, figure
from bench.server import notifyd
from bench.subjects import SUBJECTS, broadcast_body
from bench.users import open_users

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.load import Load
    from bench.server import Notifyd

#: At each of these the memory is looked at.
STEPS = (1000, 2500, 5000, 10_000)
QUICK_STEPS = (1000, 2500)
#: As many as one process may have where it may open 20,000 files.
MOST = 19_000
QUICK_MOST = 5000
STORM = 5000
#: Connections beside which memory is counted: tables and caches have begun by then.
FIRST = 100
GOAL_BYTES = 8000
#: Seconds in which a server does what it puts off: lines of the ledger, collections.
SETTLE_S = 2.0
#: In which broadcasts to all follow one another.
COST_S = 2.0
#: While so many seconds pass each connection gets one heartbeat.
BEAT_S = 10
DELIVERY = "processor time of a delivery to each of very many"
HEARTBEAT = "processor time of a heartbeat with its answers"
PEERS = ("Node ws", "picows", "websockets on Trio", "nchan")
QUICK_PEERS = 1


def run(*, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Each server once: memory hardly varies."""
    steps = QUICK_STEPS if quick else STEPS
    rows, series = _websockets(steps, QUICK_MOST if quick else MOST, say)
    if quick:
        say("a short run: no heartbeats")
    else:
        rows.append(_heartbeat(steps[-1], say))
    rows += _sse(steps[-1], say)
    rows.append(_storm(say))
    for name in PEERS[:QUICK_PEERS] if quick else PEERS:
        rows += _peer(name, steps[-1], say)
    return Rows(rows, series=series)


# --- notifyd ------------------------------------------------------------------------------------------------


def _websockets(
    steps: tuple[int, ...], most: int, say: Callable[[str], None]
) -> tuple[list[Row], list[list[int]]]:
    series: list[list[int]] = []
    with notifyd() as server, load() as crowd:
        open_users(crowd, server, range(FIRST))
        begun = _settled(server.pid)
        opened = FIRST
        for step in steps:
            open_users(crowd, server, range(opened, step))
            opened = step
            crowd.send(PONG)
            each = _each(begun, _settled(server.pid), step - FIRST)
            series.append([step, each.process, each.kernel])
            say(f"{step:,} WebSockets: {each.process:,} bytes each, and {each.kernel:,} of the kernel's")
        crowd.send(PONG)
        open_users(crowd, server, range(opened, most))
        crowd.send(PONG)
        time.sleep(SETTLE_S)
        seconds = _reaches_all(crowd, server)
        cost = _cost_of_delivery(crowd, server)
        say(
            f"{most:,} WebSockets: a broadcast reached each, the last after {seconds * 1000:,.0f} ms; "
            f"{cost:.1f} µs of processor time for each"
        )
    number, process, kernel = series[-1]
    rows = [
        at_most(f"process memory of an idle WebSocket at {number:,}", GOAL_BYTES, process, "bytes"),
        figure("the kernel's memory beside it, both ends", kernel, "bytes"),
        at_least("live WebSockets on one process, all reached by a broadcast", most, most, ""),
        figure(f"a broadcast to the last of {most:,}", seconds * 1000, "ms"),
        figure(DELIVERY, cost, "µs"),
    ]
    return rows, series


def _reaches_all(crowd: Load, server: Notifyd) -> float:
    """Seconds of one broadcast until the last has it. Raises LoadFailed when one has not."""
    crowd.publisher(server.address[1], [server.publish_request(broadcast_body())], answered=True)
    return crowd.run(0.001).latencies_s[-1]


def _cost_of_delivery(crowd: Load, server: Notifyd) -> float:
    """Microseconds of the server's processor time, its share of the publish included."""
    before = spent(server.pid)
    ran = crowd.run(COST_S)
    return spent(server.pid).since(before).total_s * 1e6 / ran.messages


def _heartbeat(count: int, say: Callable[[str], None]) -> Row:
    """All that idle connections cost while each gets one heartbeat and answers its two parts."""
    with notifyd(settings={"NOTIFYD_HEARTBEAT_SECONDS": str(BEAT_S)}) as server, load() as crowd:
        open_users(crowd, server, range(count))
        _beat(crowd)
        before = spent(server.pid)
        _beat(crowd)
        each = spent(server.pid).since(before).total_s * 1e6 / count
    say(f"{count:,} WebSockets: {each:.0f} µs of processor time for a heartbeat of one")
    return figure(HEARTBEAT, each, "µs")


def _beat(crowd: Load) -> None:
    for _ in range(2):
        time.sleep(BEAT_S / 2)
        crowd.send(PONG)


def _sse(count: int, say: Callable[[str], None]) -> list[Row]:
    with notifyd() as server, load() as crowd:
        open_users(crowd, server, range(FIRST), sse=True)
        begun = _settled(server.pid)
        open_users(crowd, server, range(FIRST, count), sse=True)
        each = _each(begun, _settled(server.pid), count - FIRST)
        say(f"{count:,} SSE streams: {each.process:,} bytes each, and {each.kernel:,} of the kernel's")
    return [figure(f"process memory of an idle SSE stream at {count:,}", each.process, "bytes")]


def _storm(say: Callable[[str], None]) -> Row:
    with notifyd() as server, load() as crowd:
        opened = open_users(crowd, server, range(STORM), in_flight=STORM)
        _reaches_all(crowd, server)
        say(f"a storm of {STORM:,} connects at once: all served within {opened.seconds:.1f} s")
    return at_most(f"refused of {STORM:,} that connect at once", 0, opened.refused, "clients")


# --- the others ---------------------------------------------------------------------------------------------


def _peer(name: str, count: int, say: Callable[[str], None]) -> list[Row]:
    subject = SUBJECTS[name]
    missing = subject.missing()
    if missing is not None:
        say(f"{name} is left out: {missing} (make bench-peers)")
        return []
    with subject.start() as server, load() as crowd:
        server.connect(crowd, FIRST)
        begun = _settled(server.pid)
        server.connect(crowd, count - FIRST)
        each = _each(begun, _settled(server.pid), count - FIRST)
        say(f"{count:,} of {name}: {each.process:,} bytes each")
    return [figure(f"the same, {name}", each.process, "bytes")]


# --- memory -------------------------------------------------------------------------------------------------


def _settled(pid: int) -> Memory:
    time.sleep(SETTLE_S)
    return memory(pid)


def _each(before: Memory, after: Memory, count: int) -> Memory:
    return Memory(*(round((late - early) / count) for early, late in zip(before, after, strict=True)))
