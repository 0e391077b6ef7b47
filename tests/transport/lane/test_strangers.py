"""Clients that have not shown who they are, on both transports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from notifyd.errors import CloseCode

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from trio.testing import MockClock

    from tests.transport.lane.conftest import World

    OpenWorld = Callable[..., AbstractAsyncContextManager[World]]

AWAY = "203.0.113.7"
BAD = {"websocket": "/ws?token=bad", "sse": "/events?token=bad"}


async def status(world: World, kind: str, target: str, peer: str = AWAY) -> int:
    if kind == "websocket":
        return int((await world.raw_websocket(target, peer=peer)).answer.split()[1])
    return int((await world.raw_sse(target, peer=peer)).head.split()[1])


@pytest.mark.parametrize("kind", BAD)
async def test_one_address_may_fail_so_often_and_valid_tokens_are_never_counted(
    autojump_clock: MockClock, world: World, kind: str
) -> None:
    usual = 101 if kind == "websocket" else 401
    assert [await status(world, kind, BAD[kind]) for _ in range(20)] == [usual] * 20
    assert await status(world, kind, BAD[kind]) == 429
    assert await status(world, kind, BAD[kind], "203.0.113.8") == usual
    good = BAD[kind].replace("bad", world.token())
    assert [await status(world, kind, good) for _ in range(5)] == [101 if kind == "websocket" else 200] * 5
    await trio.sleep(0.51)
    assert await status(world, kind, BAD[kind]) == usual
    assert await status(world, kind, BAD[kind]) == 429


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "unix"])
async def test_behind_this_machine_stands_anybody(autojump_clock: MockClock, world: World, peer: str) -> None:
    assert {await status(world, "sse", BAD["sse"], peer) for _ in range(50)} == {401}


async def test_a_proxy_that_names_no_client_is_not_throttled_for_them(
    autojump_clock: MockClock, open_world: OpenWorld
) -> None:
    async with open_world(trusted_hops=1) as world:
        assert {await status(world, "sse", BAD["sse"]) for _ in range(50)} == {401}


async def test_so_many_may_owe_their_token_and_their_places_are_free_again(
    autojump_clock: MockClock, open_world: OpenWorld
) -> None:
    async with open_world(max_unauthenticated=3) as world:
        first = await world.websocket(None)
        others = [await world.websocket(None) for _ in range(2)]
        assert await status(world, "websocket", "/ws", "127.0.0.1") == 503
        assert await status(world, "websocket", f"/ws?token={world.token()}") == 101
        await first.say("auth", token=world.token())
        assert (await first.message())["type"] == "connection-established"
        assert await status(world, "websocket", "/ws", "127.0.0.1") == 101
        others[0].close()
        await trio.sleep(6)
        assert len(world.lane.connections.strangers) == 0
        assert await status(world, "websocket", "/ws", "127.0.0.1") == 101


async def test_who_never_sends_a_token_fails_too_and_who_does_has_not(
    autojump_clock: MockClock, open_world: OpenWorld
) -> None:
    async with open_world(failed_handshakes=2, max_connections_per_user=50) as world:
        for _ in range(10):  # each in time
            client = await world.websocket(None, peer=AWAY)
            await client.say("auth", token=world.token())
            assert (await client.message())["type"] == "connection-established"
        idle = [await world.websocket(None, peer=AWAY) for _ in range(2)]
        assert await status(world, "websocket", "/ws") == 429
        assert [await client.closed() for client in idle] == [CloseCode.BAD_TOKEN] * 2


async def test_limits_are_settings(autojump_clock: MockClock, open_world: OpenWorld) -> None:
    async with open_world(max_message_bytes=1024, message_burst=2, message_rate=1, auth_seconds=2) as world:
        client = await world.websocket()
        await client.send_text("x" * 1025)
        assert await client.closed() == CloseCode.TOO_BIG
        client = await world.websocket()
        for _ in range(3):
            await client.say("ping")
        assert await client.closed() == CloseCode.TOO_FAST
        begun = trio.current_time()
        client = await world.websocket(None)
        assert await client.closed() == CloseCode.BAD_TOKEN
        assert trio.current_time() - begun < 3
