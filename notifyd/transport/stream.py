"""What the HTTP server sees of a connection: one request with its body, and the way back for the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import trio

from notifyd.errors import HttpError
from notifyd.transport.body import body_of
from notifyd.transport.refusal import RequestTimeout

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from notifyd.transport.head import RequestHead
    from notifyd.transport.wire import Wire

#: Seconds without a byte of an unfinished body.
BODY_STALL_S = 10.0
#: A client may end its sending side and still read, which looks the same as leaving: a request that is
#: not answered this many seconds later is given up.
HALF_CLOSED_S = 5.0
#: Bytes of later requests that are read while the answer is made.
MAX_AHEAD_BYTES = 64 * 1024


class DoorStream:
    """A stream of exactly one request. Its `turn` is cancelled when the request is over, however it ends."""

    def __init__(self, wire: Wire, head: RequestHead, *, is_last: Callable[[], bool]) -> None:
        self.socket: socket.socket = wire.sock
        self.head = head
        self.is_last = is_last
        self.turn = trio.CancelScope()
        #: What is wrong with the request, found after its head was released.
        self.fault: HttpError | None = None
        #: The first byte of the answer has been given to the HTTP server.
        self.started = False
        #: The answer is complete and the connection may carry another request.
        self.reusable = False
        self._wire = wire
        self._body = body_of(head)
        self._head_waits = True
        self._finishing = False
        self._ended = False

    # --- what the HTTP server calls --------------------------------------------------------------------

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The head, then pieces of the body; after that it waits until the client leaves.

        Raises trio.BrokenResourceError when the client has left or the HTTP server is done with it.
        """
        if self._ended:
            raise trio.ClosedResourceError("this request is over")
        if self._head_waits:
            self._head_waits = False
            return self.head.raw + self._take_body()
        if not self._body.complete:
            return await self._receive_body()
        await self._until_client_leaves()
        raise AssertionError("unreachable")

    async def send_all(self, data: bytes) -> None:
        """Write a part of the answer; a client that is gone or takes nothing ends the turn."""
        if self.fault is not None:
            raise trio.ClosedResourceError("the request was refused")
        try:
            await self._wire.send_all(data)
        except trio.BrokenResourceError:
            self.turn.cancel()
            raise

    async def send_eof(self) -> None:
        """The HTTP server will not read on; the door alone ends the connection."""
        self._ended = True

    async def aclose(self) -> None:
        """The HTTP server is done with the connection, which stays the door's."""
        self._ended = True
        if not self._finishing:
            self.turn.cancel()

    # --- what the adapter calls -------------------------------------------------------------------------

    def finishing(self) -> None:
        """The last part of the answer is being sent."""
        self._finishing = True

    def answered(self) -> None:
        """The last part of the answer was sent and the application has returned."""
        self.reusable = self._finishing and self._body.complete and not self._ended
        self.turn.cancel()

    def abort(self) -> None:
        """Reset the connection: the answer cannot be completed."""
        self._wire.abort()
        self.turn.cancel()

    # --- reading ------------------------------------------------------------------------------------------

    def _take_body(self) -> bytes:
        buffer = self._wire.buffer
        try:
            taken = self._body.feed(buffer)
        except HttpError as error:
            self._fail(error)
        piece = bytes(buffer[:taken])
        del buffer[:taken]
        return piece

    async def _receive_body(self) -> bytes:
        while not (piece := self._take_body()):
            with trio.move_on_after(BODY_STALL_S) as patience:
                if not await self._receive():
                    self._leave()
            if patience.cancelled_caught:
                self._fail(RequestTimeout("the body stopped coming"))
        return piece

    async def _until_client_leaves(self) -> None:
        """Ends by cancellation of the turn, or by _leave."""
        while len(self._wire.buffer) < MAX_AHEAD_BYTES:
            if not await self._receive():
                await trio.sleep(HALF_CLOSED_S)
                self._leave()
        await trio.sleep_forever()

    async def _receive(self) -> bool:
        try:
            return await self._wire.receive()
        except trio.BrokenResourceError:
            self._leave()

    def _leave(self) -> NoReturn:
        self.abort()
        raise trio.BrokenResourceError("the client has left")

    def _fail(self, error: HttpError) -> NoReturn:
        self.fault = error
        if self.started:  # half an answer cannot be taken back
            self.abort()
        self.turn.cancel()
        raise trio.BrokenResourceError("the request is malformed") from error
