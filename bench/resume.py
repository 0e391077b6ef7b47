"""10,000 clients resume after kill -9: seconds until each has exactly what it missed, and reads of the store.

The server is killed and started again on its database, and all clients come at once, each a user of its own
with a token of its own and the cursor of before. They missed some announcements, which the window holds, or
besides them one notification of their own and so many of others that the window no longer holds the first.
"""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING, NamedTuple

from bench.load import load
from bench.report import Row, at_most, figure
from bench.server import Notifyd, Place, new_place, notifyd
from bench.subjects import text
from bench.users import open_users, user_id
from notifyd.broker.window import MAX_ENTRIES

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENTS = 10_000
QUICK_CLIENTS = 2000
ANNOUNCEMENTS = 20
GOAL_S = 30.0
GOAL_INSIDE = 0.1
GOAL_OUTSIDE = 1.2
#: Notifications of one publish.
BATCH = 1000
READS = "notifyd_store_reads_total"


class Resumed(NamedTuple):
    """One resume of everybody."""

    listening_s: float  # after the kill
    caught_up_s: float  # after the kill
    reads: float  # of the store, for each client


def run(*, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Both cases once."""
    clients = QUICK_CLIENTS if quick else CLIENTS
    rows: list[Row] = []
    for name, pushed_out, goal in (("inside", 0, GOAL_INSIDE), ("outside", MAX_ENTRIES, GOAL_OUTSIDE)):
        done = _resume(clients, pushed_out)
        say(
            f"{clients:,} clients {name} the window: listening {done.listening_s:.1f} s after the kill, "
            f"all caught up after {done.caught_up_s:.1f} s, {done.reads:.3f} reads each"
        )
        rows += [
            at_most(
                f"{clients:,} clients resume {name} the window after kill -9", GOAL_S, done.caught_up_s, "s"
            ),
            at_most(f"reads of the store for each, {name}", goal, done.reads, "reads"),
            figure(f"listening again after kill -9, {name}", done.listening_s, "s"),
        ]
    return rows


def _resume(clients: int, pushed_out: int) -> Resumed:
    with new_place() as place:
        with notifyd(place) as server:
            cursor = publish(server, [announcement()])
            publish(server, [announcement()] * ANNOUNCEMENTS)
            everybody = (
                []
                if not pushed_out
                else [{"user_id": user_id(number), **_message()} for number in range(clients)]
            )
            for start in range(0, len(everybody), BATCH):
                publish(server, everybody[start : start + BATCH])
            for _ in range(0, pushed_out, BATCH):  # of a user who is not there
                publish(server, [{"user_id": "nobody", **_message()}] * BATCH)
            server.process.send_signal(signal.SIGKILL)
            killed = time.perf_counter()
            server.process.wait()
        return _come_back(place, clients, cursor, killed, ANNOUNCEMENTS + len(everybody) // clients)


def _come_back(place: Place, clients: int, cursor: str, killed: float, missed: int) -> Resumed:
    with notifyd(place) as server, load() as crowd:
        listening = time.perf_counter()
        before = server.metric(READS)
        open_users(crowd, server, range(clients), cursor=cursor)
        crowd.exactly(missed, GOAL_S * 2)
        done = time.perf_counter()
        reads = (server.metric(READS) - before) / clients
        return Resumed(listening - killed, done - killed, reads)


def _message() -> dict[str, object]:
    return {"type": "x-bench", "data": {"text": text()}}


def announcement() -> dict[str, object]:
    return {"broadcast": True, **_message()}


def publish(server: Notifyd, notifications: list[dict[str, object]]) -> str:
    """Publish at once; the last one's cursor."""
    body = json.dumps({"notifications": notifications}).encode()
    answer = json.loads(server.call("POST", "/v1/notifications", body))
    return str(answer["results"][-1]["id"])
