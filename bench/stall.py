"""How long the event loop stands still: 2,000 clients under each kind of load, and 10,000 that talk at once.

A task in the server's own process, every two milliseconds, notes how late it gets its turn. The percentile is
one of all moments at which somebody could have wanted a turn, those within a stall included. Beside an import
the server is measured on its core, and on whichever the kernel likes. While 10,000 talk a full garbage
collection runs on the loop as well.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from bench.load import PONG, load
from bench.report import Row, at_most, figure
from bench.server import notifyd
from bench.subjects import broadcast_body, text
from bench.users import open_users, user_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.load import Load
    from bench.server import Notifyd

CLIENTS = 2000
TALKERS = 10_000
QUICK_TALKERS = 4000
BURST = 10
#: Notifications of a publish to single users.
SINGLE = 200
PRICES = 10_000
STORES = 5
#: Seconds after which nothing of what was before is at work; the ledger is written once a second.
SETTLE_S = 1.2
GOAL_P99_MS = 25.0
GOAL_MAX_MS = 100.0
GOAL_TALK_MS = 300.0
WATCHED = ("-m", "bench.watched")


class Stall(NamedTuple):
    """Milliseconds."""

    p99: float
    longest: float
    turn: float  # processor time of the longest turn: what a machine without others would see


class Under(NamedTuple):
    """A server with its clients, and what a load on it needs."""

    server: Notifyd
    crowd: Load
    seconds: float


def run(*, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Each load once on a server that has had the ones before."""
    seconds = 1.0 if quick else 4.0
    rows: list[Row] = []
    with _crowded(CLIENTS) as (server, crowd):
        under = Under(server, crowd, seconds)
        for name, put in LOADS.items():
            crowd.send(PONG)
            time.sleep(SETTLE_S)
            rows += _rows(name, _measured(under, put), say)
    with _crowded(CLIENTS, pinned=False) as (server, crowd):
        under = Under(server, crowd, seconds)
        rows += _rows("a price import, unpinned", _measured(under, _import), say)
    talkers = QUICK_TALKERS if quick else TALKERS
    with _crowded(talkers) as (server, crowd):
        return [*rows, *_talk(server, crowd, talkers, say)]


@contextlib.contextmanager
def _crowded(clients: int, *, pinned: bool = True) -> Iterator[tuple[Notifyd, Load]]:
    with notifyd(program=WATCHED, pinned=pinned) as server, load() as crowd:
        open_users(crowd, server, range(clients))
        crowd.send(PONG)
        time.sleep(SETTLE_S)
        yield server, crowd


def _rows(name: str, stall: Stall, say: Callable[[str], None]) -> list[Row]:
    say(f"{name}: p99 {stall.p99:.1f} ms, max {stall.longest:.1f} ms, by processor time {stall.turn:.1f} ms")
    return [
        at_most(f"loop stall under {name}, p99", GOAL_P99_MS, stall.p99, "ms"),
        at_most(f"loop stall under {name}, max", GOAL_MAX_MS, stall.longest, "ms"),
        figure(f"the longest turn under {name}, processor time", stall.turn, "ms"),
    ]


def _measured(under: Under, put: Callable[[Under], None]) -> Stall:
    _stall(under.server)  # what was before
    put(under)
    return _stall(under.server)


def _stall(server: Notifyd) -> Stall:
    said = json.loads(_ask(server, b"stalls"))
    return Stall(said["p99_ms"], said["max_ms"], said["turn_ms"])


def _ask(server: Notifyd, what: bytes) -> bytes:
    process = server.process
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(what + b"\n")
    process.stdin.flush()
    return process.stdout.readline()


# --- the loads ----------------------------------------------------------------------------------------------


def _broadcasts(under: Under) -> None:
    _publish(under, [broadcast_body()])
    under.crowd.run(under.seconds)


def _bursts(under: Under) -> None:
    _publish(under, [broadcast_body(BURST)])
    under.crowd.run(under.seconds, each=BURST)


def _to_single_users(under: Under) -> None:
    one = {"type": "x-bench", "data": {"text": text()}}
    whom = [range(start, start + SINGLE) for start in range(0, CLIENTS, SINGLE)]
    batches = [[{"user_id": user_id(number), **one} for number in numbers] for numbers in whom]
    _publish(under, [json.dumps({"notifications": batch}).encode() for batch in batches])
    under.crowd.run(under.seconds, each=0, total=SINGLE)


def _publish(under: Under, bodies: list[bytes]) -> None:
    requests = [under.server.publish_request(body) for body in bodies]
    under.crowd.publisher(under.server.address[1], requests, answered=True)


def _import(under: Under) -> None:
    """As many prices as `import-prices` would send, each client watching one of the items."""
    watches = [
        {
            "user_id": user_id(number),
            "watch_id": "w",
            "item_id": f"item-{number:05d}",
            "stores": None,
            "rule": {"type": "target_price", "price_in_cents": 500},
        }
        for number in range(CLIENTS)
    ]
    under.server.call("POST", "/v1/watches/bulk", json.dumps({"watches": watches}).encode())
    for number in range(max(round(under.seconds), 2)):
        under.crowd.send(PONG)
        under.server.call("POST", "/v1/prices", _prices(number))


def _prices(batch: int) -> bytes:
    return json.dumps({"prices": [_price(number, batch) for number in range(PRICES)]}).encode()


def _price(number: int, batch: int) -> dict[str, object]:
    falls = (number + batch) % 100 == 0  # one in a hundred is a deal
    return {
        "item_id": f"item-{number // STORES:05d}",
        "item_name": f"Item {number // STORES}",
        "store_id": number % STORES,
        "store_name": f"Store {number % STORES}",
        "price_in_cents": 400 if falls else 1000 + (number + batch) % 300,
        "currency": "EUR",
    }


def _resumes(under: Under) -> None:
    """Others come, all at once, who missed what was published last."""
    answer = json.loads(under.server.call("POST", "/v1/notifications", broadcast_body()))
    under.server.call("POST", "/v1/notifications", broadcast_body(50))
    with load() as others:
        open_users(others, under.server, range(CLIENTS, 2 * CLIENTS), cursor=answer["id"], in_flight=CLIENTS)
        others.exactly(50, 20.0)


def _connects(under: Under) -> None:
    with load() as others:
        open_users(others, under.server, range(CLIENTS, 2 * CLIENTS), in_flight=CLIENTS)


def _marks_and_acks(under: Under) -> None:
    answer = json.loads(under.server.call("POST", "/v1/notifications", broadcast_body()))
    for _ in range(max(round(under.seconds), 2)):
        under.crowd.send(_frame("ack", {"up_to": answer["id"]}))
        under.crowd.send(_frame("mark", {"up_to": answer["id"], "state": "seen"}))
        time.sleep(1.0)


LOADS: dict[str, Callable[[Under], None]] = {
    "broadcasts one after another": _broadcasts,
    "bursts of broadcasts": _bursts,
    "batch publishes to single users": _to_single_users,
    "acks and marks of all at once": _marks_and_acks,
    "resumes at once": _resumes,
    "connects at once": _connects,
    "a price import": _import,
}


def _frame(kind: str, data: dict[str, object]) -> bytes:
    """A message of a client in a masked frame (RFC 6455 section 5.2); a mask of zeros changes nothing."""
    message = json.dumps({"type": kind, "data": data}).encode()
    return bytes((0x81, 0x80 | len(message))) + bytes(4) + message


# --- many who talk ------------------------------------------------------------------------------------------


def _talk(server: Notifyd, crowd: Load, talkers: int, say: Callable[[str], None]) -> list[Row]:
    answer = json.loads(server.call("POST", "/v1/notifications", broadcast_body()))
    time.sleep(1.0)
    _stall(server)
    collected: list[float] = []
    collector = threading.Thread(target=lambda: collected.append(float(_ask(server, b"collect"))))
    collector.start()
    crowd.send(_frame("ack", {"up_to": answer["id"]}))
    crowd.send(PONG)
    collector.join()
    time.sleep(2.0)
    stall = _stall(server)
    name = f"{talkers:,} clients talking in one instant and a full collection"
    say(
        f"{name}: max {stall.longest:.1f} ms; by processor time the longest turn took {stall.turn:.1f} ms, "
        f"the collection {collected[0]:.1f} ms"
    )
    return [
        at_most(f"loop stall under {name}, max", GOAL_TALK_MS, stall.longest, "ms"),
        figure(f"the longest turn under {name}, processor time", stall.turn, "ms"),
        figure(f"a full collection beside {talkers:,} clients, processor time", collected[0], "ms"),
    ]
