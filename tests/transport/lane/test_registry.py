"""Who is connected, and how everyone is sent away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from notifyd.auth import Identity
from notifyd.errors import CloseCode
from notifyd.transport.registry import RETURNS_PER_S, ConnectionStatistics, _return_ms

if TYPE_CHECKING:
    from trio.testing import MockClock

    from tests.transport.lane.conftest import World


async def test_statistics_count_each_kind_and_its_users(autojump_clock: MockClock, world: World) -> None:
    assert world.lane.connections.statistics() == ConnectionStatistics(0, 0, 0, 0, 0, 0, 0)
    await world.websocket()
    await world.sse()
    await world.websocket("ben")
    await world.websocket(None)
    assert world.lane.connections.statistics() == ConnectionStatistics(
        total=4, websocket=3, sse=1, users=2, unauthenticated=1, catching_up=0, queued_bytes=0
    )
    assert len(world.lane.connections) == 4


async def test_users_are_found_and_their_connections_told(autojump_clock: MockClock, world: World) -> None:
    await world.websocket("ann")
    await world.sse("anne")
    await world.websocket("anne")
    await world.websocket("ben")
    connections = world.lane.connections
    assert connections.users_like("an", 10) == ["ann", "anne"]
    assert connections.users_like("", 1) == ["ann"]
    assert connections.users_like("c", 10) == []
    world.publish("anne")
    await trio.testing.wait_all_tasks_blocked()
    first, second = connections.connections_of("anne")
    assert (first.transport, second.transport) == ("sse", "websocket")
    assert {first.position, second.position} == {world.lane.broker.window.head}
    assert (first.catching_up, first.queued_bytes) == (False, 0)
    assert first.expires_ms > world.lane.clock()
    assert connections.connections_of("nobody") == []


async def test_a_user_is_closed_with_all_connections_and_nobody_else(
    autojump_clock: MockClock, world: World
) -> None:
    first, second, other = await world.websocket(), await world.sse(), await world.websocket("ben")
    assert world.lane.connections.close_user("ann", CloseCode.REVOKED) == 2
    assert world.lane.connections.close_user("ann", CloseCode.REVOKED) == 0
    assert await first.closed() == 4503
    await second.message()
    assert await second.event() is None
    await other.message()
    cursor = world.publish(None)[0]
    assert (await other.message())["id"] == cursor


async def test_only_the_user_may_refresh_a_connection(autojump_clock: MockClock, world: World) -> None:
    client = await world.websocket()
    connection_id = (await client.message())["data"]["connection_id"]
    refresh = world.lane.connections.refresh
    assert not refresh(connection_id, Identity("ben", 1))
    assert not refresh("nonsense", Identity("ann", 1))
    assert refresh(connection_id, Identity("ann", 1))


async def test_a_drain_spreads_the_closes_and_tells_each_when_to_come_back(
    autojump_clock: MockClock, world: World
) -> None:
    left: list[tuple[float, int]] = []
    start = 0.0

    async def leave(user_id: str) -> None:
        client = await world.websocket(user_id)
        ready.append(user_id)
        await client.message()
        while (message := await client.message())["type"] != "reconnect":
            pass
        left.append((trio.current_time() - start, message["data"]["after_ms"]))
        assert await client.closed() == 1001

    ready: list[str] = []
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(leave, f"user{number}")
        await trio.testing.wait_all_tasks_blocked()
        assert len(ready) == 20
        start = trio.current_time()
        await world.lane.connections.drain(0.2)
        assert trio.current_time() - start <= 1.2
        assert len(world.lane.connections) == 0
    assert [round(at, 3) for at, _ in left] == [number / 100 for number in range(20)]
    returns = [at + after_ms / 1000 for at, after_ms in left]
    assert returns == sorted(returns)
    assert len(set(returns)) == 20
    assert min(returns) >= 0.19


async def test_a_few_clients_do_not_hold_a_stop_up(autojump_clock: MockClock, world: World) -> None:
    for number in range(4):
        await world.sse(f"user{number}")
    start = trio.current_time()
    await world.lane.connections.drain(10)
    assert trio.current_time() - start <= 4 / RETURNS_PER_S + 1


async def test_a_drain_waits_a_second_at_most_for_those_who_do_not_leave(
    autojump_clock: MockClock, world: World
) -> None:
    stalled = await world.websocket(send_buffer=4096)
    await stalled.message()
    await world.websocket("mute")
    await world.sse()
    world.publish(count=100, size=1000)
    await trio.testing.wait_all_tasks_blocked()
    start = trio.current_time()
    await world.lane.connections.drain(0)
    assert trio.current_time() - start <= 1.01
    assert len(world.lane.connections) == 0


async def test_a_drain_of_nobody_is_over_at_once(autojump_clock: MockClock, world: World) -> None:
    start = trio.current_time()
    await world.lane.connections.drain(10)
    assert trio.current_time() == start


@pytest.mark.parametrize(("count", "seconds"), [(1, 10.0), (10, 10.0), (500, 10.0), (10_000, 30.0)])
def test_returns_come_after_the_drain_at_a_bearable_rate(count: int, seconds: float) -> None:
    at = [seconds * index / count + _return_ms(index, count, seconds) / 1000 for index in range(count)]
    over = seconds * (count - 1) / count
    assert at == sorted(at)
    assert at[0] >= over
    assert at[-1] <= over + seconds + 0.3
    busiest = max(sum(moment <= other < moment + 1 for other in at) for moment in at[:: max(1, count // 50)])
    assert busiest <= max(51, 2 * count / seconds)
