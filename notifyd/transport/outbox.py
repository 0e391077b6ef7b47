"""What goes out on one socket: order on the wire is order of calls, and nothing is cut by anything else.

Nothing here waits but `drain`. What the kernel does not take at once is kept, and that rest with whatever
small frames are sent after it is all an outbox ever holds: the connection asks for no more entries until it
is empty.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Final

import trio

from notifyd.transport.network import KERNEL

if TYPE_CHECKING:
    from notifyd.transport.network import Network

#: RFC 9293 section 3.10.4: a reset instead of a FIN, so that the kernel keeps nothing for a dead client.
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Outbox:
    """The sending half of a non-blocking socket, which it owns and closes.

    A chunk that was refused is offered again byte for byte before anything else, as an SSL socket wants it.
    """

    __slots__ = ("_network", "_queue", "accepted", "gone", "progress_at", "queued", "sock")

    def __init__(self, sock: socket.socket, network: Network = KERNEL) -> None:
        self.sock = sock
        self._network = network
        self.queued = 0  # bytes that wait here
        self.accepted = 0  # bytes the kernel has taken since the beginning
        self.progress_at = 0.0  # when a byte was last taken while others waited (monotonic seconds)
        self.gone = False
        self._queue: list[memoryview] | None = None

    def send(self, data: bytes) -> bool:
        """Put `data` behind everything sent before; whether the kernel has all of it now.

        A broken connection is reset and takes everything: there is nothing left to do for it.
        """
        if self._queue is None:
            taken = self.try_send(data)
            if taken == len(data) or self.gone:
                return True
            self._queue = [memoryview(data)[taken:]]
            self.queued = len(data) - taken
            self.progress_at = trio.current_time()
        elif data:  # an empty chunk would never be seen to be taken
            self._queue.append(memoryview(data))
            self.queued += len(data)
        return False

    def try_send(self, data: bytes | memoryview) -> int:
        """Offer `data` to the kernel and say how many bytes it took: possibly none. Never raises."""
        try:
            taken = self.sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:  # the client is gone, or we closed the socket
            self.reset()
            return 0
        self.accepted += taken
        return taken

    def flush(self) -> bool:
        """Offer what waits; whether nothing waits any more."""
        while self._queue is not None and not self.gone:
            chunk = self._queue[0]
            taken = self.try_send(chunk)
            if taken == 0:
                return self.gone
            self.progress_at = trio.current_time()
            self.queued -= taken
            if taken < len(chunk):
                self._queue[0] = chunk[taken:]
            elif len(self._queue) > 1:
                del self._queue[0]
            else:
                self._queue = None
        return True

    async def drain(self) -> None:
        """Wait until nothing waits, or the connection is gone.

        Cancellation: what waits goes on waiting; nothing is half taken.
        """
        await trio.lowlevel.checkpoint()
        while not self.flush():
            try:
                await self._network.wait_writable(self.sock)
            except (trio.ClosedResourceError, OSError, ValueError):  # closed meanwhile
                return

    def unacknowledged(self) -> int:
        """Bytes in the kernel's queue that the peer's kernel has not confirmed; 0 where it cannot be told."""
        return 0 if self.gone else self._network.unacknowledged(self.sock)

    def end_writing(self) -> None:
        """Tell the peer that no more comes; what the kernel has still goes out."""
        if not self.gone:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket; whoever waits on it gets trio.ClosedResourceError. What waits here is lost."""
        if not self.gone:
            self.gone = True
            self._queue = None
            self.queued = 0
            self._network.notify_closing(self.sock)
            self.sock.close()

    def reset(self) -> None:
        """Close at once and let the kernel forget what it still holds."""
        if not self.gone:
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.close()
