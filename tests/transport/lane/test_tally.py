"""How connections end is counted by code, and refusals fill neither the log nor the memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
import trio
from wsproto.events import CloseConnection

from notifyd.config import Config
from notifyd.errors import CloseCode
from notifyd.transport.heartbeat import Wheel
from notifyd.transport.tally import MAX_LINES, ONE_LINE_S, Refusals

if TYPE_CHECKING:
    from trio.testing import MockClock

    from tests.transport.lane.conftest import World


async def test_every_end_is_counted_once_by_its_code(autojump_clock: MockClock, world: World) -> None:
    tally = world.lane.connections.tally
    with structlog.testing.capture_logs() as lines:
        revoked = await world.websocket()
        normal, odd, vanishing = [await world.websocket(user) for user in ("ben", "cem", "dan")]
        stream = await world.sse("eve")
        for client in (revoked, normal, odd, vanishing, stream):
            await client.message()
        await trio.sleep(2)
        world.lane.connections.close_user("ann", CloseCode.REVOKED)
        await revoked.closed()
        await normal.send(normal.frames.send(CloseConnection(1000)))
        await odd.send(odd.frames.send(CloseConnection(4999)))
        vanishing.close()
        stream.close()
        sent = world.lane.connections.sent_bytes()
        normal.close()
        odd.close()
        await world.empty()
    assert tally.closes == {
        ("websocket", "4503"): 1,
        ("websocket", "1000"): 1,
        ("websocket", "other"): 1,
        ("websocket", "1006"): 1,
        ("sse", "1006"): 1,
    }
    assert sent["websocket"] > 4 * 100
    assert world.lane.connections.sent_bytes()["websocket"] >= sent["websocket"]
    ends = [line for line in lines if line["event"] == "connection.ended"]
    assert [line["log_level"] for line in ends] == ["debug"] * 5
    [told] = [line for line in ends if line["user"] == "ann"]
    assert (told["code"], told["transport"]) == (4503, "websocket")
    assert told["seconds"] >= 2
    assert told["sent_bytes"] > 100


async def test_a_refused_client_was_no_connection(autojump_clock: MockClock, world: World) -> None:
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            client = await world.raw_sse("/events?token=nonsense")
            await client.rest()
        await world.empty()
        [first] = [line for line in lines if line["event"] == "connection.refused"]
        wanted = {"ip": "127.0.0.1", "transport": "sse", "status": 401, "count": 1}
        assert wanted.items() <= first.items()
        await trio.sleep(ONE_LINE_S + 1)
    told = [line["count"] for line in lines if line["event"] == "connection.refused"]
    assert told == [1, 2]
    tally = world.lane.connections.tally
    assert tally.closes == {}
    assert sum(tally.refusals.counts.values()) == 3


def told(lines: Any) -> list[tuple[str, str, int]]:
    return [(line["ip"], line["reason"], line["count"]) for line in lines]


async def test_one_line_for_each_address_and_reason_in_ten_seconds(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    wheel, refusals = Wheel(lambda: 0, Config.model_validate({})), Refusals()
    nursery.start_soon(wheel.run)
    with structlog.testing.capture_logs() as lines:
        for _ in range(250):  # 25 s
            refusals.note(wheel, "websocket", "192.0.2.1", 403, "forbidden")
            await trio.sleep(0.1)
        refusals.note(wheel, "websocket", "192.0.2.2", 403, "forbidden")
        refusals.note(wheel, "websocket", "192.0.2.1", 429, "too-many-requests")
        await trio.sleep(60)
    first = [line for line in told(lines) if line[:2] == ("192.0.2.1", "forbidden")]
    assert len(first) == 4
    assert sum(count for *_, count in first) == 250
    assert told(lines)[-1][2] >= 1
    assert ("192.0.2.2", "forbidden", 1) in told(lines)
    assert ("192.0.2.1", "too-many-requests", 1) in told(lines)
    assert not refusals._lines, "nothing is kept of those who have stopped"
    nursery.cancel_scope.cancel()


async def test_a_thousand_addresses_are_told_apart_and_no_more(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    wheel, refusals = Wheel(lambda: 0, Config.model_validate({})), Refusals()
    nursery.start_soon(wheel.run)
    with structlog.testing.capture_logs() as lines:
        for number in range(MAX_LINES + 500):
            refusals.note(wheel, "http", f"2001:db8::{number:x}", 503, "no-room")
        await trio.sleep(ONE_LINE_S + 1)
    assert len(lines) == MAX_LINES + 2
    assert told(lines)[-2:] == [("others", "no-room", 1), ("others", "no-room", 499)]
    nursery.cancel_scope.cancel()
