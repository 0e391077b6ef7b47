"""A network made of memory: a server listens on it, clients connect to it, and it can lose the server."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final, cast

import trio

from notifyd.testing.pipes import MemorySocket, Weather, socket_pair
from notifyd.transport.network import Network

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

#: What listens when the configuration says port 0.
PORT: Final = 8000


class MemoryListener:
    """A listening socket; `MemoryNetwork.connect` puts connections into it."""

    family = socket.AF_INET

    def __init__(self, number: int, host: str, port: int) -> None:
        self.number = number
        self.closed = False
        self.waiting: list[MemorySocket] = []
        self.arrived = trio.lowlevel.ParkingLot()
        self._name = host, port

    def getsockname(self) -> tuple[str, int]:
        return self._name

    def fileno(self) -> int:
        return -1 if self.closed else self.number

    def accept(self) -> tuple[MemorySocket, tuple[str, int]]:
        if not self.waiting:
            raise BlockingIOError
        sock = self.waiting.pop(0)
        return sock, sock.getpeername()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.arrived.unpark_all()
            for sock in self.waiting:
                sock.reset()


class MemoryNetwork:
    """One server's network. `connect` gives a client its end; `weather` says what becomes of the bytes.

    `told` hears of every event: (what, number of the connection, bytes).
    """

    def __init__(self, rng: random.Random, told: Callable[[str, int, int], None] = lambda *_: None) -> None:
        self.weather = Weather(rng)
        self._rng = rng
        self._told = told
        self._count = 0
        self._listeners: dict[int, MemoryListener] = {}
        self._serving: list[MemorySocket] = []  # the server's ends

    # --- the client's side --------------------------------------------------------------------------------

    async def connect(self, port: int = PORT) -> MemoryStream:
        """A connection to whatever listens on `port`. Raises ConnectionRefusedError when nothing does."""
        await trio.sleep(self.weather.delay())
        listener = self._listeners.get(port)
        if listener is None or listener.closed:
            raise ConnectionRefusedError(f"nothing listens on port {port}")
        self._count += 1
        ours, theirs = socket_pair(self.weather, self._count)
        self._told("connect", self._count, 0)
        self._serving = [sock for sock in self._serving if not sock.closed] + [theirs]
        listener.waiting.append(theirs)
        listener.arrived.unpark_all()
        return MemoryStream(ours)

    # --- the server's side --------------------------------------------------------------------------------

    def for_server(self) -> Network:
        """What `Outside.network` wants."""
        return Network(
            listen=self._listen,
            wait_readable=cast("Any", self._wait_readable),
            wait_writable=cast("Any", wait_writable),
            notify_closing=cast("Any", self._notify_closing),
            unacknowledged=cast("Any", lambda sock: sock.outgoing.unconfirmed),
        )

    def kill(self) -> None:
        """The server's process is gone: what its kernel had taken still comes, or is lost with a reset."""
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        for sock in self._serving:
            if not sock.closed:
                self._told("killed", sock.number // 2, 0)
                if self._rng.random() < 0.5:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"")
                sock.close()
        self._serving.clear()

    def _listen(self, address: str) -> list[socket.socket]:
        host, _, port = address.rpartition(":")
        number = int(port) or PORT
        listener = self._listeners[number] = MemoryListener(10**6 + number, host, number)
        return [cast("socket.socket", listener)]

    async def _wait_readable(self, sock: MemorySocket | MemoryListener) -> None:
        if isinstance(sock, MemorySocket):
            await wait_readable(sock)
            self._told("readable", sock.number // 2, 0)
            return
        await trio.lowlevel.checkpoint()
        while not sock.waiting:
            if sock.closed:
                raise trio.ClosedResourceError
            await sock.arrived.park()

    def _notify_closing(self, sock: MemorySocket) -> None:
        """Closing itself wakes whoever waits."""
        self._told("close", sock.number // 2, 0)


async def wait_readable(sock: MemorySocket) -> None:
    """Return when `recv` would not block. Raises trio.ClosedResourceError."""
    await trio.lowlevel.checkpoint()
    while (at := sock.incoming.readable_at) > trio.current_time():
        if sock.closed:
            raise trio.ClosedResourceError
        with trio.move_on_at(at):
            await sock.incoming.moved.park()


async def wait_writable(sock: MemorySocket) -> None:
    """Return when `send` would not block. Raises trio.ClosedResourceError."""
    await trio.lowlevel.checkpoint()
    while sock.outgoing.room == 0:
        if sock.closed:
            raise trio.ClosedResourceError
        await sock.outgoing.moved.park()


class MemoryStream(trio.abc.HalfCloseableStream):
    """The client's end, as a Trio stream; `reset` ends it without a goodbye."""

    def __init__(self, sock: MemorySocket) -> None:
        self.sock = sock

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        rest = memoryview(bytes(data))
        while rest:
            try:
                rest = rest[self.sock.send(rest) :]
            except BlockingIOError:
                await wait_writable(self.sock)
            except OSError as error:
                raise self._broken(error) from error

    async def wait_send_all_might_not_block(self) -> None:
        await wait_writable(self.sock)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        while True:
            await wait_readable(self.sock)
            try:
                return self.sock.recv(max_bytes or 65536)
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._broken(error) from error

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()
        self.sock.outgoing.end()

    async def aclose(self) -> None:
        self.sock.close()
        await trio.lowlevel.checkpoint()

    def reset(self) -> None:
        """Leave as a crashed program does."""
        if not self.sock.closed:
            self.sock.reset()
            self.sock.close()

    def _broken(self, error: OSError) -> trio.ClosedResourceError | trio.BrokenResourceError:
        gone = trio.ClosedResourceError if self.sock.closed else trio.BrokenResourceError
        return gone(str(error))
