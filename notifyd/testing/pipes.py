"""Sockets made of memory: two byte queues with bounded buffers, and all that can go wrong between them.

`MemorySocket` has the methods of a non-blocking `socket.socket` that notifyd uses, and raises what the kernel
would. Like TCP it never reorders, changes or drops what was sent; bytes come later, in pieces, or not at all
because the connection was reset.
"""

from __future__ import annotations

import math
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import trio

if TYPE_CHECKING:
    import random

#: Bytes that the sender's side and the receiver's side of one direction hold at most, each.
BUFFER_BYTES: Final = 16 * 1024


class Weather:
    """How the network behaves, for every connection, now; fields may be changed at any time.

    `latency_s`: a chunk comes up to so many seconds later. `cut_chance`: how probably a send takes only a
    part of what it is offered, although there is room. `buffer_bytes`: of one side of a direction.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.latency_s = 0.002
        self.cut_chance = 0.1
        self.buffer_bytes = BUFFER_BYTES

    def delay(self) -> float:
        return self.rng.random() * self.latency_s

    def accepted(self, offered: int) -> int:
        """How many of so many bytes one send takes, where there is room for all."""
        if offered > 1 and self.rng.random() < self.cut_chance:
            return self.rng.randrange(1, offered)
        return offered


class Pipe:
    """One direction: bytes on their way, in chunks with the moment at which each comes."""

    def __init__(self, weather: Weather) -> None:
        self._weather = weather
        self._chunks: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._last = -math.inf  # when what was sent last arrives
        self._ends_at = math.inf  # when the receiver sees that no more comes
        self.is_reset = False
        self.is_abandoned = False  # nobody will read it any more
        self.moved = trio.lowlevel.ParkingLot()  # whoever waits for something to change

    @property
    def room(self) -> int:
        """Bytes that the sender's side would take now."""
        return max(2 * self._weather.buffer_bytes - self._size, 0)

    @property
    def holds_any(self) -> bool:
        """Whether anything is on its way or unread."""
        return bool(self._chunks)

    @property
    def has_ended(self) -> bool:
        return self._ends_at < math.inf

    def put(self, data: bytes | memoryview) -> int:
        taken = self._weather.accepted(min(len(data), self.room))
        self._last = max(self._last, trio.current_time() + self._weather.delay())
        self._chunks.append((self._last, bytes(data[:taken])))
        self._size += taken
        self.moved.unpark_all()
        return taken

    def take(self, most: int) -> bytes:
        """What has arrived; empty at the end. Raises BlockingIOError when nothing has."""
        now = trio.current_time()
        if not self._chunks:
            if self._ends_at <= now:
                return b""
            raise BlockingIOError
        arrival, data = self._chunks[0]
        if arrival > now:
            raise BlockingIOError
        if len(data) > most:
            self._chunks[0] = arrival, data[most:]
            data = data[:most]
        else:
            self._chunks.popleft()
        self._size -= len(data)
        self.moved.unpark_all()
        return data

    def end(self) -> None:
        """No more is sent; what is on its way still comes."""
        if not self.has_ended:
            self._ends_at = max(self._last, trio.current_time() + self._weather.delay())
            self.moved.unpark_all()

    def reset(self) -> None:
        """What is on its way is lost, and both sides are told."""
        self.is_reset = True
        self._chunks.clear()
        self._size = 0
        self.moved.unpark_all()

    @property
    def readable_at(self) -> float:
        """The moment from which `take` gives something."""
        if self.is_reset:
            return -math.inf
        return self._chunks[0][0] if self._chunks else self._ends_at

    @property
    def unconfirmed(self) -> int:
        """Bytes that have not reached the receiver's side, or for which it has no room."""
        now = trio.current_time()
        arrived = sum(len(data) for arrival, data in self._chunks if arrival <= now)
        return self._size - min(arrived, self._weather.buffer_bytes)


class MemorySocket:
    """One end of a connection. `family` and the names are what an IPv4 socket would say."""

    family = socket.AF_INET

    def __init__(self, number: int, name: tuple[str, int], peer: tuple[str, int]) -> None:
        self.number = number
        self.closed = False
        self._name, self._peer = name, peer
        self._lingers = True
        self.incoming: Pipe
        self.outgoing: Pipe

    def fileno(self) -> int:
        return -1 if self.closed else self.number

    def getsockname(self) -> tuple[str, int]:
        return self._name

    def getpeername(self) -> tuple[str, int]:
        return self._peer

    def setblocking(self, flag: bool) -> None:
        assert not flag, "only non-blocking sockets are made of memory"

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        if (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER):
            self._lingers = False  # closing resets

    def send(self, data: bytes | memoryview) -> int:
        self._check()
        if self.outgoing.has_ended:
            raise BrokenPipeError("the writing half is shut")
        if not data:
            return 0
        if self.outgoing.is_abandoned:  # the peer's kernel answers with a reset
            self.reset()
            return len(data)
        if self.outgoing.room == 0:
            raise BlockingIOError
        return self.outgoing.put(data)

    def recv(self, size: int) -> bytes:
        self._check()
        return self.incoming.take(size)

    def recv_into(self, buffer: memoryview) -> int:
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def shutdown(self, how: int) -> None:
        self._check()
        assert how == socket.SHUT_WR, "only the writing half is ever shut"
        self.outgoing.end()

    def close(self) -> None:
        """As TCP does it: with bytes unread, or lingering off, the other side gets a reset."""
        if self.closed:
            return
        self.closed = True
        self.incoming.is_abandoned = True
        if not self._lingers or self.incoming.holds_any:
            self.reset()
        else:
            self.outgoing.end()
            self.incoming.moved.unpark_all()
            self.outgoing.moved.unpark_all()

    def reset(self) -> None:
        """Break both directions."""
        self.outgoing.reset()
        self.incoming.reset()

    def _check(self) -> None:
        if self.closed:
            raise OSError(9, "the socket is closed")
        if self.incoming.is_reset:
            raise ConnectionResetError("the connection was reset")


def socket_pair(weather: Weather, number: int) -> tuple[MemorySocket, MemorySocket]:
    """The client's and the server's end of a new connection."""
    client_name, server_name = ("127.0.0.1", 40_000 + number), ("127.0.0.1", 80)
    client = MemorySocket(2 * number, client_name, server_name)
    server = MemorySocket(2 * number + 1, server_name, client_name)
    client.outgoing = server.incoming = Pipe(weather)
    server.outgoing = client.incoming = Pipe(weather)
    return client, server
