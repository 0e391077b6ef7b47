"""One SSE stream (WHATWG HTML, section 9.2): the answer's head, then a single task that waits for its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from notifyd.auth import origin_allowed, request_facts
from notifyd.errors import HttpError, TooManyRequests, Unauthorized
from notifyd.messages import Ping, encode, parse_cursor
from notifyd.transport.actions import is_of_this_log
from notifyd.transport.connection import Connection, Lane
from notifyd.transport.heartbeat import TICK_S
from notifyd.transport.refusal import refusal
from notifyd.transport.strangers import failing_address

if TYPE_CHECKING:
    import socket

    from notifyd.auth import Identity
    from notifyd.broker.window import Framer
    from notifyd.errors import CloseCode
    from notifyd.transport.head import RequestHead
    from notifyd.transport.heartbeat import Probe

#: WHATWG HTML section 9.2.7: "every 15 seconds or so", against proxies that cut quiet connections.
COMMENT_S: Final = 15.0
#: Milliseconds that an EventSource waits before it comes back.
RETRY_MS: Final = 2000
#: Bytes a client may send on a stream, where it has nothing to say.
MAX_IGNORED_BYTES: Final = 64 * 1024

_COMMENT: Final = b":\n\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"


# --- the wire -----------------------------------------------------------------------------------------


def event(cursor: str | None, message: bytes) -> bytes:
    """One event without a name: `data:` on one line, `id:` where a client may resume."""
    line = message if b"\n" not in message and b"\r" not in message else b" ".join(message.splitlines())
    return b"data: %b\n\n" % line if cursor is None else b"id: %b\ndata: %b\n\n" % (cursor.encode(), line)


def chunk(data: bytes) -> bytes:
    """One chunk of RFC 9112 section 7.1."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def frame_plain(cursor: str, message: bytes) -> bytes:
    """The window's framer of SSE on HTTP/1.0, whose stream ends with the connection."""
    return event(cursor, message)


def frame_chunked(cursor: str, message: bytes) -> bytes:
    """The window's framer of SSE on HTTP/1.1."""
    return chunk(event(cursor, message))


def answer_head(head: RequestHead, lane: Lane) -> bytes:
    """The head of a stream's answer."""
    chunked = head.http_version >= (1, 1)
    lines = [
        "HTTP/1.1 200 OK",
        "Content-Type: text/event-stream; charset=utf-8",
        "Cache-Control: no-cache, no-transform",
        "X-Accel-Buffering: no",
        "Connection: close",
        *(["Transfer-Encoding: chunked"] if chunked else []),
        *(f"{name}: {value}" for name, value in _cross_origin(head, lane)),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _cross_origin(head: RequestHead, lane: Lane) -> list[tuple[str, str]]:
    """Let the page of an allowed origin read the stream, or why there is none (WHATWG Fetch, section 3.2)."""
    allowed = lane.config.allowed_origins
    origins = head.headers_named("origin")
    if not allowed or len(origins) != 1 or not origin_allowed(origins[0], "", allowed):
        return []
    return [
        ("Access-Control-Allow-Origin", origins[0]),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Expose-Headers", "Retry-After"),
        ("Vary", "Origin"),
    ]


# --- one stream ---------------------------------------------------------------------------------------


async def serve_sse(sock: socket.socket, head: RequestHead, rest: bytes, lane: Lane) -> None:
    """Serve a connection whose head asked for `/events`, until it ends. `rest`: bytes read after the head.

    Answers refusals itself. Closes: the socket, always. Raises nothing but trio.Cancelled.
    """
    connection = SseConnection(sock, lane, chunked=head.http_version >= (1, 1))
    try:
        await connection.open(head)
        del head  # it would live as long as the connection
        if await connection.heard(rest):
            del rest
            await connection.read()
    finally:
        connection.end()


def _identify(head: RequestHead, lane: Lane) -> Identity:
    facts = request_facts(
        method=head.method,
        query=head.query_params,
        headers=head.headers_named,
        carrier="stream",
        peer=head.peer,
    )
    return lane.keys.authenticate(facts, lane.clock())


def _cursor_of(head: RequestHead) -> str | None:
    """The header, which EventSource sends when it comes back, beats the query, which is still there then."""
    query = head.query_params
    return head.header("last-event-id") or query.get("last_event_id") or query.get("cursor") or None


def _refusal(refused: HttpError, head: RequestHead, lane: Lane) -> bytes:
    # RFC 9110 section 11.6.1: a 401 names a way to authenticate.
    ways = [("WWW-Authenticate", "Bearer")] if isinstance(refused, Unauthorized) else []
    return refusal(refused, [*ways, *_cross_origin(head, lane)])


class SseConnection(Connection):
    """A connection that only the server speaks on."""

    __slots__ = ("_chunked", "_ignored", "_ping_at", "framer")

    transport: ClassVar[str] = "sse"
    framer: Framer

    def __init__(self, sock: socket.socket, lane: Lane, *, chunked: bool) -> None:
        super().__init__(sock, lane)
        self.framer = frame_chunked if chunked else frame_plain
        self._chunked = chunked
        self._ignored = 0  # bytes that the client has sent
        self._ping_at = self._next_beat

    async def open(self, head: RequestHead) -> None:
        """Begin the stream: head, comment, `retry:` and `connection-established` in one write."""
        cursor = _cursor_of(head)
        try:
            identity = self._known(head)
            if not self.admit(identity):
                raise TooManyRequests("this user has too many connections")
            self.greeting = answer_head(head, self.lane) + self._cut(b":\nretry: %d\n\n" % RETRY_MS)
            await self.start_stream(cursor)
        except HttpError as refused:
            self.note_refusal(head.peer, refused.status, refused.slug)
            self.refuse(_refusal(refused, head, self.lane))
        else:
            self._acknowledge_resumed(cursor)

    def _known(self, head: RequestHead) -> Identity:
        """Raises TooManyRequests instead of Unauthorized for one failure too many."""
        try:
            return _identify(head, self.lane)
        except Unauthorized:
            self.lane.connections.strangers.failed(failing_address(head, self.lane))
            raise

    def _acknowledge_resumed(self, cursor: str | None) -> None:
        """An EventSource says nothing but where it goes on, which is what it has received."""
        proven = None if cursor is None else parse_cursor(cursor)
        if proven is not None and is_of_this_log(self, proven):
            self.lane.inbox.ack(self.user_id, self.id, proven.seq)

    async def heard(self, data: bytes) -> bool:
        """It is thrown away, up to a limit."""
        self._ignored += len(data)
        return self._ignored <= MAX_IGNORED_BYTES

    # --- writing ----------------------------------------------------------------------------------------

    def frame(self, cursor: str | None, message: bytes) -> bytes:
        return self._cut(event(cursor, message))

    def farewell(self, code: CloseCode) -> bytes:
        return _LAST_CHUNK if self._chunked else b""

    def _cut(self, data: bytes) -> bytes:
        return chunk(data) if self._chunked else data

    @property
    def beat_s(self) -> float:
        return min(COMMENT_S, self.lane.wheel.heartbeat_s)

    def beat(self, now: float) -> None:
        """A comment, and every so often a `ping` with an `id:`; not while messages wait."""
        if self.outbox.queued:
            return
        data = _COMMENT
        if now >= self._ping_at:
            # Counted from beat to beat, which come a little late.
            self._ping_at = now + self.lane.wheel.heartbeat_s - TICK_S
            cursor = self.cursor
            data += event(cursor, encode(Ping(cursor), self.lane.clock()))
        self.put(self._cut(data))
        self.begin_probe(now)

    def is_answered(self, probe: Probe, now: float) -> bool:
        """SSE has no answer; its client lives as long as the socket's queue gets shorter."""
        return probe.has_left(now, self.outbox.accepted, self.outbox.unacknowledged())
