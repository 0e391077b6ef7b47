"""A door on a real loopback port, with lanes that a test gives."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from notifyd.transport.door import Door, open_listeners, url_of

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from notifyd.transport.head import RequestHead
    from notifyd.transport.stream import DoorStream


@dataclass
class OpenDoor:
    """A door in use and its two nurseries."""

    door: Door
    url: str
    connections: trio.Nursery
    accepting: trio.Nursery


async def tell_lane(name: bytes, sock: socket.socket, head: RequestHead, rest: bytes) -> None:
    """A fast lane that says who it is and what came after the head, then ends the connection."""
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
    async with stream:
        await stream.send_all(name + b" " + rest)


async def tell_http(stream: DoorStream) -> None:
    """An HTTP lane without Hypercorn: answers with method, path and body, and keeps the connection."""
    with stream.turn:
        await stream.receive_some()
        body = f"{stream.head.method} {stream.head.path}".encode()
        stream.started = True
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        stream.finishing()
        stream.answered()


@pytest.fixture
def door_at() -> Callable[..., AbstractAsyncContextManager[OpenDoor]]:
    """Opens a door on a free port; lanes and limit may be given."""

    @asynccontextmanager
    async def open_door(address: str = "127.0.0.1:0", **given: Any) -> AsyncIterator[OpenDoor]:
        lanes = {
            "websocket": partial(tell_lane, b"websocket"),
            "sse": partial(tell_lane, b"sse"),
            "http": tell_http,
        }
        door = Door(**{**lanes, **given})
        listeners = open_listeners(address)
        url = url_of(listeners[0])
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                await accepting.start(partial(door.serve, listeners, connections=connections))
                yield OpenDoor(door, url, connections, accepting)
                door.stop_accepting()
            connections.cancel_scope.cancel()

    return open_door
