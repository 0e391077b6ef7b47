"""Proxies as they stand between people and the internet: they know what a WebSocket is, or think so."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

Habit = Literal["refuses", "swallows", "buffers"]

_CHUNK = 65_536
#: A proxy that buffers passes on what has come when there is so much of it.
_BUFFERED = 1_000_000
_REFUSAL = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


@contextmanager
def proxy(target: int, habit: Habit) -> Iterator[str]:
    """The address of a proxy in front of a port of this machine; only WebSockets are treated by its habit."""
    stopping = threading.Event()
    sockets: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while not stopping.is_set():
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                sockets.append(client)
                threading.Thread(target=_serve, args=(client, target, habit, sockets), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stopping.set()
            for each in sockets:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()


def _serve(client: socket.socket, target: int, habit: Habit, sockets: list[socket.socket]) -> None:
    with suppress(OSError), client:
        head = client.recv(_CHUNK)
        upgrade = head.startswith(b"GET /ws")
        if upgrade and habit == "refuses":
            client.sendall(_REFUSAL)
            return
        with socket.create_connection(("127.0.0.1", target)) as server:
            sockets.append(server)
            server.sendall(head)
            threading.Thread(target=_carry, args=(client, server), daemon=True).start()
            if upgrade:
                client.sendall(_head(server))
                _hold(server, client, None if habit == "swallows" else _BUFFERED)
            else:
                _carry(server, client)


def _head(server: socket.socket) -> bytes:
    """The answer to the upgrade, byte by byte, so that no frame is taken with it."""
    head = b""
    while not head.endswith(b"\r\n\r\n") and (byte := server.recv(1)):
        head += byte
    return head


def _hold(source: socket.socket, sink: socket.socket, room: int | None) -> None:
    held = b""
    while data := source.recv(_CHUNK):
        if room is not None:
            held += data
            if len(held) >= room:
                sink.sendall(held)
                held = b""


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
