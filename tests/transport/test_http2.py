"""`/events` as an ASGI app: how its streams end, and how many there may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from notifyd.transport.http2 import FAREWELL_S, EventsApp, StreamRoom

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
HALF = b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: ha"


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


async def say_half(sock: socket.socket, head: Any, rest: bytes) -> None:
    sock.sendall(HALF)
    sock.close()


async def said_by(app: EventsApp, receive: Callable[[], Any] = client_stays) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await app(SCOPE, receive, send)
    return sent


async def test_a_stream_whose_client_takes_nothing_is_ended_all_the_same(autojump_clock: Any) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        if message.get("body"):
            await trio.sleep_forever()
        sent.append(message)

    await EventsApp(no_app, say_half, 0, Room().streams)(SCOPE, client_stays, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert (sent[1]["body"], sent[1]["more_body"]) == (b"", False)
    assert trio.current_time() >= FAREWELL_S


async def test_a_client_that_has_left_is_told_nothing(autojump_clock: Any) -> None:
    async def lane(sock: socket.socket, head: Any, rest: bytes) -> None:
        with sock:
            sock.sendall(HALF)
            await trio.sleep_forever()

    async def receive() -> Any:
        await trio.sleep(1)
        return {"type": "http.disconnect"}

    sent = await said_by(EventsApp(no_app, lane, 0, Room().streams), receive)
    assert [message.get("more_body") for message in sent] == [None, True]


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
