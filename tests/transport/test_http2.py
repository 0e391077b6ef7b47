"""`/events` as an ASGI app: how many streams there may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from notifyd.transport.http2 import EventsApp, StreamRoom

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

SCOPE = {
    "type": "http",
    "method": "GET",
    "path": "/events",
    "query_string": b"",
    "headers": [(b"host", b"h")],
    "client": ("10.0.0.1", 1),
}


async def no_app(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("not for the app")


async def client_stays() -> Any:
    await trio.sleep_forever()


class Room:
    """A door of ten, with some connections; and those that heard that there is none."""

    def __init__(self) -> None:
        self.connections = 1
        self.refused: list[tuple[str, int, str]] = []
        self.streams = StreamRoom(
            limit=lambda: 10,
            connections=lambda: self.connections,
            on_refused=lambda *client: self.refused.append(client),
        )


async def said_by(app: EventsApp, receive: Callable[[], Any] = client_stays) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await app(SCOPE, receive, send)
    return sent


async def test_streams_of_all_connections_together_have_as_much_room_as_the_door() -> None:
    room, ending = Room(), trio.Event()

    async def lane(sock: socket.socket, head: Any, rest: bytes) -> None:
        with sock:
            await ending.wait()

    app = EventsApp(no_app, lane, 0, room.streams)
    room.connections = 3
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(said_by, app)
        await trio.testing.wait_all_tasks_blocked()
        assert room.streams.left_for_connections() == 4
        start, body = await said_by(app)
        assert (start["status"], dict(start["headers"])[b"retry-after"]) == (503, b"1")
        assert b"urn:notifyd:problem:no-room" in body["body"]
        assert room.refused == [("10.0.0.1", 503, "no-room")]
        ending.set()
    assert room.streams.left_for_connections() == 10
    assert await said_by(app) == []
