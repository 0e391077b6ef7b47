"""picows's core API on uvloop: sends that copy nothing, each frame's head written before the same buffer."""

from __future__ import annotations

import asyncio

import uvloop
from picows import WSListener, WSMsgType, WSTransport, ws_create_server

from bench.peers.servers.triggers import BACKLOG, HOST, announce, begin, listen, port_of

#: The room that `send_reuse_external_bytearray` asks for before the message.
HEAD_BYTES = 14


async def main() -> None:
    payload = begin()
    buffer = bytearray(HEAD_BYTES) + payload
    clients: set[WSTransport] = set()

    class Client(WSListener):
        def on_ws_connected(self, transport: WSTransport) -> None:
            clients.add(transport)

        def on_ws_disconnected(self, transport: WSTransport) -> None:
            clients.discard(transport)

    def broadcast() -> None:
        for client in clients:
            client.send_reuse_external_bytearray(WSMsgType.TEXT, buffer, HEAD_BYTES)

    server = await ws_create_server(
        lambda request: Client(), HOST, 0, backlog=BACKLOG, websocket_handshake_timeout=None
    )
    announce(port_of(server), port_of(await listen(broadcast)))
    await asyncio.Event().wait()


uvloop.run(main())
