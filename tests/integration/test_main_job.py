"""The main job over real sockets and a real database, and the original's promises by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from notifyd import messages
from notifyd.service import Service, open_service

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifyd.config import Config


class TestOriginalService:
    """What the original's unit tests asked of its service."""

    async def test_it_initializes_without_errors(self, service: Service) -> None:
        assert service.url.startswith("http://127.0.0.1:")
        assert service.connection_stats()["total"] == 0

    async def test_it_handles_broadcasting_with_no_active_connections(self, service: Service) -> None:
        receipt = await service.broadcast(messages.system_message("Anybody there?"))
        assert receipt.seq == 1
        assert not receipt.repeated

    async def test_it_shuts_down_gracefully(
        self, make_config: Callable[..., Config], open_stream: Any
    ) -> None:
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                connected, gone = trio.Event(), trio.Event()
                seen: list[str] = []

                async def watch(url: str) -> None:
                    try:
                        async with open_stream(url, "ann") as stream:
                            connected.set()
                            while True:
                                seen.append((await stream.receive())["type"])
                    except Exception:
                        gone.set()

                async with open_service(make_config()) as service:
                    nursery.start_soon(watch, service.url)
                    await connected.wait()
                await gone.wait()
        assert "reconnect" in seen


class TestOriginalIntegration:
    """The integration tests that the original left for later."""

    async def test_clients_connect(self, service: Service, open_stream: Any) -> None:
        async with open_stream(service.url, "ann") as stream:
            hello = stream.hello
            assert (hello["user_id"], hello["protocol_version"]) == ("ann", 1)
            assert (hello["recovered"], hello["reason"]) == (False, "no-cursor")
            assert hello["cursor"] == f"{service.inbox.epoch}-0"
            assert service.connection_stats()["total"] == 1

    async def test_authentication_and_message_routing(self, service: Service, openers: Any) -> None:
        async with openers["websocket"](service.url, "ann") as ann, openers["sse"](service.url, "bob") as bob:
            await service.notify_user("ann", messages.system_message("for Ann"))
            await service.notify_user("bob", messages.system_message("for Bob"))
            await service.broadcast(messages.system_message("for all"))
            for stream, own in ((ann, "for Ann"), (bob, "for Bob")):
                texts = [(await stream.next_entry())["data"]["message"] for _ in range(2)]
                assert texts == [own, "for all"]

    async def test_reconnection(self, service: Service, openers: Any) -> None:
        async with openers["websocket"](service.url, "ann") as stream:
            await service.notify_user("ann", messages.system_message("1"))
            await stream.next_entry()
            cursor = stream.cursor
        for n in "23":
            await service.notify_user("ann", messages.system_message(n))
        await service.notify_user("bob", messages.system_message("not hers"))
        async with openers["sse"](service.url, "ann", cursor) as stream:
            assert stream.hello["recovered"] is True
            await service.notify_user("ann", messages.system_message("4"))
            texts = [(await stream.next_entry())["data"]["message"] for _ in range(3)]
            assert texts == ["2", "3", "4"]

    async def test_message_delivery(self, service: Service, open_stream: Any, http: Any) -> None:
        deal = {"item_name": "Juice", "best_price_in_cents": 199, "store_name": "Corner", "store_id": 3}
        async with open_stream(service.url, "ann") as stream, http() as publisher, http(user="ann") as ann:
            answer = await publisher.post(
                "/v1/notifications",
                json={"user_id": "ann", "type": "deal-notification", "data": {"deals": [deal]}},
            )
            assert answer.status_code == 201
            assert answer.json()["live_connections"] == 1
            entry = await stream.next_entry()
            assert entry["id"] == answer.json()["id"]
            assert entry["data"]["deals"] == [deal]
            listed = (await ann.get("/v1/notifications")).json()
            assert [item["id"] for item in listed["notifications"]] == [entry["id"]]
            assert listed["notifications"][0] == {**entry, "state": "unread"}


async def test_a_price_becomes_a_deal_on_an_open_page(service: Service, open_stream: Any, http: Any) -> None:
    price = {
        "item_id": "oj",
        "item_name": "Orange juice",
        "store_id": 12,
        "store_name": "Corner",
        "currency": "USD",
        "price_in_cents": 399,
        "observed_at": "2026-01-01T00:00:00Z",
    }
    async with open_stream(service.url, "ann") as stream, http() as publisher, http(user="ann") as ann:
        answer = await publisher.post("/v1/prices", json={"prices": [price]})
        assert answer.status_code == 202
        watch = {"item_id": "oj", "rule": {"type": "target_price", "price_in_cents": 299}}
        answer = await ann.put("/v1/watches/juice", json=watch)
        assert answer.status_code in (200, 201)
        cheaper = price | {"price_in_cents": 279, "observed_at": "2026-01-02T00:00:00Z"}
        await publisher.post("/v1/prices", json={"prices": [cheaper]})
        entry = await stream.next_entry()
        assert entry["type"] == "deal-notification"
        [deal] = entry["data"]["deals"]
        assert (deal["best_price_in_cents"], deal["old_price_in_cents"], deal["watch_id"]) == (
            279,
            399,
            "juice",
        )
        assert (deal["store_id"], deal["currency"]) == (12, "USD")


async def test_it_is_still_there_after_a_restart(
    make_config: Callable[..., Config], open_stream: Any
) -> None:
    config = make_config()
    async with open_service(config) as service, open_stream(service.url, "ann") as stream:
        await service.notify_user("ann", messages.system_message("before"))
        await stream.next_entry()
        cursor = stream.cursor
        await service.notify_user("ann", messages.system_message("missed"))
    async with open_service(config) as service, open_stream(service.url, "ann", cursor) as stream:
        assert stream.hello["recovered"] is True
        assert (await stream.next_entry())["data"]["message"] == "missed"
        await service.notify_user("ann", messages.system_message("after"))
        assert (await stream.next_entry())["data"]["message"] == "after"


async def test_two_tabs_agree_about_what_is_read(service: Service, openers: Any, http: Any) -> None:
    async with (
        openers["websocket"](service.url, "ann") as first,
        openers["sse"](service.url, "ann") as second,
        http(user="ann") as ann,
    ):
        receipt = await service.notify_user("ann", messages.system_message("read me"))
        await first.next_entry()
        await second.next_entry()
        body = {"notification_ids": [receipt.notification_id], "state": "read"}
        assert (await ann.post("/v1/notifications/mark", json=body)).is_success
        for tab in (first, second):
            update = await tab.next_entry()
            assert update["type"] == "notification-updated"
            assert update["data"] == {"state": "read", "notification_ids": [receipt.notification_id]}
        assert (await ann.get("/v1/notifications")).json()["unread"] == 0


async def test_a_program_listens_in_process(service: Service) -> None:
    async with service.subscribe("ann") as channel:
        await service.notify_user("ann", messages.job_completed("j1", "import", "done"))
        with trio.fail_after(5):
            message = await channel.receive()
        assert message.data == messages.JobCompleted(message.data.notification_id, "j1", "import", "done")


async def test_a_program_is_told_when_it_cannot_go_on(service: Service) -> None:
    async with service.subscribe("ann", since="other-7") as channel:
        assert (channel.recovered, channel.reason) == (False, "other-epoch")
    async with service.subscribe("ann", since=f"{service.inbox.epoch}-0") as channel:
        assert (channel.recovered, channel.reason) == (True, None)


@pytest.mark.parametrize(
    ("cursor", "reason"),
    [("nonsense", "malformed"), ("other-0", "other-epoch"), ("{epoch}-999", "future"), ("", "no-cursor")],
)
async def test_what_cannot_be_recovered_is_said(
    service: Service, open_stream: Any, cursor: str, reason: str
) -> None:
    await service.broadcast(messages.system_message("earlier"))
    async with open_stream(service.url, "ann", cursor.format(epoch=service.inbox.epoch)) as stream:
        assert (stream.hello["recovered"], stream.hello["reason"]) == (False, reason)
        assert stream.hello["cursor"] == f"{service.inbox.epoch}-1"
        await service.broadcast(messages.system_message("live"))
        assert (await stream.next_entry())["data"]["message"] == "live"
