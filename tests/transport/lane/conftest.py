"""A fast lane over a fake inbox and the real broker, with clients on real sockets in virtual time."""

from __future__ import annotations

import json
import socket
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from wsproto.connection import Connection as Frames
from wsproto.connection import ConnectionState, ConnectionType
from wsproto.events import CloseConnection, Ping, Pong, TextMessage

from notifyd.auth import TokenVerifier, mint_token
from notifyd.broker.memory import Broker
from notifyd.broker.window import Window
from notifyd.config import load_config
from notifyd.inbox import Resumption
from notifyd.keys import Keys
from notifyd.messages import Cursor, parse_cursor
from notifyd.store.base import Entry, LogPage
from notifyd.transport.connection import Connections, Lane
from notifyd.transport.head import parse_head
from notifyd.transport.heartbeat import Wheel
from notifyd.transport.sse import serve_sse
from notifyd.transport.websocket import serve_websocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from wsproto.events import Event

SECRET = "a-secret-of-the-tests-of-the-fast-lane"
EPOCH = "e1"
BASE_MS = 1_700_000_000_000
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
#: Virtual seconds after which a test has failed.
PATIENCE_S = 600


def clock() -> int:
    return BASE_MS + round(trio.current_time() * 1000)


async def _nothing() -> None:
    await trio.lowlevel.checkpoint()


@dataclass
class FakeInbox:
    """A log in memory; `before_answer` runs between a question and its answer, where others may publish."""

    entries: list[Entry] = field(default_factory=list)
    epoch: str = EPOCH
    acks: list[tuple[str, int]] = field(default_factory=list)
    marks: list[tuple[str, str, Any, int | None]] = field(default_factory=list)
    pages: int = 0
    before_answer: Callable[[], Awaitable[None]] = _nothing
    before_mark: Callable[[], Awaitable[None]] = _nothing

    @property
    def head(self) -> int:
        return self.entries[-1].seq if self.entries else 0

    async def resume(
        self, user_id: str, cursor: str | None, *, window_floor: int, limit_bytes: int = 1 << 18
    ) -> Resumption:
        await self.before_answer()
        if cursor is None:
            return Resumption(self.head, recovered=False, reason="no-cursor")
        parsed = parse_cursor(cursor)
        if parsed is None:
            return Resumption(self.head, recovered=False, reason="malformed")
        if parsed.epoch != EPOCH:
            return Resumption(self.head, recovered=False, reason="other-epoch")
        if parsed.seq > self.head:
            return Resumption(self.head, recovered=False, reason="future")
        if parsed.seq >= window_floor:
            return Resumption(parsed.seq, recovered=True, reason=None)
        page = await self.page(user_id, parsed.seq, limit_bytes=limit_bytes)
        return Resumption(parsed.seq, recovered=True, reason=None, page=page)

    async def page(
        self, user_id: str, after: int, *, limit_bytes: int = 1 << 18, limit_rows: int = 500
    ) -> LogPage:
        self.pages += 1
        found = [entry for entry in self.entries if entry.seq > after and entry.user_id in (user_id, None)]
        page = LogPage(found[:limit_rows], self.head, complete=len(found) <= limit_rows)
        await self.before_answer()
        return page

    async def mark(
        self, user_id: str, state: str, *, notification_ids: Any = None, up_to: int | None = None
    ) -> None:
        await self.before_mark()
        self.marks.append((user_id, state, notification_ids, up_to))

    def ack(self, user_id: str, connection_id: str, seq: int, *, prompt: bool = False) -> None:
        self.acks.append((user_id, seq))


class Client:
    """The other end of the server's socket: sends and reads raw bytes."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = trio.socket.from_stdlib_socket(sock)
        self.reset = False

    async def send(self, data: bytes) -> None:
        with memoryview(data) as rest:
            sent = 0
            while sent < len(data):
                sent += await self.sock.send(rest[sent:])

    async def receive(self, size: int = 1 << 16) -> bytes:
        """Some bytes; none when the connection has ended."""
        with trio.fail_after(PATIENCE_S):
            try:
                return await self.sock.recv(size)
            except ConnectionError:
                self.reset = True
                return b""

    async def flood(self, data: bytes, *, times: int, every: float = 0.0) -> bool:
        """Send `data` again and again; whether the server ended the connection meanwhile."""
        try:
            for _ in range(times):
                await self.send(data)
                await trio.sleep(every)
        except OSError:
            return True
        return False

    async def receive_until(self, end: bytes) -> bytes:
        data = b""
        while not data.endswith(end):
            piece = await self.receive(1)
            assert piece, f"ended after {data!r}"
            data += piece
        return data

    async def rest(self) -> bytes:
        """Everything until the connection has ended."""
        data = b""
        while piece := await self.receive():
            data += piece
        return data

    def close(self) -> None:
        self.sock.close()  # the other side sees it at once


class WebSocketClient(Client):
    """A client by wsproto's frames, which answers pings unless it is told not to."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.frames = Frames(ConnectionType.CLIENT)
        self.answers = True
        self.answer = b""
        self.ended = False
        self._events: list[Event] = []

    async def begin(self) -> None:
        self.answer = await self.receive_until(b"\r\n\r\n")

    async def event(self) -> Event | None:
        """The next whole event; None when the connection ended without one."""
        text = ""
        while True:
            while self._events:
                event = self._events.pop(0)
                if isinstance(event, Ping) and self.answers:
                    with suppress(OSError):
                        await self.send(self.frames.send(Pong(event.payload)))
                if isinstance(event, TextMessage):
                    text += event.data
                    if not event.message_finished:
                        continue
                    return TextMessage(text)
                return event
            data = await self.receive()
            if not data:
                self.ended = True
                return None
            self.frames.receive_data(data)
            self._events += self.frames.events()

    async def message(self, *, pings: bool = False) -> dict[str, Any]:
        """The next message; `ping` ones only when asked for."""
        while True:
            event = await self.event()
            assert event is not None, "the connection ended"
            if isinstance(event, TextMessage):
                message: dict[str, Any] = json.loads(event.data)
                if pings or message["type"] != "ping":
                    return message
            else:
                assert isinstance(event, Ping), event

    async def say(self, type_: str, **data: Any) -> None:
        await self.send_text(json.dumps({"type": type_, "data": data}))

    async def send_text(self, text: str) -> None:
        await self.send(self.frames.send(TextMessage(text)))

    async def closed(self) -> int | None:
        """The code of the server's Close after whatever came before it; None when there was none.

        Answers the Close and waits until the socket has ended.
        """
        code = None
        while (event := await self.event()) is not None:
            if isinstance(event, CloseConnection):
                code = int(event.code)
                break
        if code is not None and self.frames.state is ConnectionState.REMOTE_CLOSING:
            with suppress(OSError):
                await self.send(self.frames.send(CloseConnection(code)))
        assert await self.rest() == b"", "something came after the Close"
        return code


class SseClient(Client):
    """A client that takes a stream apart: chunks first, when there are any."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.head = ""
        self.body = b""
        self.complete = False
        self.events: list[tuple[str | None, dict[str, Any]]] = []
        self.comments = 0
        self._raw = b""
        self._chunked = False

    async def begin(self) -> None:
        self.head = (await self.receive_until(b"\r\n\r\n")).decode("latin-1")
        self._chunked = "transfer-encoding: chunked" in self.head.lower()

    async def block(self) -> list[bytes] | None:
        """The lines of the next block; None when the stream has ended."""
        while b"\n\n" not in self.body:
            data = await self.receive()
            if not data:
                return None
            self._raw += data
            self._dechunk()
        block, self.body = self.body.split(b"\n\n", 1)
        return block.split(b"\n")

    def _dechunk(self) -> None:
        if not self._chunked:
            self.body, self._raw = self.body + self._raw, b""
        while self._chunked and b"\r\n" in self._raw:
            size, rest = self._raw.split(b"\r\n", 1)
            count = int(size, 16)
            if len(rest) < count + 2:
                return
            assert rest[count : count + 2] == b"\r\n"
            self.body += rest[:count]
            self._raw = rest[count + 2 :]
            self.complete = count == 0

    async def event(self) -> tuple[str | None, dict[str, Any]] | None:
        """The id and message of the next event; None when the stream has ended."""
        while (lines := await self.block()) is not None:
            found = dict(line.split(b": ", 1) for line in lines if b": " in line)
            self.comments += sum(line.startswith(b":") for line in lines)
            if b"data" in found:
                id_ = found[b"id"].decode() if b"id" in found else None
                return id_, json.loads(found[b"data"])
        return None

    async def message(self, *, pings: bool = False) -> dict[str, Any]:
        while True:
            event = await self.event()
            assert event is not None, "the stream ended"
            if pings or event[1]["type"] != "ping":
                return event[1]


@dataclass
class World:
    """A lane with all that belongs to it."""

    lane: Lane
    inbox: FakeInbox
    broker: Broker
    nursery: trio.Nursery
    done: list[str] = field(default_factory=list)
    sockets: list[socket.socket] = field(default_factory=list)

    def token(self, user_id: str = "ann", ttl_s: float = 3600, secret: str = SECRET) -> str:
        return mint_token(secret, user_id, now_ms=clock(), ttl_s=ttl_s)

    def publish(self, user_id: str | None = "ann", count: int = 1, size: int = 0) -> list[str]:
        """Commit entries; their cursors."""
        new = []
        for _ in range(count):
            seq = self.inbox.head + 1
            data = json.dumps({"notification_id": f"n{seq}", "message": f"m{seq}" + "x" * size}).encode()
            entry = Entry(seq, user_id, "system-message", data, clock(), None, f"n{seq}")
            self.inbox.entries.append(entry)
            new.append(entry)
        self.broker.publish(new)
        return [str(Cursor(EPOCH, entry.seq)) for entry in new]

    async def empty(self, patience_s: float = PATIENCE_S) -> float:
        """Wait until every connection has ended; the virtual seconds that took."""
        start = trio.current_time()
        for _ in range(round(patience_s / 0.05)):
            if not self.lane.connections:
                return trio.current_time() - start
            await trio.sleep(0.05)
        raise AssertionError(f"{len(self.lane.connections)} connections are left")

    def start(
        self,
        target: str,
        headers: Sequence[tuple[str, str]] = (),
        *,
        rest: bytes = b"",
        version: str = "1.1",
        send_buffer: int = 0,
        peer: str = "127.0.0.1",
    ) -> socket.socket:
        """Begin serving a request; the client's end of the connection."""
        ours, theirs = socket.socketpair()
        self.sockets.append(theirs)
        ours.setblocking(False)
        theirs.setblocking(False)
        if send_buffer:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        fields = [("Host", "notify.example"), *headers]
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        head = parse_head(f"GET {target} HTTP/{version}\r\n{lines}\r\n".encode("latin-1"), peer)
        serve = serve_sse if head.path == "/events" else serve_websocket
        self.nursery.start_soon(self._serve, partial(serve, ours, head, rest, self.lane), target)
        return theirs

    async def _serve(self, serve: Callable[[], Awaitable[None]], target: str) -> None:
        await serve()
        self.done.append(target)

    async def websocket(
        self, user_id: str | None = "ann", cursor: str | None = None, **given: Any
    ) -> WebSocketClient:
        """A connection whose 101 has been read; without a token when `user_id` is None."""
        token = "" if user_id is None else f"token={self.token(user_id, given.pop('ttl_s', 3600))}"
        resume = "" if cursor is None else f"&last_event_id={cursor}"
        return await self.raw_websocket(f"/ws?{token}{resume}", **given)

    async def raw_websocket(
        self, target: str, headers: Sequence[tuple[str, str]] = (), **given: Any
    ) -> WebSocketClient:
        client = WebSocketClient(self.start(target, [*upgrade_fields(), *headers], **given))
        await client.begin()
        return client

    async def sse(
        self,
        user_id: str = "ann",
        cursor: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        **given: Any,
    ) -> SseClient:
        """A stream whose head has been read."""
        resume = "" if cursor is None else f"&last_event_id={cursor}"
        ttl_s = given.pop("ttl_s", 3600)
        return await self.raw_sse(f"/events?token={self.token(user_id, ttl_s)}{resume}", headers, **given)

    async def raw_sse(self, target: str, headers: Sequence[tuple[str, str]] = (), **given: Any) -> SseClient:
        client = SseClient(self.start(target, headers, **given))
        await client.begin()
        return client


def upgrade_fields(key: str = KEY, version: str = "13") -> list[tuple[str, str]]:
    return [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Version", version),
    ]


@pytest.fixture
def open_world(autojump_clock: trio.testing.MockClock) -> Callable[..., AbstractAsyncContextManager[World]]:
    """Opens a lane; `window` is how many entries the window holds, the rest are settings."""

    @asynccontextmanager
    async def opened(*, window: int = 1000, jobs: bool = True, **settings: Any) -> AsyncIterator[World]:
        config = load_config(**settings)
        inbox = FakeInbox()
        broker = Broker(Window(EPOCH, 0, max_entries=window), clock)
        wheel = Wheel(clock, config)
        connections = Connections(config.max_connections_per_user, config.limits)
        async with trio.open_nursery() as background, trio.open_nursery() as nursery:
            lane = Lane(
                inbox=inbox,  # type: ignore[arg-type]
                broker=broker,
                keys=Keys(TokenVerifier(SECRET)),
                connections=connections,
                wheel=wheel,
                nursery=nursery,
                clock=clock,
                config=config,
                limits=config.limits,
            )
            if jobs:
                background.start_soon(broker.run_dispatcher)
                background.start_soon(wheel.run)
            world = World(lane, inbox, broker, nursery)
            try:
                yield world
            finally:
                for sock in world.sockets:
                    sock.close()
            nursery.cancel_scope.cancel()
            background.cancel_scope.cancel()
        assert len(connections) == 0
        assert broker.statistics().listeners == 0

    return opened


@pytest.fixture
async def world(
    open_world: Callable[..., AbstractAsyncContextManager[World]],
) -> AsyncIterator[World]:
    """A lane with the usual settings."""
    async with open_world() as opened:
        yield opened
