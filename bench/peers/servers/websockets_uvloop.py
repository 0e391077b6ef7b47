"""websockets' asyncio server on uvloop, with its own `broadcast`."""

from __future__ import annotations

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

from bench.peers.servers.triggers import announce, begin, client_socket, listen, port_of


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

    sock = client_socket()
    triggers = await listen(lambda: broadcast(clients, payload, text=True))
    async with serve(handler, sock=sock, compression=None, ping_interval=None, open_timeout=None) as server:
        announce(sock.getsockname()[1], port_of(triggers))
        await server.serve_forever()


uvloop.run(main())
