"""websockets' Trio server, with its own `broadcast`."""

from __future__ import annotations

import functools

import trio
from websockets.trio.server import ServerConnection, broadcast, serve

from bench.peers.servers.triggers import BACKLOG, HOST, announce, begin
from bench.peers.servers.triggers_trio import serve_triggers


async def main() -> None:
    payload = begin()
    clients: set[ServerConnection] = set()

    async def handler(connection: ServerConnection) -> None:
        clients.add(connection)
        try:
            await connection.send("ready")
            await connection.wait_closed()
        finally:
            clients.discard(connection)

    async def broadcast_once() -> None:
        await broadcast(clients.copy(), payload, text=True)

    start = functools.partial(
        serve, handler, 0, host=HOST, backlog=BACKLOG, compression=None, ping_interval=None, open_timeout=None
    )
    async with trio.open_nursery() as nursery:
        server = await nursery.start(start)
        publish_port = await nursery.start(serve_triggers, broadcast_once)
        announce(server.listeners[0].socket.getsockname()[1], publish_port)


trio.run(main)
