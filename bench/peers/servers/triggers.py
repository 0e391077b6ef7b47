"""What the asyncio servers share: the ports, and a broadcast for each byte on the publish port."""

from __future__ import annotations

import asyncio
import resource
import socket
import sys
from typing import TYPE_CHECKING

from bench.peers.peer import payload

if TYPE_CHECKING:
    from collections.abc import Callable

BACKLOG = 4096
HOST = "127.0.0.1"


def begin() -> bytes:
    """Allow as many descriptors as may be; the payload that the command line asks for."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return payload(int(sys.argv[1]))


def client_socket() -> socket.socket:
    """A free port, listening."""
    return socket.create_server((HOST, 0), backlog=BACKLOG)


def announce(client_port: int, publish_port: int) -> None:
    print(f"READY {client_port} {publish_port}", flush=True)


class _Triggers(asyncio.Protocol):
    def __init__(self, broadcast: Callable[[], None]) -> None:
        self._broadcast = broadcast

    def data_received(self, data: bytes) -> None:
        for _ in data:
            self._broadcast()


async def listen(broadcast: Callable[[], None]) -> asyncio.Server:
    """The publish port of an asyncio server."""
    return await asyncio.get_running_loop().create_server(lambda: _Triggers(broadcast), HOST, 0)


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])
