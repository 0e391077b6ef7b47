"""One WebSocket (RFC 6455): the opening handshake, then a single task that reads its frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

import trio
from wsproto.connection import Connection as FrameReader
from wsproto.connection import ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from notifyd.auth import MissingToken, request_facts
from notifyd.errors import CloseCode, HttpError, StoreError, Unauthorized
from notifyd.keys import Revoked
from notifyd.messages import Ping as PingData
from notifyd.messages import error
from notifyd.session import State
from notifyd.transport.actions import perform
from notifyd.transport.connection import Connection, Lane
from notifyd.transport.frames import (
    PING_FRAME,
    are_whole,
    close_frame,
    close_reply,
    frame_entry,
    pong_frame,
    text_frame,
)
from notifyd.transport.handshake import accept_upgrade, refuse_upgrade
from notifyd.transport.strangers import failing_address

if TYPE_CHECKING:
    import socket

    from wsproto.events import Event

    from notifyd.auth import Identity
    from notifyd.transport.head import RequestHead
    from notifyd.transport.heartbeat import Probe

#: RFC 6455 section 7.1.5: what a Close without a code is recorded as, and never sent.
_NO_STATUS: Final = 1005


async def serve_websocket(sock: socket.socket, head: RequestHead, rest: bytes, lane: Lane) -> None:
    """Serve a connection whose first head asked for `/ws`, until it ends. `rest`: bytes read after the head.

    Answers refusals itself. Closes: the socket, always. Raises nothing but trio.Cancelled.
    """
    connection = WebSocketConnection(sock, lane, _cursor_of(head))
    try:
        await connection.open(head)
        del head  # it would live as long as the connection
        await connection.received(rest)
        del rest
        await connection.read()
    finally:
        connection.end()


def _identify(head: RequestHead, lane: Lane) -> Identity | Unauthorized:
    """Who it is; a browser cannot see a 401, so a token that is bad or missing is dealt with inside.

    Raises Forbidden for a page of a foreign origin, Unavailable, ….
    """
    facts = request_facts(
        method=head.method,
        query=head.query_params,
        headers=head.headers_named,
        carrier="websocket",
        peer=head.peer,
    )
    try:
        return lane.keys.authenticate(facts, lane.clock())
    except Unauthorized as refused:
        return refused


def _code_of(refused: Unauthorized) -> CloseCode:
    return CloseCode.REVOKED if isinstance(refused, Revoked) else CloseCode.BAD_TOKEN


def _cursor_of(head: RequestHead) -> str | None:
    query = head.query_params
    return query.get("last_event_id") or query.get("cursor") or None


class WebSocketConnection(Connection):
    """A connection that speaks both ways."""

    __slots__ = ("_cursor", "_deaf", "_fragments", "_heard", "_pinged", "_reader", "_size", "_text")

    transport: ClassVar[str] = "websocket"
    framer = staticmethod(frame_entry)

    def __init__(self, sock: socket.socket, lane: Lane, cursor: str | None = None) -> None:
        super().__init__(sock, lane)
        self._cursor = cursor
        #: Only while a frame or message is incomplete: it is a quarter of an idle connection's memory.
        self._reader: FrameReader | None = None
        self._deaf = False  # what the client still sends is thrown away
        self._text = ""
        self._size = self._fragments = 0
        self._heard = False
        self._pinged = -1

    # --- beginning --------------------------------------------------------------------------------------

    async def open(self, head: RequestHead) -> None:
        """Answer the handshake and, for a client that is known, begin the stream in the same write."""
        try:
            self.greeting = accept_upgrade(head)
            identity = _identify(head, self.lane)
            self._count(head, identity)
        except HttpError as refused:
            self.note_refusal(head.peer, refused.status, refused.slug)
            self._deaf = True
            self.refuse(refuse_upgrade(refused))
            return
        if isinstance(identity, MissingToken):
            self.put(self.greeting)
            self.greeting = b""
            self.reschedule()
        elif isinstance(identity, Unauthorized):
            self.note_refusal(head.peer, 101, identity.slug)
            self.close(_code_of(identity), error("unauthorized", identity.detail))
        elif self.admit(identity):
            await self._begin()
        else:
            self.close(CloseCode.CONNECTION_LIMIT)

    def _count(self, head: RequestHead, identity: Identity | Unauthorized) -> None:
        """Raises TooManyRequests for one failure too many, Unavailable when too many owe their token."""
        if isinstance(identity, MissingToken):
            self.lane.connections.strangers.admit(self.id, failing_address(head, self.lane))
        elif isinstance(identity, Unauthorized):
            self.lane.connections.strangers.failed(failing_address(head, self.lane))

    async def _begin(self) -> None:
        cursor, self._cursor = self._cursor, None
        try:
            await self.start_stream(cursor)
        except StoreError as fault:
            self.close(CloseCode.TRY_AGAIN_LATER, error("unavailable", fault.detail))

    # --- reading ----------------------------------------------------------------------------------------

    async def heard(self, data: bytes) -> bool:
        self._heard = True
        await self.received(data)
        return True

    async def received(self, data: bytes) -> None:
        """Act on bytes of the client. What they cause ends this connection at worst."""
        if self._deaf or not data:
            return
        try:
            await self._read_frames(data)
        except Exception as fault:
            self._go_deaf()
            self.fail(fault)

    async def _read_frames(self, data: bytes) -> None:
        whole = self._reader is None and are_whole(data)
        reader = self._reader = self._reader or FrameReader(ConnectionType.SERVER)
        reader.receive_data(data)
        for event in reader.events():
            self._obey(event, reader)
            if self._deaf:
                return
            if self.position < 0 and self.session.state is State.OPEN:
                await self._begin()
        if whole and not self._fragments:
            self._reader = None

    def _go_deaf(self) -> None:
        self._deaf = True
        self._reader = None
        self._text = ""

    def _obey(self, event: Event, reader: FrameReader) -> None:
        match event:
            case CloseConnection():
                if reader.state is ConnectionState.OPEN:  # its verdict, not the client's Close
                    bad_text = event.code == CloseCode.INVALID_TEXT
                    self._break(CloseCode.INVALID_TEXT if bad_text else CloseCode.PROTOCOL_ERROR)
                else:
                    self._closed_by(event)
            case _ if self.closing:
                pass
            case TextMessage():
                self._read_text(event)
            case BytesMessage():
                self._break(CloseCode.UNSUPPORTED_DATA)
            case Ping(payload):
                perform(self, self.session.control_frame(trio.current_time()))
                if not self.closing:
                    self.put(pong_frame(bytes(payload)))
            case Pong():
                perform(self, self.session.control_frame(trio.current_time()))
                perform(self, self.session.pong())

    def _read_text(self, event: TextMessage) -> None:
        self._size += len(event.data) if event.data.isascii() else len(event.data.encode())
        self._fragments += event.frame_finished
        limits = self.lane.limits
        if self._size > limits.max_message_bytes or self._fragments > limits.max_message_fragments:
            self._break(CloseCode.TOO_BIG)
            return
        self._text += event.data
        if event.message_finished:
            text, self._text = self._text, ""
            self._size = self._fragments = 0
            perform(self, self.session.handle(text, trio.current_time()))

    def _closed_by(self, event: CloseConnection) -> None:
        """The client's Close: the answer to ours, or one to be answered."""
        self._go_deaf()
        if self.closing:
            self.outbox.end_writing()
        else:
            self.close_code = int(event.code)
            self.finish(close_reply(None if event.code == _NO_STATUS else int(event.code)))

    def _break(self, code: CloseCode) -> None:
        """Close, and read no more frames: what follows is thrown away unread."""
        self._go_deaf()
        if self.closing:
            self.outbox.end_writing()
        else:
            self.close(code)

    # --- writing ----------------------------------------------------------------------------------------

    def frame(self, cursor: str | None, message: bytes) -> bytes:
        return text_frame(message)

    def farewell(self, code: CloseCode) -> bytes:
        return close_frame(code)

    def written(self) -> None:
        if self._deaf:  # no Close of the client is waited for
            self.outbox.end_writing()

    @property
    def beat_s(self) -> float:
        return self.lane.wheel.heartbeat_s

    def beat(self, now: float) -> None:
        """A Ping frame and a `ping` message, unless messages wait: then those are the question."""
        if self.outbox.queued:
            return
        self._heard = False
        self._pinged = self.reached
        self.put(PING_FRAME + self.own(PingData(self.cursor)))
        self.begin_probe(now)

    def is_answered(self, probe: Probe, now: float) -> bool:
        probe.has_left(now, self.outbox.accepted, self.outbox.unacknowledged())
        return self._heard

    def acknowledge_pinged(self) -> None:
        if self._pinged >= 0:
            self.lane.inbox.ack(self.user_id, self.id, self._pinged)
            self._pinged = -1
