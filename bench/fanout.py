"""Broadcast to WebSockets: deliveries a second, against a bare C loop of `write`.

One message at a time: the next is published when the last client has the one before. notifyd is measured on
its own path, HTTP publish, commit with fsync, window and dispatcher included. The bare loop does nothing
but write the same bytes to the same number of sockets. Both take turns in one run.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.crowd import crowd, timed, upgrade_request
from bench.report import Row, at_least, figure
from bench.server import broadcast_body, notifyd, on_server_core, pin_load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLIENTS = 1000
TEXT = "x" * 90
#: Bytes of one message on the wire, about.
MESSAGE_BYTES = 200
BURST = 10
GOAL_SINGLE = 0.90
GOAL_BURST = 5.0


def run(*, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Rounds of both servers in turn; medians."""
    pin_load()
    rounds, seconds = (3, 2.0) if quick else (5, 6.0)
    bare: list[float] = []
    single: list[float] = []
    burst: list[float] = []
    with _compiled() as program:
        for number in range(1, rounds + 1):
            if program is not None:
                bare.append(_bare(program, seconds))
            single.append(_notifyd(1, seconds))
            burst.append(_notifyd(BURST, seconds))
            limit = f"bare C {bare[-1]:,.0f}, " if bare else ""
            ours = f"notifyd {single[-1]:,.0f}, bursts {burst[-1]:,.0f} deliveries/s"
            say(f"round {number} of {rounds}: {limit}{ours}")
    rows = [
        figure(f"deliveries to {CLIENTS:,} WebSockets", statistics.median(single), "/s"),
        figure(f"the same in bursts of {BURST}", statistics.median(burst), "/s"),
    ]
    if bare:
        limit_rate = statistics.median(bare)
        rows += [
            figure("a bare C loop of write", limit_rate, "/s"),
            at_least(
                "one at a time against the bare loop", GOAL_SINGLE, statistics.median(single) / limit_rate
            ),
            at_least("bursts against the bare loop", GOAL_BURST, statistics.median(burst) / limit_rate),
        ]
    else:
        say("no C compiler here (gcc or cc): the bare loop is left out")
    return rows


@contextlib.contextmanager
def _compiled() -> Iterator[str | None]:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/bare"
        subprocess.run([compiler, "-O2", "-o", program, Path(__file__).parent / "bare.c"], check=True)
        yield program


def _bare(program: str, seconds: float) -> float:
    with on_server_core(program, str(CLIENTS), str(MESSAGE_BYTES)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with crowd(("127.0.0.1", int(process.stdout.readline())), CLIENTS) as clients:
            begun, count = time.perf_counter(), 0
            for _ in timed(seconds):
                process.stdin.write(b"x")
                process.stdin.flush()
                clients.wait(CLIENTS)
                count += CLIENTS
            rate = count / (time.perf_counter() - begun)
        process.stdin.close()
    return rate


def _notifyd(times: int, seconds: float) -> float:
    body = broadcast_body(TEXT, times)
    with notifyd() as server:
        request = upgrade_request("{}:{}".format(*server.address), server.token("crowd"))
        with crowd(server.address, CLIENTS, request) as clients:
            begun, count = time.perf_counter(), 0
            for _ in timed(seconds):
                server.send_publish(body)
                clients.wait(CLIENTS * times)
                server.read_answer()
                count += CLIENTS * times
            return count / (time.perf_counter() - begun)
