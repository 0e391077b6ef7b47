"""As docs/testing.md shows it: a server in the test, a client through a network that misbehaves."""

from __future__ import annotations

import trio

from notifyd.client import open_client, open_publisher
from notifyd.messages import SystemMessage, system_message
from notifyd.testing import open_proxy, open_test_server


async def test_a_client_survives_a_reset_and_misses_nothing() -> None:
    async with open_test_server() as server, open_proxy(server.url) as proxy:
        token = server.token("ann")
        with trio.fail_after(20):
            async with (
                open_client(proxy.url, token, draw=lambda: 0.0) as client,
                open_publisher(server.url, server.publish_key) as publisher,
            ):
                await client.wait_connected()
                await publisher.publish(system_message("one"), user_id="ann")
                proxy.reset()
                await publisher.publish(system_message("two"), user_id="ann")
                texts: list[str] = []
                while len(texts) < 2:
                    message = await anext(client)
                    assert isinstance(message.data, SystemMessage)
                    texts.append(message.data.message)
        assert texts == ["one", "two"]
        assert proxy.accepted >= 2


async def test_settings_can_be_given() -> None:
    async with open_test_server(publish_keys="a-key-of-the-test", max_rows_per_user=3) as server:
        assert server.publish_key == "a-key-of-the-test"
        assert server.service.config.max_rows_per_user == 3
