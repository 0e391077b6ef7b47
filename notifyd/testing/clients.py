"""Clients that hide nothing, for both transports: every message as it came, with its id, and how it ended.

They have no task of their own and do nothing by themselves but answer Ping frames (and not even that, with
`answers_pings=False`): what a client has not received yet lies in the sockets, so that one which stops
receiving is a slow reader. They work over whatever `dial` opens: `Simulation.dial`, or
`dial_url(server.url)`.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple
from urllib.parse import quote

import h11
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Message,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
)

from notifyd.client.http import ask
from notifyd.testing.http import ADDRESS, HOST, Ended

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from wsproto.events import Event

    from notifyd.client.http import Answer
    from notifyd.testing.http import Dial


class Received(NamedTuple):
    """One message. `id`: the cursor to resume from after it, where the transport gave one."""

    text: str
    message: dict[str, Any]
    id: str | None


class Refused(Exception):
    """The server answered with this instead of a stream."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status} {body.decode(errors='replace')}")
        self.status = status
        self.body = body


class FakeClient:
    """One connection of either transport. `hello` is the data of its `connection-established`."""

    transport: ClassVar[str]

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream
        self.received: list[Received] = []  # all messages so far
        self.hello: dict[str, Any] = {}

    async def receive(self) -> Received:
        """The next message of any type. Raises Ended, and again each time.

        Cancellation: what had come already is given next time.
        """
        received = await self._next()
        self.received.append(received)
        return received

    async def receive_entry(self) -> Received:
        """The next entry of the log, past pings and errors. Raises Ended."""
        while True:
            received = await self.receive()
            if "id" in received.message:
                return received

    async def receive_to_end(self) -> Ended:
        """Receive all that still comes, into `received`; how the stream ended."""
        while True:
            try:
                await self.receive()
            except Ended as ended:
                return ended

    async def aclose(self) -> None:
        """Go, without waiting for a goodbye."""
        await trio.aclose_forcefully(self.stream)

    async def _begin(self, path: str, token: str, cursor: str | None) -> None:
        raise NotImplementedError

    async def _next(self) -> Received:
        raise NotImplementedError

    async def _more(self) -> bytes:
        """Bytes of the server's, empty at their end. Raises Ended for a connection that broke."""
        try:
            return bytes(await self.stream.receive_some(65536))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Ended(1006, str(error)) from error


# --- WebSocket ------------------------------------------------------------------------------------------


class FakeWebSocket(FakeClient):
    """By wsproto. `frames` has the control frames of the server as well: Ping, Pong, CloseConnection."""

    transport = "websocket"

    def __init__(self, stream: trio.abc.HalfCloseableStream, *, answers_pings: bool = True) -> None:
        super().__init__(stream)
        self.frames: list[Event] = []
        self.answers_pings = answers_pings
        self._wire = WSConnection(ConnectionType.CLIENT)
        self._text = ""
        self._events: list[Event] = []
        self._over: Ended | None = None

    async def say(self, type_: str, **data: Any) -> None:
        """Send one message. Raises trio.BrokenResourceError."""
        await self.send_text(json.dumps({"type": type_, "data": data}))

    async def send_text(self, text: str) -> None:
        """Send exactly this as one text message. Raises trio.BrokenResourceError."""
        await self.stream.send_all(self._wire.send(Message(text)))

    async def say_goodbye(self, code: int = 1000) -> None:
        """Send a Close frame; `receive` raises Ended when the server's has come."""
        await self.stream.send_all(self._wire.send(CloseConnection(code)))

    async def _begin(self, path: str, token: str, cursor: str | None) -> None:
        target = path if cursor is None else f"{path}?last_event_id={quote(cursor, safe='')}"
        headers = [(b"Authorization", f"Bearer {token}".encode())]
        await self.stream.send_all(self._wire.send(Request(HOST, target, extra_headers=headers)))
        event = await self._event()
        if isinstance(event, RejectConnection):
            raise Refused(event.status_code, await self._rejection() if event.has_body else b"")
        assert isinstance(event, AcceptConnection), event

    async def _rejection(self) -> bytes:
        body = b""
        while isinstance(event := await self._event(), RejectData):
            body += bytes(event.data)
            if event.body_finished:
                break
        return body

    async def _event(self) -> Event:
        while not self._events:
            if self._over is not None:
                raise self._over
            if data := await self._more():
                self._wire.receive_data(data)
                self._events += self._wire.events()
            else:
                self._over = Ended(1006, "the connection ended without a Close frame")
        return self._events.pop(0)

    async def _next(self) -> Received:
        while True:
            event = await self._event()
            if isinstance(event, Message):
                self._text += str(event.data)
                if event.message_finished:
                    text, self._text = self._text, ""
                    message = json.loads(text)
                    return Received(text, message, message.get("id"))
                continue
            self.frames.append(event)
            await self._obey(event)

    async def _obey(self, event: Event) -> None:
        if isinstance(event, Ping) and self.answers_pings:
            try:
                await self.stream.send_all(self._wire.send(Pong(event.payload)))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # what it has sent before is still to be read
        if isinstance(event, CloseConnection):
            self._over = Ended(int(event.code), event.reason or "")
            self._events.clear()
            raise self._over


# --- SSE ------------------------------------------------------------------------------------------------


class FakeSse(FakeClient):
    """By h11 and the rules of WHATWG HTML, section 9.2.6, for what comes in lines ended by \\n."""

    transport = "sse"

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        super().__init__(stream)
        self.comments: list[str] = []
        self.retry_ms: int | None = None
        self._answer: Answer
        self._text = b""

    async def _begin(self, path: str, token: str, cursor: str | None) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        if cursor is not None:
            headers["Last-Event-ID"] = cursor
        self._answer = await ask(self.stream, ADDRESS, "GET", path, headers)
        if self._answer.status != 200:
            raise Refused(self._answer.status, await self._answer.body())

    async def _next(self) -> Received:
        while True:
            while b"\n\n" not in self._text:
                try:
                    part = await self._answer.part()
                except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError) as error:
                    raise Ended(1006, str(error)) from error
                if not part:
                    raise Ended(1006, "the stream ended")
                self._text += part
            block, _, self._text = self._text.partition(b"\n\n")
            received = self._event_of(block.decode())
            if received is not None:
                return received

    def _event_of(self, block: str) -> Received | None:
        data: list[str] = []
        id_: str | None = None
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            match name:
                case "":
                    self.comments.append(value)
                case "data":
                    data.append(value)
                case "id":
                    id_ = value
                case "retry":
                    self.retry_ms = int(value)
                case _:
                    raise AssertionError(f"the server does not use the field {name!r}")
        text = "\n".join(data)
        return Received(text, json.loads(text), id_) if data else None


# --- opening --------------------------------------------------------------------------------------------

TRANSPORTS: Final[dict[str, tuple[type[FakeClient], str]]] = {
    "websocket": (FakeWebSocket, "/ws"),
    "sse": (FakeSse, "/events"),
}


async def connect_fake(
    transport: str, dial: Dial, token: str, cursor: str | None = None, **options: Any
) -> FakeClient:
    """A client that has been told `connection-established`; the caller closes it.

    Args:
        transport: `websocket` or `sse`.
        cursor: where to resume; None: live from now on.
        options: of the client's class.
    Raises Refused, Ended, and what `dial` raises.
    """
    kind, path = TRANSPORTS[transport]
    client = kind(await dial(), **options)
    try:
        await client._begin(path, token, cursor)
        hello = await client.receive()
        assert hello.message["type"] in ("connection-established", "error"), hello.text
        if hello.message["type"] == "error":
            await client.receive()
        client.hello = hello.message["data"]
    except (trio.BrokenResourceError, h11.RemoteProtocolError) as error:
        await client.aclose()
        raise Ended(1006, str(error)) from error
    except BaseException:
        await client.aclose()
        raise
    return client


@asynccontextmanager
async def open_fake(
    transport: str, dial: Dial, token: str, cursor: str | None = None, **options: Any
) -> AsyncGenerator[FakeClient]:
    """`connect_fake`, closed at the end of the block."""
    client = await connect_fake(transport, dial, token, cursor, **options)
    try:
        yield client
    finally:
        await client.aclose()
