"""Position, visit and pump: whatever happens between two of them, each entry comes once and in order."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs
from wsproto.events import TextMessage

from notifyd.errors import CloseCode, Unavailable
from notifyd.transport import feed as module
from tests.transport.lane.conftest import upgrade_fields

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from trio.testing import MockClock

    from notifyd.store.base import LogPage
    from notifyd.transport.connection import Connection
    from tests.transport.lane.conftest import World

    OpenWorld = Callable[..., AbstractAsyncContextManager[World]]

KINDS = ["websocket", "sse"]


async def open_client(world: World, kind: str, **given: Any) -> Any:
    client = await getattr(world, kind)(**given)
    assert (await client.message())["type"] == "connection-established"
    return client


async def ids(client: Any, count: int) -> list[str]:
    return [(await client.message())["id"] for _ in range(count)]


def only(world: World) -> Connection:
    (connection,) = world.lane.connections._by_id.values()
    return connection


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


# --- the seam ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("window", [2, 1000])
async def test_a_resume_joins_the_live_stream_wherever_others_publish(
    autojump_clock: MockClock, open_world: OpenWorld, kind: str, window: int
) -> None:
    """An entry of each kind is committed after every number of checkpoints that a resume may take."""

    async def publish_after(world: World, checkpoints: int) -> None:
        for _ in range(checkpoints):
            await trio.lowlevel.checkpoint()
        for user_id in ("ann", None, "ben"):
            world.publish(user_id)

    async with open_world(window=window, max_connections_per_user=100) as world:
        for checkpoints in range(30):
            before = world.publish(count=5)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(publish_after, world, checkpoints)
                client = await open_client(world, kind, cursor=before[0])
            world.publish()
            wanted = [
                f"e1-{entry.seq}"
                for entry in world.inbox.entries
                if entry.user_id != "ben" and entry.seq > int(before[0].removeprefix("e1-"))
            ]
            assert await ids(client, len(wanted)) == wanted


@pytest.mark.parametrize("kind", KINDS)
async def test_entries_committed_during_every_page_of_the_log(
    autojump_clock: MockClock, open_world: OpenWorld, kind: str
) -> None:
    async with open_world(window=3) as world:
        left = 20

        async def publish_more() -> None:
            nonlocal left
            await trio.lowlevel.checkpoint()
            if left > 0:
                left -= 1
                world.publish(None if left % 2 else "ann", count=4)

        world.publish(count=1200)
        world.inbox.before_answer = publish_more
        client = await open_client(world, kind, cursor="e1-0")
        got = await ids(client, 1280)
        assert got == [f"e1-{seq}" for seq in range(1, 1281)]
        assert world.inbox.pages >= 20
        await settle()
        assert world.lane.connections.statistics().catching_up == 0


async def test_others_entries_do_not_make_a_live_connection_fall_behind(
    autojump_clock: MockClock, open_world: OpenWorld
) -> None:
    async with open_world(window=3) as world:
        client = await open_client(world, "websocket")
        for _ in range(10):
            world.publish("ben", count=3)
            await settle()
        cursor = world.publish()[0]
        assert await ids(client, 1) == [cursor]
        assert world.inbox.pages == 0


async def test_a_group_larger_than_the_window_is_read_from_the_log(
    autojump_clock: MockClock, open_world: OpenWorld
) -> None:
    async with open_world(window=3) as world:
        client = await open_client(world, "websocket")
        cursors = world.publish(count=10)
        assert await ids(client, 10) == cursors
        assert world.inbox.pages == 1
        await settle()
        assert not only(world).busy


async def test_a_head_ahead_of_the_window_is_not_repeated(
    autojump_clock: MockClock, open_world: OpenWorld
) -> None:
    """The log may answer before the window has been told."""
    async with open_world() as world:
        told = world.broker.publish
        world.broker.publish = lambda *_: None  # type: ignore[method-assign]
        world.publish()
        world.broker.publish = told  # type: ignore[method-assign]
        client = await open_client(world, "websocket")
        world.broker.publish(world.inbox.entries)
        cursor = world.publish()[0]
        assert await ids(client, 1) == [cursor]


# --- slow, frozen and broken clients ------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_a_slow_client_loses_nothing_and_holds_little(
    autojump_clock: MockClock, open_world: OpenWorld, kind: str
) -> None:
    async with open_world(window=50) as world:
        client = await open_client(world, kind, send_buffer=4096)
        cursors = []
        for _ in range(40):
            cursors += world.publish(None, count=10, size=2000)
            await settle()
        statistics = world.lane.connections.statistics()
        assert statistics.catching_up == 1
        assert statistics.queued_bytes < 2 * module.PAGE_BYTES
        assert await ids(client, 400) == cursors
        await settle()
        assert world.lane.connections.statistics().catching_up == 0
        given = world.broker.statistics()
        assert given.delivered + given.replayed == 400
        assert given.replayed > 0


async def test_a_client_that_reads_byte_by_byte_gets_whole_messages(
    autojump_clock: MockClock, open_world: OpenWorld
) -> None:
    async with open_world() as world:
        client = await open_client(world, "websocket", send_buffer=4096)
        cursors = world.publish(count=20, size=500)
        receive = client.receive
        client.receive = partial(receive, 1)
        for cursor in cursors:
            await client.say("ping")
            while (message := await client.message())["type"] == "pong":
                pass
            assert message["id"] == cursor


@pytest.mark.parametrize("kind", KINDS)
async def test_a_frozen_client_is_reset_after_twenty_seconds_and_nobody_waits_for_it(
    autojump_clock: MockClock, open_world: OpenWorld, kind: str
) -> None:
    async with open_world() as world:
        await open_client(world, kind, send_buffer=4096)
        victim = await open_client(world, kind, user_id="ben")
        start = trio.current_time()
        cursors = world.publish(None, count=100, size=1000)
        assert await ids(victim, 100) == cursors
        assert trio.current_time() == start
        await trio.sleep(19.5)
        assert len(world.lane.connections) == 2
        await trio.sleep(1.5)
        assert len(world.lane.connections) == 1


async def test_a_client_that_takes_a_little_now_and_then_is_not_reset(
    autojump_clock: MockClock, open_world: OpenWorld
) -> None:
    async with open_world() as world:
        client = await open_client(world, "sse", send_buffer=4096)
        cursors = world.publish(None, count=100, size=1000)
        for _ in range(8):
            await trio.sleep(15)
            client._raw += await client.receive(10_000)
            client._dechunk()
        assert await ids(client, 100) == cursors


async def test_a_client_that_asks_and_never_reads_is_reset(
    autojump_clock: MockClock, open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_UNREAD_BYTES", 10_000)
    async with open_world() as world:
        client = await open_client(world, "websocket", send_buffer=4096)
        fifteen = [client.frames.send(TextMessage('{"type":"ping"}')) for _ in range(15)]
        assert await client.flood(b"".join(fifteen), times=60, every=1)
        assert len(world.lane.connections) == 0


async def test_a_closing_client_with_a_full_socket_is_reset_within_a_second(
    autojump_clock: MockClock, open_world: OpenWorld
) -> None:
    async with open_world() as world:
        await open_client(world, "websocket", send_buffer=4096)
        world.publish(count=100, size=1000)
        await settle()
        world.lane.connections.close_user("ann", CloseCode.NORMAL)
        await trio.sleep(1.01)
        assert len(world.lane.connections) == 0


async def test_a_close_waits_behind_the_message_that_is_under_way(
    autojump_clock: MockClock, open_world: OpenWorld
) -> None:
    async with open_world() as world:
        client = await open_client(world, "websocket", send_buffer=4096)
        cursors = world.publish(count=30, size=1000)
        await settle()
        world.lane.connections.close_user("ann", CloseCode.REVOKED)
        assert await ids(client, 30) == cursors
        assert await client.closed() == 4503


# --- pumps that end badly -------------------------------------------------------------------------------


async def test_a_cancelled_pump_ends_its_connection_alone(
    autojump_clock: MockClock, open_world: OpenWorld
) -> None:
    async with open_world() as world:
        client = await open_client(world, "websocket", send_buffer=4096)
        world.publish(count=100, size=1000)
        await settle()
        victim = await open_client(world, "websocket", user_id="ben")
        connection = next(iter(world.lane.connections._by_id.values()))
        assert connection._pump_scope is not None
        connection._pump_scope.cancel()
        await settle()
        assert len(world.lane.connections) == 1
        assert await client.rest()
        cursor = world.publish(None)[0]
        assert await ids(victim, 1) == [cursor]


async def test_a_server_that_stops_cancels_pumps_too(
    autojump_clock: MockClock, open_world: OpenWorld
) -> None:
    async with open_world() as world:
        await open_client(world, "websocket", send_buffer=4096)
        world.publish(count=100, size=1000)
        await settle()
        connection = only(world)
        world.nursery.cancel_scope.cancel()
    assert connection.outbox.gone


async def test_a_log_that_cannot_be_read_is_try_again_later(
    autojump_clock: MockClock, open_world: OpenWorld
) -> None:
    async def fail() -> None:
        raise Unavailable("locked")

    async with open_world(window=3) as world:
        client = await open_client(world, "websocket")
        world.inbox.before_answer = fail
        world.publish(count=10)
        assert await client.closed() == 1013


async def test_a_defect_in_a_pump_is_one_line_and_ends_its_connection_alone(
    autojump_clock: MockClock, open_world: OpenWorld
) -> None:
    async with open_world(window=3) as world:
        victim = await open_client(world, "websocket", user_id="ben")
        client = await open_client(world, "websocket")
        page = world.inbox.page

        async def fail(user_id: str, after: int, **limits: int) -> LogPage:
            if user_id == "ann":
                raise RuntimeError("boom")
            return await page(user_id, after, **limits)

        world.inbox.page = fail  # type: ignore[method-assign]
        with capture_logs() as lines:
            world.publish(count=10)
            assert await client.closed() == 1011
        assert [(line["event"], line["user"]) for line in lines if line["log_level"] == "error"] == [
            ("connection.fault", "ann")
        ]
        cursor = world.publish("ben")[0]
        assert await ids(victim, 1) == [cursor]


async def test_a_client_that_leaves_takes_its_pump_along(
    autojump_clock: MockClock, open_world: OpenWorld
) -> None:
    async with open_world(window=3) as world:
        client = await open_client(world, "websocket")
        world.inbox.before_answer = trio.sleep_forever
        world.publish(count=10)
        await settle()
        client.close()
        await settle()
        assert len(world.nursery.child_tasks) == 0


async def test_a_connection_closed_while_its_page_was_read_sends_no_more(
    autojump_clock: MockClock, open_world: OpenWorld
) -> None:
    async with open_world(window=3) as world:
        client = await open_client(world, "websocket")
        world.inbox.before_answer = partial(trio.sleep, 0.3)
        world.publish(count=10)
        await settle()
        world.lane.connections.close_user("ann", CloseCode.REVOKED)
        assert await client.closed() == 4503


async def test_a_connection_closed_while_it_begins_answers_the_handshake_first(
    autojump_clock: MockClock, open_world: OpenWorld
) -> None:
    async with open_world() as world:
        world.inbox.before_answer = partial(trio.sleep, 0.3)
        async with trio.open_nursery() as nursery:

            async def close() -> None:
                await settle()
                world.lane.connections.close_user("ann", CloseCode.REVOKED)

            nursery.start_soon(close)
            client = await world.websocket()
        assert client.answer.startswith(b"HTTP/1.1 101 ")
        assert await client.closed() == 4503


async def test_a_client_that_leaves_while_it_begins(autojump_clock: MockClock, open_world: OpenWorld) -> None:
    async with open_world() as world:
        world.inbox.before_answer = partial(trio.sleep, 0.3)
        theirs = world.start(f"/events?token={world.token()}")
        await settle()
        theirs.close()
        await trio.sleep(1)
        assert len(world.lane.connections) == 0


# --- a sweep of cancellations ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_cancelled_anywhere_a_connection_leaves_nothing_behind(
    autojump_clock: MockClock, open_world: OpenWorld, kind: str
) -> None:
    """The fixture checks that registry and broker are empty when the lane has closed."""
    for checkpoints in range(25):
        async with open_world(window=3) as world:
            world.publish(count=600, size=100)
            target = "/ws" if kind == "websocket" else "/events"
            fields = [] if kind == "sse" else upgrade_fields()
            world.start(f"{target}?token={world.token()}&last_event_id=e1-0", fields, send_buffer=4096)
            for _ in range(checkpoints):
                await trio.lowlevel.checkpoint()
