"""A user is erased while connected by both transports, and comes back with an old cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from notifyd.messages import system_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifyd.service import Service


async def test_an_erased_user_is_gone_and_no_gap_is_hidden(
    service: Service,
    http: Callable[..., Any],
    open_stream: Callable[..., Any],
) -> None:
    await service.notify_user("bob", system_message("stays"))
    async with open_stream(service.url, "ann") as stream, open_stream(service.url, "bob") as other:
        for text in ("one", "two", "three"):
            receipt = await service.notify_user("ann", system_message(text))
        await stream.entries_to(f"{service.inbox.epoch}-{receipt.seq}")
        start = str(stream.hello["cursor"])
        newest = stream.cursor
        async with http() as client:
            assert (await client.delete("/v1/users/ann")).status_code == 204
        while service.connections.statistics().users > 1:
            await trio.lowlevel.checkpoint()
        after = await service.notify_user("bob", system_message("still here"))
        assert (await other.next_entry())["id"] == f"{service.inbox.epoch}-{after.seq}"
    async with open_stream(service.url, "ann", start) as stream:
        assert (stream.hello["recovered"], stream.hello["reason"]) == (False, "trimmed")
        await service.notify_user("ann", system_message("new"))
        assert (await stream.next_entry())["data"]["message"] == "new"
    async with open_stream(service.url, "ann", newest) as stream:
        assert stream.hello["recovered"] is True
        assert (await stream.next_entry())["data"]["message"] == "new"
