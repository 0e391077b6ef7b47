"""One client's plain non-blocking socket, with the bytes read ahead of their use."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING

import trio

from notifyd.transport.network import KERNEL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from notifyd.transport.network import Network

    _Until = Callable[[socket.socket], Awaitable[None]]

RECEIVE_BYTES = 64 * 1024
#: Seconds in which a client must take at least one byte of what is written to it.
WRITE_STALL_S = 20.0
#: Seconds that a client gets to read our last answer while its own bytes are thrown away.
LINGER_S = 2.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Wire:
    """Reads, writes and ends one connection. Only `abort` may be called while another task waits in it."""

    __slots__ = ("_closed", "_network", "buffer", "peer", "sock")

    def __init__(self, sock: socket.socket, peer: str, network: Network = KERNEL) -> None:
        self.sock = sock
        self._network = network
        self.peer = peer
        self.buffer = bytearray()
        self._closed = False

    async def receive(self) -> bool:
        """Wait for more bytes and put them into `buffer`; False when the client sends no more.

        Raises trio.BrokenResourceError when the connection is gone. Cancellation loses nothing. Not always
        a checkpoint.
        """
        while (received := self.receive_nowait()) is None:
            await self.wait_readable()
        return received

    async def wait_readable(self) -> None:
        """Wait until there is something to receive. Raises as `receive` does."""
        await self._wait(self._network.wait_readable)

    def receive_nowait(self) -> bool | None:
        """What `receive` does, or None when nothing is there yet."""
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            raise trio.BrokenResourceError("the connection is gone") from error
        self.buffer += data
        return bool(data)

    async def send_all(self, data: bytes) -> None:
        """Write `data`. Raises trio.BrokenResourceError when the client is gone or takes no byte for
        WRITE_STALL_S; the connection is reset then.

        Cancellation: some of the bytes may have left, so the connection is reset.
        """
        try:
            await trio.lowlevel.checkpoint()
            await self._send(memoryview(data))
        except BaseException:
            self.abort()
            raise

    async def _send(self, rest: memoryview) -> None:
        while rest:
            try:
                rest = rest[self.sock.send(rest) :]
            except BlockingIOError:
                with trio.move_on_after(WRITE_STALL_S) as patience:
                    await self._wait(self._network.wait_writable)
                if patience.cancelled_caught:
                    raise trio.BrokenResourceError("the client takes no bytes") from None
            except OSError as error:
                raise trio.BrokenResourceError("the connection is gone") from error

    async def _wait(self, until: _Until) -> None:
        try:
            await until(self.sock)
        except (trio.ClosedResourceError, OSError, ValueError) as error:  # aborted meanwhile
            raise trio.BrokenResourceError("the connection was aborted") from error

    def abort(self) -> None:
        """Reset the connection; whoever waits on it gets trio.BrokenResourceError."""
        if not self._closed:
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._close()

    def close(self) -> None:
        """End the connection; the kernel still delivers what it has taken."""
        if not self._closed:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)
            self._close()

    async def finish(self) -> None:
        """End the connection so that the client can still read what was sent last.

        Closing with unread bytes would make the kernel send a reset, which may overtake our answer
        (RFC 9112 section 9.6), so they are read and dropped for up to LINGER_S.
        """
        try:
            self.sock.shutdown(socket.SHUT_WR)
            with trio.move_on_after(LINGER_S):
                while await self.receive():
                    self.buffer.clear()
                    await trio.lowlevel.checkpoint()  # receive does not wait while bytes are there
        except (OSError, trio.BrokenResourceError):
            pass
        finally:
            self._close()

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._network.notify_closing(self.sock)
            self.sock.close()
