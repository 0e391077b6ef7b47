"""What the ledger says of notifications whose way is known, over both transports and by the command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from notifyd.cli.options import OperatorsServer
from notifyd.cli.why import why
from notifyd.clock import wall_ms
from notifyd.errors import NotFound
from notifyd.messages import system_message
from notifyd.service import open_service

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifyd.service import Service


async def written_down(service: Service) -> None:
    """Write now what is otherwise written within a second."""
    while service.broker.settled < service.inbox.head:
        await trio.lowlevel.checkpoint()
    await service.connections.journal.flush(service.inbox, service.broker, wall_ms)
    await service.inbox._acks.flush()


async def traced(http: Callable[..., Any], admin_key: str, user_id: str, id_: str) -> Any:
    async with http(key=admin_key) as client:
        answer = await client.get(f"/v1/notifications/{id_}/trace", params={"user_id": user_id})
    assert answer.status_code == 200, answer.text
    return answer.json()


def steps(told: Any) -> list[str]:
    return [step["step"] for step in told["steps"]]


async def test_nobody_was_there_then_it_was_replayed_and_read(
    service: Service, http: Callable[..., Any], open_stream: Callable[..., Any], admin_key: str
) -> None:
    async with open_stream(service.url, "ann") as stream:
        cursor = stream.cursor
    stored = await service.notify_user("ann", system_message("hello"))
    while len(service.connections):
        await trio.lowlevel.checkpoint()
    await written_down(service)
    told = await traced(http, admin_key, "ann", stored.notification_id)
    assert steps(told) == ["stored", "dispatched"]
    assert told["state"] == "unread"
    assert told["mail"] == {"mailed_at": None, "why_not": "no_mail", "text": "this server sends no email"}
    assert told["why_not"] in (
        ["of the user's connections: it ended first"],
        ["the user has not been connected since it was stored"],
    )
    async with open_stream(service.url, "ann", cursor) as stream:
        await stream.next_entry()
        async with http(user="ann") as client:
            connection = {"connection_id": stream.hello["connection_id"]}
            await client.post("/v1/notifications/ack", json={"up_to": stream.cursor} | connection)
            ids = {"notification_ids": [stored.notification_id]}
            await client.post("/v1/notifications/mark", json={"state": "read"} | ids)
        await written_down(service)
        told = await traced(http, admin_key, "ann", f"{service.inbox.epoch}-{stored.seq}")
    assert sorted(steps(told)) == sorted(["stored", "dispatched", "written", "acknowledged", "read"])
    assert (told["state"], told["why_not"]) == ("read", [])
    last = told["connections"][-1]
    assert last["connection_id"] == connection["connection_id"]
    assert last["written_at"] >= last["connected_at"]
    assert last["closed_at"] is None


async def test_two_users_of_one_announcement(
    service: Service, http: Callable[..., Any], open_stream: Callable[..., Any], admin_key: str
) -> None:
    async with open_stream(service.url, "ann") as stream:
        stored = await service.broadcast(system_message("all"))
        await stream.next_entry()
        await written_down(service)
        told = await traced(http, admin_key, "ann", stored.notification_id)
        assert told["everyone"] is True
        assert [each["text"] for each in told["connections"]] == ["written"]
        assert told["why_not"] == ["it was written, but no client has acknowledged it yet"]
        assert (await traced(http, admin_key, "bob", stored.notification_id))["connections"] == []


async def test_it_outlives_the_server(
    make_config: Callable[..., Any],
    admin_key: str,
    openers: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with open_service(make_config()) as service, openers["sse"](service.url, "ann") as stream:
        stored = await service.notify_user("ann", system_message("hello"))
        await stream.next_entry()
    async with open_service(make_config()) as service:
        server = OperatorsServer(url=service.url, key=admin_key)
        await why("ann", stored.notification_id, server=server)
        out = capsys.readouterr().out
        assert "written to a sse connection" in out
        assert "closed" in out
        assert "not confirmed: it was written, but no client has acknowledged it yet" in out
        await why("ann", stored.notification_id, json=True, server=server)
        assert '"state":"unread"' in capsys.readouterr().out
        with pytest.raises(NotFound):
            await why("bob", stored.notification_id, server=server)
