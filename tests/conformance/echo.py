"""notifyd's WebSocket, frames and all, with an echo where the notifications were: what Autobahn talks to."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from wsproto.events import BytesMessage, TextMessage

from notifyd.broker.memory import Broker
from notifyd.broker.window import Window
from notifyd.clock import wall_ms
from notifyd.config import load_config
from notifyd.keys import Keys
from notifyd.limits import Limits
from notifyd.transport.connection import Connections, Lane
from notifyd.transport.door import Door, open_listeners, url_of
from notifyd.transport.frames import text_frame
from notifyd.transport.handshake import accept_upgrade
from notifyd.transport.heartbeat import Wheel
from notifyd.transport.websocket import WebSocketConnection

if TYPE_CHECKING:
    import socket

    from wsproto.connection import Connection as FrameReader
    from wsproto.events import Event

    from notifyd.transport.head import RequestHead

#: Autobahn sends more and faster than any client of notifyd may.
GENEROUS = Limits(message_rate=1e6, message_burst=10**6, control_rate=1e6, control_burst=10**6)
_BINARY = 0x82


class EchoConnection(WebSocketConnection):
    """Sends every message back."""

    __slots__ = ("_parts",)

    def __init__(self, sock: socket.socket, lane: Lane) -> None:
        super().__init__(sock, lane)
        self._parts: list[bytes] = []

    async def open(self, head: RequestHead) -> None:
        self.put(accept_upgrade(head))
        self.session.accepted("echo", wall_ms() + 3_600_000)

    async def _begin(self) -> None:
        await trio.lowlevel.checkpoint()

    def _obey(self, event: Event, reader: FrameReader) -> None:
        if self.closing or not isinstance(event, TextMessage | BytesMessage):
            super()._obey(event, reader)
            return
        data = event.data.encode() if isinstance(event, TextMessage) else bytes(event.data)
        self._parts.append(data)
        self._fragments += event.frame_finished
        if event.message_finished:
            frame = text_frame(b"".join(self._parts))
            self._parts.clear()
            self._fragments = 0
            self.put(frame if isinstance(event, TextMessage) else bytes((_BINARY,)) + frame[1:])


async def serve_echo(sock: socket.socket, head: RequestHead, rest: bytes, lane: Lane) -> None:
    connection = EchoConnection(sock, lane)
    try:
        await connection.open(head)
        await connection.received(rest)
        await connection.read()
    finally:
        connection.end()


async def _no_http(stream: Any) -> None:
    stream.abort()
    await trio.lowlevel.checkpoint()


async def main() -> None:
    """Print the address, and echo until standard input ends."""
    config = load_config()
    broker = Broker(Window("e", 0, max_entries=10), wall_ms)
    wheel = Wheel(wall_ms, config)
    unused: Any = None
    async with trio.open_nursery() as nursery:
        lane = Lane(
            inbox=unused,
            broker=broker,
            keys=Keys(None),
            connections=Connections(10_000),
            wheel=wheel,
            nursery=nursery,
            clock=wall_ms,
            config=config,
            limits=GENEROUS,
        )
        door = Door(websocket=partial(serve_echo, lane=lane), sse=None, http=_no_http)
        listeners = open_listeners("127.0.0.1:0")
        nursery.start_soon(wheel.run)
        nursery.start_soon(partial(door.serve, listeners, connections=nursery))
        print(url_of(listeners[0]), flush=True)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
