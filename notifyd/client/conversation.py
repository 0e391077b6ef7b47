"""A connection over WebSocket, from the upgrade to its end, on trio-websocket."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

import h11
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream
from wsproto.utilities import ProtocolError as WireError

from notifyd.client.policy import Ended, closed, lost, refused
from notifyd.client.talk import MAX_MESSAGE_BYTES, Talk
from notifyd.errors import CloseCode
from notifyd.messages import encode_json

if TYPE_CHECKING:
    from notifyd.client.dial import WatchedStream
    from notifyd.client.policy import Transport
    from notifyd.client.talk import Owner

#: Seconds between two messages of ours; the server allows twenty a second.
SEND_SPACING_SECONDS = 0.06
#: Seconds for the answer to our Close frame.
CLOSE_SECONDS = 2.0

#: What trio-websocket's own task raises when the peer breaks off or breaks the rules.
_BREAKAGES = (
    ConnectionClosed,
    WireError,
    h11.ProtocolError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
)


class Conversation(Talk):
    """Both speak."""

    transport: ClassVar[Transport] = "websocket"
    _connection: WebSocketConnection

    async def _run(self, owner: Owner, stream: WatchedStream) -> Ended:
        ended = lost("connection lost")
        try:
            async with trio.open_nursery() as nursery:
                connection = await self._open(nursery, owner, stream)
                if connection is None:
                    ended = lost("no answer to the WebSocket handshake")
                else:
                    self._connection = connection
                    ended = await self._first_end(
                        self._read(owner),
                        self._watch(stream),
                        self._send(owner),
                        self._acknowledge(owner),
                        self._renew_while_open(),
                    )
                nursery.cancel_scope.cancel()
        except* ConnectionRejected as group:
            ended = _refusal(group)
        except* _BREAKAGES:
            pass
        return ended

    async def _open(
        self, nursery: trio.Nursery, owner: Owner, stream: WatchedStream
    ) -> WebSocketConnection | None:
        connection = None
        address = self.means.address
        async with trio.open_nursery() as opening:
            opening.cancel_scope.deadline = self._opened_at + self._patience_s
            # trio-websocket itself waits for ever when the peer leaves in the middle of the handshake
            opening.start_soon(_cancel_when, stream.ended, opening.cancel_scope)
            connection = await wrap_client_stream(
                nursery,
                cast("trio.SocketStream", stream),  # any trio.abc.Stream is accepted
                address.host_header,
                address.resource(owner.resume_from),
                extra_headers=[(b"Authorization", f"Bearer {self.token}".encode("ascii"))],
                max_message_size=MAX_MESSAGE_BYTES,
                receive_buffer_size=None,
            )
            opening.cancel_scope.cancel()
        return connection

    async def _read(self, owner: Owner) -> Ended:
        while True:
            try:
                raw = await self._connection.get_message()
            except ConnectionClosed as end:
                return _closing(end)
            await self._take(raw, owner)

    async def _send(self, owner: Owner) -> Ended | None:
        try:
            while True:
                message = await owner.next_outgoing()
                await self._say(message.type, message.data)
                owner.sent()
                await trio.sleep(SEND_SPACING_SECONDS)
        except trio.EndOfChannel:
            self.left = True
            await self._goodbye(owner)
            return closed(CloseCode.NORMAL, None)
        except ConnectionClosed:
            return None  # the reader says how it ended

    async def _say(self, type_: str, data: dict[str, object]) -> None:
        await self._connection.send_message(encode_json({"type": type_, "data": data}).decode())

    async def _goodbye(self, owner: Owner) -> None:
        with trio.move_on_after(CLOSE_SECONDS):
            await self._ack(owner)
            await self._connection.aclose(CloseCode.NORMAL)

    async def _acknowledge(self, owner: Owner) -> None:
        """After a random second at most, so that a broadcast is not answered by thousands in one instant."""
        try:
            while True:
                await owner.wait_handed_over()
                await trio.sleep(self.means.draw())
                await self._ack(owner)
        except ConnectionClosed:
            return

    async def _ack(self, owner: Owner) -> None:
        place = owner.to_ack
        if place is not None and place != self._acked:
            await self._say("ack", {"up_to": str(place)})
            self._acked = place

    async def _renew_while_open(self) -> None:
        try:
            await self._renew()
        except ConnectionClosed:
            return

    async def _send_fresh_token(self, token: str) -> bool:
        await self._say("auth", {"token": token})
        return True


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
