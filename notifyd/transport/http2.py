"""HTTP/2 beside the door: the stream its server reads from, and `/events` as an ASGI app.

An SSE stream over HTTP/2 is the very SseConnection of HTTP/1, over a pair of local sockets: position, window,
pump, heartbeat and limits are one piece of code. When the HTTP/2 stream is not read, its flow control fills
the pair, and the connection falls behind like any other.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any, Final

import trio

from notifyd.errors import BadRequest
from notifyd.transport.head import RequestHead, from_behind, is_host
from notifyd.transport.listeners import SEND_BUFFER_BYTES
from notifyd.transport.refusal import NoRoom, answer_problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, MutableMapping

    from notifyd.transport.wire import Wire

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]
    StreamLane = Callable[[socket.socket, RequestHead, bytes], Coroutine[Any, Any, None]]

#: Seconds for the last bytes of a stream that has ended on our side.
FAREWELL_S: Final = 5.0
#: File descriptors of a stream, beside its connection's.
_DESCRIPTORS: Final = 2
_PIECE_BYTES: Final = 64 * 1024
#: RFC 9113 section 8.2.2: these have no place in HTTP/2.
_OF_HTTP1: Final = frozenset({b"connection", b"transfer-encoding"})


class Http2Stream:
    """A TLS connection as the HTTP/2 server wants it. The handshake has been made already."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.transport_stream = self
        self.socket = wire.sock

    async def do_handshake(self) -> None:
        await trio.lowlevel.checkpoint()

    def selected_alpn_protocol(self) -> str:
        return "h2"

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Some bytes; none when the client sends no more. Raises trio.BrokenResourceError."""
        await trio.lowlevel.checkpoint()
        if not self._wire.buffer and not await self._wire.receive():
            return b""
        data = bytes(self._wire.buffer)
        self._wire.buffer.clear()
        return data

    async def send_all(self, data: bytes) -> None:
        """Raises trio.BrokenResourceError for a client that is gone or takes nothing for long."""
        await self._wire.send_all(data)

    async def send_eof(self) -> None:
        """What `aclose` does is enough."""

    async def aclose(self) -> None:
        self._wire.close()
        await trio.lowlevel.checkpoint()


class StreamRoom:
    """Counts the streams of a whole server: each takes the room of two connections from its door.

    `limit` says how many connections there may be, `connections` how many there are. `on_refused` hears of
    each client that gets no stream: its address, the status and the problem's slug.
    """

    def __init__(
        self,
        limit: Callable[[], int],
        connections: Callable[[], int],
        on_refused: Callable[[str, int, str], None],
    ) -> None:
        self._limit = limit
        self._connections = connections
        self._on_refused = on_refused
        self._held = 0

    def left_for_connections(self) -> int:
        """The door's limit."""
        return self._limit() - self._held

    @contextlib.contextmanager
    def take(self, peer: str) -> Iterator[None]:
        """Count one stream of `peer` as long as the block. Raises NoRoom."""
        if self._connections() + self._held + _DESCRIPTORS > self._limit():
            self._on_refused(peer, NoRoom.status, NoRoom.slug)
            raise NoRoom
        self._held += _DESCRIPTORS
        try:
            yield
        finally:
            self._held -= _DESCRIPTORS


class EventsApp:
    """Serves `GET /events` by `lane` while there is `room`, and leaves everything else to `app`, but no
    WebSocket (RFC 8441)."""

    def __init__(self, app: AsgiApp, lane: StreamLane, trusted_hops: int, room: StreamRoom) -> None:
        self._app = app
        self._lane = lane
        self._trusted_hops = trusted_hops
        self._room = room

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        elif scope["type"] == "http" and not all(is_host(host) for host in _hosts(scope)):
            await answer_problem(send, BadRequest("the :authority is malformed"))
        elif scope["type"] == "http" and (scope["method"], scope["path"]) == ("GET", "/events"):
            head = from_behind(head_of(scope), self._trusted_hops)
            try:
                with self._room.take(head.peer):
                    await self._stream(head, receive, send)
            except NoRoom as error:
                await answer_problem(send, error)
        else:
            await self._app(scope, receive, send)

    async def _stream(self, head: RequestHead, receive: Receive, send: Send) -> None:
        answer = _Answer(send)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        end = trio.socket.from_stdlib_socket(theirs)
        async with trio.SocketStream(end) as stream, trio.open_nursery() as nursery:
            nursery.start_soon(self._serve, ours, head, nursery.cancel_scope)
            nursery.start_soon(answer.until_left, receive, nursery.cancel_scope)
            await answer.relay(stream)
            nursery.cancel_scope.cancel()
        await answer.end()

    async def _serve(self, sock: socket.socket, head: RequestHead, stream: trio.CancelScope) -> None:
        await self._lane(sock, head, b"")
        stream.deadline = min(stream.deadline, trio.current_time() + FAREWELL_S)


def _hosts(scope: Any) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"host"]


def head_of(scope: Any) -> RequestHead:
    """The head of an ASGI request, as HTTP/1.0 so that its answer is not chunked."""
    fields = tuple(
        (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]
    )
    named: dict[str, list[str]] = {}
    for name, value in fields:
        named.setdefault(name, []).append(value)
    client = scope.get("client")
    return RequestHead(
        method=scope["method"],
        path=scope["path"],
        query=scope["query_string"].decode("latin-1"),
        headers=fields,
        named=named,
        http_version=(1, 0),
        peer=str(client[0]) if client else "unix",
        raw=b"",
    )


class _Answer:
    """The answer of one stream, on its way to a client that may leave."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._unfinished = False

    async def until_left(self, receive: Receive, stream: trio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._unfinished = False
        stream.cancel()

    async def relay(self, stream: trio.SocketStream) -> None:
        """Pass on what comes on `stream`, head first; a stream that was reset is cut short."""
        data = b""
        with contextlib.suppress(trio.BrokenResourceError):
            while b"\r\n\r\n" not in data:
                piece = await stream.receive_some(_PIECE_BYTES)
                if not piece:
                    return
                data += piece
            head, _, body = data.partition(b"\r\n\r\n")
            await self._send(_start(head))
            self._unfinished = True
            while body or (body := await stream.receive_some(_PIECE_BYTES)):
                await self._send({"type": "http.response.body", "body": body, "more_body": True})
                body = b""

    async def end(self) -> None:
        """Tell a client that is still there that nothing follows, also when it took nothing for long."""
        if self._unfinished:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _start(head: bytes) -> Message:
    status, *lines = head.split(b"\r\n")
    fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    return {
        "type": "http.response.start",
        "status": int(status.split()[1]),
        "headers": [(name, value) for name, value in fields if name not in _OF_HTTP1],
    }
