"""The Python client and publisher against the whole server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from notifyd import messages
from notifyd.client import Client, ServerRefused, Status, open_client
from notifyd.messages import NotificationUpdated, SystemMessage, system_message
from notifyd.publisher import Outgoing, Published, open_publisher
from notifyd.service import open_service

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifyd.config import Config
    from notifyd.service import Service

KEY = "publish-key-of-the-tests"


async def take(client: Client, count: int) -> list[messages.Message]:
    with trio.fail_after(20):
        return [await client.__anext__() for _ in range(count)]


async def test_deliver_mark_and_agree(service: Service, token: Callable[..., str]) -> None:
    async with (
        open_client(service.url, lambda: token("ann")) as one,
        open_client(service.url, token("ann")) as other,
        open_publisher(service.url, KEY) as publisher,
    ):
        await one.wait_connected()
        await other.wait_connected()
        stored = await publisher.publish(system_message("hi"), user_id="ann")
        for client in (one, other):
            (message,) = await take(client, 1)
            assert message.data == SystemMessage(stored.notification_id, "hi")
            assert message.id == stored.id
        await one.mark("read", notification_ids=[stored.notification_id])
        for client in (one, other):
            (update,) = await take(client, 1)
            assert update.data == NotificationUpdated("read", [stored.notification_id])


async def test_many_published_come_in_order(service: Service, token: Callable[..., str]) -> None:
    async with (
        open_client(service.url, token("ann")) as client,
        open_publisher(service.url, KEY) as publisher,
    ):
        await client.wait_connected()
        wanted = [Outgoing(messages.custom("x-n", {"n": number}), user_id="ann") for number in range(1200)]
        outcomes = await publisher.publish_many(wanted)
        assert all(isinstance(outcome, Published) for outcome in outcomes)
        assert [message.data["n"] for message in await take(client, 1200)] == list(range(1200))


async def test_the_same_key_is_stored_once(service: Service) -> None:
    async with open_publisher(service.url, KEY) as publisher:
        first = await publisher.publish(system_message("hi"), broadcast=True, idempotency_key="k")
        again = await publisher.publish(system_message("hi"), broadcast=True, idempotency_key="k")
    assert (first.repeated, again.repeated) == (False, True)
    assert first.id == again.id


async def test_another_time_goes_on_where_this_one_ended(service: Service, token: Callable[..., str]) -> None:
    async with open_publisher(service.url, KEY) as publisher:
        async with open_client(service.url, token("ann")) as client:
            await client.wait_connected()
            await publisher.publish(system_message("one"), user_id="ann")
            await take(client, 1)
            cursor = client.cursor
        await publisher.publish(system_message("two"), user_id="ann")
        async with open_client(service.url, token("ann"), cursor=cursor) as client:
            (message,) = await take(client, 1)
            assert message.data.message == "two"
            assert client.recovered is True


async def test_a_bad_token_is_told(service: Service) -> None:
    async with open_client(service.url, "not-a-token") as client:
        with pytest.raises(ServerRefused, match="4501"):
            await _first_entry(client)


async def _first_entry(client: Client) -> messages.Message:
    with trio.fail_after(20):
        while True:
            message = await client.__anext__()
            if not isinstance(message.data, messages.ErrorData):
                return message


async def test_through_a_restart_nothing_is_lost(
    make_config: Callable[..., Config], token: Callable[..., str]
) -> None:
    statuses: list[Status] = []
    async with open_service(make_config()) as service, open_publisher(service.url, KEY) as publisher:
        first = await publisher.publish(system_message("one"), user_id="ann")
        address = service.url.removeprefix("http://")
    options: dict[str, Any] = {"cursor": first.id, "on_state": statuses.append, "draw": lambda: 0.1}
    async with open_client(f"http://{address}", token("ann"), **options) as client:
        for number in range(3):
            async with (
                open_service(make_config(listen=address)) as service,
                open_publisher(service.url, KEY) as publisher,
            ):
                await publisher.publish(messages.custom("x-n", {"n": number}), user_id="ann")
                (message,) = await take(client, 1)
                assert message.data["n"] == number
    recovered = [status.recovered for status in statuses if status.state == "connected"]
    assert len(recovered) >= 3
    assert all(recovered)
