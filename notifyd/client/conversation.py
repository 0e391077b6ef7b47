"""One connection from the upgrade to its end, on trio-websocket."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, cast

import h11
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream
from wsproto.utilities import ProtocolError as WireError

from notifyd.client.policy import Ended, closed, lost, refused
from notifyd.errors import CloseCode, ProtocolError
from notifyd.messages import Cursor, Message, decode_server_message, encode_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from notifyd.client.dial import Address, WatchedStream

#: Seconds for the upgrade, and for the first message after it.
OPEN_SECONDS = 10.0
#: A server is gone when nothing was heard for two heartbeats and this many seconds.
SILENCE_SLACK_SECONDS = 5.0
#: Seconds between two messages of ours; the server allows twenty a second.
SEND_SPACING_SECONDS = 0.06
#: Seconds for the answer to our Close frame.
CLOSE_SECONDS = 2.0
MAX_MESSAGE_BYTES = 4 * 1024 * 1024

#: What trio-websocket's own task raises when the peer breaks off or breaks the rules.
_BREAKAGES = (
    ConnectionClosed,
    WireError,
    h11.ProtocolError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
)

log = logging.getLogger("notifyd.client")


class Owner(Protocol):
    """The client, as one of its conversations sees it."""

    @property
    def resume_from(self) -> str | None: ...
    @property
    def to_ack(self) -> Cursor | None: ...
    async def handle(self, message: Message, conversation: Conversation) -> None: ...
    async def next_outgoing(self) -> bytes: ...
    def sent(self) -> None: ...
    async def wait_handed_over(self) -> None: ...


class Conversation:
    """What lives as long as one connection."""

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._silence_s = OPEN_SECONDS
        self._established_at: float | None = None
        self._ended_at = 0.0
        self._paused = False
        self._resumed_at = 0.0
        self._acked: Cursor | None = None
        self.slot_s: float | None = None
        self.left = False

    def established(self, heartbeat_s: float) -> None:
        """Messages flow; from now on the server speaks at least every `heartbeat_s` seconds."""
        self._established_at = trio.current_time()
        self._silence_s = 2 * heartbeat_s + SILENCE_SLACK_SECONDS

    def lasted_s(self) -> float:
        """Seconds for which messages flowed."""
        return 0.0 if self._established_at is None else self._ended_at - self._established_at

    @contextmanager
    def paused(self) -> Iterator[None]:
        """We are not reading, so hearing nothing says nothing."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False
            self._resumed_at = trio.current_time()

    async def run(self, owner: Owner, stream: WatchedStream, address: Address, token: str) -> Ended:
        """Talk until it ends, however that is. Closes: nothing; the stream is the caller's.

        Cancellation: ends at once; the stream must then be closed forcefully.
        """
        ended = lost("connection lost")
        try:
            async with trio.open_nursery() as nursery:
                connection = await self._open(nursery, owner, stream, address, token)
                if connection is None:
                    ended = lost("no answer to the WebSocket handshake")
                else:
                    ended = await self._talk(owner, stream, connection)
                nursery.cancel_scope.cancel()
        except* ConnectionRejected as group:
            ended = _refusal(group)
        except* _BREAKAGES:
            pass
        finally:
            self._ended_at = trio.current_time()
        return ended

    async def _open(
        self, nursery: trio.Nursery, owner: Owner, stream: WatchedStream, address: Address, token: str
    ) -> WebSocketConnection | None:
        connection = None
        async with trio.open_nursery() as opening:
            opening.cancel_scope.deadline = trio.current_time() + OPEN_SECONDS
            # trio-websocket itself waits for ever when the peer leaves in the middle of the handshake
            opening.start_soon(_cancel_when, stream.ended, opening.cancel_scope)
            connection = await wrap_client_stream(
                nursery,
                cast("trio.SocketStream", stream),  # any trio.abc.Stream is accepted
                address.host_header,
                address.resource(owner.resume_from),
                extra_headers=[(b"Authorization", f"Bearer {token}".encode("ascii"))],
                max_message_size=MAX_MESSAGE_BYTES,
                receive_buffer_size=None,
            )
            opening.cancel_scope.cancel()
        return connection

    async def _talk(self, owner: Owner, stream: WatchedStream, connection: WebSocketConnection) -> Ended:
        ended = lost("connection lost")

        async def end_with(part: Awaitable[Ended | None]) -> None:
            nonlocal ended
            outcome = await part
            if outcome is not None:
                ended = outcome
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(end_with, self._read(owner, connection))
            nursery.start_soon(end_with, self._watch(stream))
            nursery.start_soon(end_with, self._send(owner, connection))
            nursery.start_soon(self._acknowledge, owner, connection)
        return ended

    async def _read(self, owner: Owner, connection: WebSocketConnection) -> Ended:
        while True:
            try:
                raw = await connection.get_message()
            except ConnectionClosed as end:
                return _closing(end)
            try:
                message = decode_server_message(raw)
            except ProtocolError as error:
                log.warning("a message was left out: %s", error)
                continue
            await owner.handle(message, self)

    async def _watch(self, stream: WatchedStream) -> Ended:
        while True:
            heard_at = max(stream.heard_at, self._resumed_at)
            left_s = heard_at + self._silence_s - trio.current_time()
            if left_s <= 0 and not self._paused:
                return lost(f"nothing heard for {self._silence_s:g} s")
            await trio.sleep(max(left_s, 1.0))

    async def _send(self, owner: Owner, connection: WebSocketConnection) -> Ended | None:
        try:
            while True:
                text = await owner.next_outgoing()
                await connection.send_message(text.decode())
                owner.sent()
                await trio.sleep(SEND_SPACING_SECONDS)
        except trio.EndOfChannel:
            self.left = True
            await self._goodbye(owner, connection)
            return closed(CloseCode.NORMAL, None)
        except ConnectionClosed:
            return None  # the reader says how it ended

    async def _goodbye(self, owner: Owner, connection: WebSocketConnection) -> None:
        with trio.move_on_after(CLOSE_SECONDS):
            await self._ack(owner, connection)
            await connection.aclose(CloseCode.NORMAL)

    async def _acknowledge(self, owner: Owner, connection: WebSocketConnection) -> None:
        """After a random second at most, so that a broadcast is not answered by thousands in one instant."""
        try:
            while True:
                await owner.wait_handed_over()
                await trio.sleep(self._draw())
                await self._ack(owner, connection)
        except ConnectionClosed:
            return

    async def _ack(self, owner: Owner, connection: WebSocketConnection) -> None:
        place = owner.to_ack
        if place is not None and place != self._acked:
            ack = {"type": "ack", "data": {"up_to": str(place)}}
            await connection.send_message(encode_json(ack).decode())
            self._acked = place


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def _closing(end: ConnectionClosed) -> Ended:
    if end.reason is None or end.reason.code == CloseCode.ABNORMAL:
        return lost("connection lost")
    return closed(end.reason.code, end.reason.reason)


def _refusal(group: BaseExceptionGroup[ConnectionRejected]) -> Ended:
    for error in group.exceptions:
        if isinstance(error, ConnectionRejected):
            headers = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in error.headers
            }
            return refused(error.status_code, headers, error.body)
        return _refusal(error)
    return lost("connection lost")
