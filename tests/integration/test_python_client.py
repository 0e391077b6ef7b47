"""The Python client, over both transports, and the publisher against the whole server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest
import trio

from notifyd import messages
from notifyd.client import Client, ServerRefused, Status, open_client
from notifyd.messages import NotificationUpdated, SystemMessage, system_message
from notifyd.publisher import Outgoing, Published, open_publisher
from notifyd.service import open_service
from notifyd.store import tracing

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifyd.config import Config
    from notifyd.service import Service

KEY = "publish-key-of-the-tests"


Transport = Literal["websocket", "sse"]


@pytest.fixture(params=["websocket", "sse"])
def transport(request: pytest.FixtureRequest) -> Transport:
    """A test that takes it runs over both."""
    chosen: Transport = request.param
    return chosen


async def take(client: Client, count: int) -> list[messages.Message]:
    with trio.fail_after(20):
        return [await client.__anext__() for _ in range(count)]


async def test_deliver_mark_and_agree(
    service: Service, token: Callable[..., str], transport: Transport
) -> None:
    async with (
        open_client(service.url, lambda: token("ann"), transport=transport) as one,
        open_client(service.url, token("ann"), transport=transport) as other,
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


async def test_many_published_come_in_order(
    service: Service, token: Callable[..., str], transport: Transport
) -> None:
    async with (
        open_client(service.url, token("ann"), transport=transport) as client,
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


async def test_another_time_goes_on_where_this_one_ended(
    service: Service, token: Callable[..., str], transport: Transport
) -> None:
    async with open_publisher(service.url, KEY) as publisher:
        async with open_client(service.url, token("ann"), transport=transport) as client:
            await client.wait_connected()
            await publisher.publish(system_message("one"), user_id="ann")
            await take(client, 1)
            cursor = client.cursor
        await publisher.publish(system_message("two"), user_id="ann")
        async with open_client(service.url, token("ann"), cursor=cursor, transport=transport) as client:
            (message,) = await take(client, 1)
            assert message.data.message == "two"
            assert client.recovered is True


async def test_a_bad_token_is_told(service: Service, transport: Transport) -> None:
    said = {"websocket": "4501", "sse": "HTTP 401: .*token"}[transport]
    async with open_client(service.url, "not-a-token", transport=transport) as client:
        with pytest.raises(ServerRefused, match=said):
            await _first_entry(client)


async def _first_entry(client: Client) -> messages.Message:
    with trio.fail_after(20):
        while True:
            message = await client.__anext__()
            if not isinstance(message.data, messages.ErrorData):
                return message


async def test_through_a_restart_nothing_is_lost(
    make_config: Callable[..., Config], token: Callable[..., str], transport: Transport
) -> None:
    statuses: list[Status] = []
    async with open_service(make_config()) as service, open_publisher(service.url, KEY) as publisher:
        first = await publisher.publish(system_message("one"), user_id="ann")
        address = service.url.removeprefix("http://")
    options: dict[str, Any] = {"cursor": first.id, "on_state": statuses.append, "draw": lambda: 0.1}
    options["transport"] = transport
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


async def test_what_the_server_does_not_take_is_an_error_message(
    service: Service, token: Callable[..., str], transport: Transport
) -> None:
    async with open_client(service.url, token("ann"), transport=transport) as client:
        await client.wait_connected()
        await client.mark("read", notification_ids=["nobody-has-this"])
        await client.mark("read", up_to=f"{service.inbox.epoch}-999999")
        first, second = await take(client, 2)
        assert first.data.code == "not_found"
        assert second.data.code == "bad_message"


async def test_what_was_given_is_acknowledged(
    service: Service, token: Callable[..., str], transport: Transport
) -> None:
    async with open_publisher(service.url, KEY) as publisher:
        async with open_client(service.url, token("ann"), transport=transport, draw=lambda: 0.0) as client:
            await client.wait_connected()
            stored = await publisher.publish(system_message("hi"), user_id="ann")
            await take(client, 1)
        with trio.fail_after(20):
            while (acknowledged := await _acknowledged(service, stored.notification_id)) is None:  # noqa: ASYNC110 - the ledger tells nobody
                await trio.sleep(0.1)
    assert acknowledged.connection_id != "http"


async def _acknowledged(service: Service, notification_id: str) -> Any:
    facts = await service.store.read(lambda tx: tracing.facts(tx, "ann", notification_id))
    return None if facts is None else facts.acknowledged


async def test_a_fresh_token_lets_the_connection_live(
    service: Service, token: Callable[..., str], transport: Transport
) -> None:
    given: list[str] = []
    statuses: list[Status] = []

    def fresh() -> str:
        given.append(token("ann", ttl_s=10 if not given else 600))
        return given[-1]

    async with (
        open_client(service.url, fresh, transport=transport, on_state=statuses.append) as client,
        open_publisher(service.url, KEY) as publisher,
    ):
        await client.wait_connected()
        (before,) = service.connections.connections_of("ann")
        with trio.fail_after(20):
            while service.connections.connections_of("ann")[0].expires_ms == before.expires_ms:  # noqa: ASYNC110 - a refresh tells nobody
                await trio.sleep(0.05)
        (after,) = service.connections.connections_of("ann")
        assert after.connection_id == before.connection_id
        await publisher.publish(system_message("still here"), user_id="ann")
        assert (await take(client, 1))[0].data.message == "still here"
        await client.mark("read", up_to=client.cursor)
        assert isinstance((await take(client, 1))[0].data, NotificationUpdated)
    assert len(given) == 2
    assert [status.state for status in statuses] == ["connecting", "connected", "closed"]
