"""Behind proxies that do not let WebSockets through, the Python client goes over to SSE by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from notifyd.client import Client, Status, open_client, open_publisher
from notifyd.messages import NotificationUpdated, system_message
from notifyd.testing import open_proxy, open_test_server

if TYPE_CHECKING:
    from notifyd.testing.proxy import Upgrades

PATIENCE_S = 20


async def texts(client: Client, count: int) -> list[str]:
    with trio.fail_after(PATIENCE_S):
        return [(await client.__anext__()).data.message for _ in range(count)]


@pytest.mark.parametrize("upgrades", ["refuse", "swallow", "buffer"])
async def test_sse_by_itself_with_the_same_cursor(upgrades: Upgrades) -> None:
    statuses: list[Status] = []
    async with (
        open_test_server() as server,
        open_proxy(server.url) as proxy,
        open_publisher(server.url, server.publish_key) as publisher,
        open_client(proxy.url, server.token("ann"), on_state=statuses.append, draw=lambda: 0.1) as client,
    ):
        await client.wait_connected()
        assert client.transport == "websocket"
        await publisher.publish(system_message("over WebSocket"), user_id="ann")
        assert await texts(client, 1) == ["over WebSocket"]

        proxy.upgrades = upgrades
        proxy.reset()
        stored = await publisher.publish(system_message("missed"), user_id="ann")
        assert await texts(client, 1) == ["missed"]
        assert (client.transport, client.recovered) == ("sse", True)

        await client.mark("read", notification_ids=[stored.notification_id])
        with trio.fail_after(PATIENCE_S):
            update = await client.__anext__()
        assert update.data == NotificationUpdated("read", [stored.notification_id])

        statuses.clear()
        proxy.reset()
        await publisher.publish(system_message("again"), user_id="ann")
        assert await texts(client, 1) == ["again"]
        tried = [status.transport for status in statuses if status.state == "connecting"]
        assert set(tried) == {"sse"}, "what does not get through is remembered"
        assert client.recovered is True


async def test_where_nothing_is_in_the_way_it_is_a_websocket_and_stays_one() -> None:
    async with (
        open_test_server() as server,
        open_proxy(server.url) as proxy,
        open_client(proxy.url, server.token("ann"), draw=lambda: 0.1) as client,
    ):
        for _ in range(3):
            with trio.fail_after(PATIENCE_S):
                await client.wait_connected()
            assert client.transport == "websocket"
            proxy.reset()
            with trio.fail_after(PATIENCE_S):
                while client.state == "connected":  # noqa: ASYNC110 - until it has noticed
                    await trio.sleep(0.01)
