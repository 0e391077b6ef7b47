"""Many WebSocket clients in one process over raw epoll, counting frames by their headers alone."""

from __future__ import annotations

import contextlib
import resource
import select
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

RECEIVE_BYTES = 256 * 1024
#: Seconds without a byte after which a message counts as lost, and the run as failed.
LOST_AFTER_S = 20.0
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 section 1.3


class Client:
    """One socket and where in a frame its stream stands."""

    __slots__ = ("head", "missing", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.head = b""  # an incomplete frame header
        self.missing = 0  # payload bytes of the current frame still to come

    def frames(self, data: bytes) -> int:
        """How many text frames end in `data`."""
        count, at, end = 0, 0, len(data)
        if self.head:
            data, self.head = self.head + data, b""
            end = len(data)
        while at < end:
            if self.missing:
                taken = min(self.missing, end - at)
                self.missing -= taken
                at += taken
                count += not self.missing
                continue
            size = data[at + 1] & 0x7F if end - at > 1 else 0
            header = 2 + (2 if size == 126 else 8 if size == 127 else 0)
            if end - at < max(header, 2):
                self.head = data[at:]
                break
            self.missing = int.from_bytes(data[at + 2 : at + header], "big") if header > 2 else size
            at += header
            count += not self.missing
        return count


class Crowd:
    """Connects `count` clients to one address; `wait` says when each has got so many more frames."""

    def __init__(self, address: tuple[str, int], count: int, request: bytes) -> None:
        self._epoll = select.epoll()
        self._clients: dict[int, Client] = {}
        for _ in range(count):
            client = Client(_connect(address, request))
            client.sock.setblocking(False)
            self._clients[client.sock.fileno()] = client
            self._epoll.register(client.sock, select.EPOLLIN)

    def __len__(self) -> int:
        return len(self._clients)

    def wait(self, frames: int) -> None:
        """Read until `frames` text frames more have come in all. Raises RuntimeError when they do not."""
        clients, left = self._clients, frames
        while left > 0:
            events = self._epoll.poll(LOST_AFTER_S)
            if not events:
                raise RuntimeError(f"{left} of {frames} messages did not come: a message was lost")
            for number, _ in events:
                client = clients[number]
                data = client.sock.recv(RECEIVE_BYTES)
                if not data:
                    raise RuntimeError("the server closed a connection")
                left -= client.frames(data)
        if left < 0:
            raise RuntimeError(f"{-left} messages too many came: something was repeated")

    def close(self) -> None:
        for client in self._clients.values():
            client.sock.close()
        self._epoll.close()


def upgrade_request(host: str, token: str) -> bytes:
    """The opening handshake of RFC 6455 section 4.1 with a bearer token."""
    lines = [
        "GET /ws HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {_KEY}",
        "Sec-WebSocket-Version: 13",
        f"Authorization: Bearer {token}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def _connect(address: tuple[str, int], request: bytes) -> socket.socket:
    """A connected socket, read up to the end of the server's handshake answer and first message."""
    sock = socket.create_connection(address)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if request:
        sock.sendall(request)
        data = b""
        while b"connection-established" not in data or not data.endswith(b"}"):
            part = sock.recv(RECEIVE_BYTES)
            if not part:
                raise RuntimeError(f"the server refused a connection: {data[:200]!r}")
            data += part
    return sock


@contextlib.contextmanager
def crowd(address: tuple[str, int], count: int, request: bytes = b"") -> Iterator[Crowd]:
    """A crowd that is closed at the end; raises the limit of descriptors as far as allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    clients = Crowd(address, count, request)
    try:
        yield clients
    finally:
        clients.close()


def timed(seconds: float) -> Iterator[int]:
    """Counts up until `seconds` have passed."""
    until = time.perf_counter() + seconds
    number = 0
    while time.perf_counter() < until:
        yield number
        number += 1
