"""Tabs: each goes on after its cursor over any number of connections, and writes down all that it is shown.

Two are plain clients of a transport, which hide nothing; the third is the client library, which an
application would use.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import h11
import trio
from trio_websocket import ConnectionClosed, HandshakeError, wrap_client_stream
from wsproto.utilities import ProtocolError as WireError

from notifyd.auth import mint_token
from notifyd.client import open_client
from notifyd.client.dial import WatchedStream
from notifyd.clock import wall_ms
from notifyd.messages import ConnectionEstablished, encode_json

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable

    from notifyd.client import Status
    from tests.chaos.history import Recorder

SECRET = "chaos-secret-chaos-secret-chaos-secret-"
#: A connection attempt that takes longer is given up.
OPEN_S = 10.0
#: A stream is left when nothing was heard for so long: longer than the server's heartbeats.
SILENCE_S = 75.0

#: What ends a connection without the reader being at fault.
BREAKS = (
    OSError,
    ConnectionClosed,
    HandshakeError,
    WireError,
    h11.ProtocolError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.EndOfChannel,
    trio.TooSlowError,
)


class Garbled(Exception):
    """Bytes that no server may send."""


class Refused(OSError):
    """An HTTP answer instead of a stream."""


def token_for(user: str, ttl_s: float = 7 * 86_400) -> str:
    """A token that outlives jumps of the clock."""
    return mint_token(SECRET, user, now_ms=wall_ms(), ttl_s=ttl_s)


@dataclass
class Target:
    """Where the server is; a proxy may stand in between. Changes when it comes back elsewhere."""

    host: str = "127.0.0.1"
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


@dataclass
class Reader:
    """One tab. `churn`: chance for each message that it leaves and comes back at once."""

    name: str
    user: str
    transport: str
    target: Target
    recorder: Recorder
    rng: random.Random
    churn: float = 0.0
    wait_s: float = 0.3
    ack_every: int = 50
    stall: float = 0.0
    stall_s: float = 0.3
    receive_buffer: int | None = None
    source: str | None = None  # address to come from
    cursor: str | None = None
    values: int = 0
    connected: bool = False
    gaps: int = 0  # times that the server said that continuity is lost
    connects: list[float] = field(default_factory=list)
    slots_ms: list[int] = field(default_factory=list)
    on_connect: Callable[[], None] | None = None
    _scope: trio.CancelScope | None = None
    _fence: str = ""
    _reached: trio.Event = field(default_factory=trio.Event)

    async def wait_for(self, value: str) -> None:
        """Until the publication `value` was shown."""
        if self._fence != value:
            self._fence, self._reached = value, trio.Event()
        await self._reached.wait()

    def drop(self) -> None:
        """Give the connection up, as a browser does that finds another network."""
        if self._scope is not None:
            self._scope.cancel()

    async def run(self) -> None:
        """Read until cancelled, over as many connections as it takes."""
        connect = {"websocket": self._websocket, "sse": self._sse, "library": self._library}[self.transport]
        while True:
            slot_s = 0.0
            try:
                async with trio.open_nursery() as nursery:
                    self._scope = nursery.cancel_scope
                    await connect(nursery)
                    nursery.cancel_scope.cancel()
            except* Garbled as group:
                self.recorder.note(self.name, "garbled", note=repr(group.exceptions[0]))
            except* BREAKS:
                pass
            if self.connected:
                self.connected = False
                self.recorder.note(self.name, "gone")
            if self.slots_ms:
                slot_s = self.slots_ms[-1] / 1000
                self.slots_ms.clear()
            await trio.sleep(slot_s + self.rng.random() * self.wait_s)

    # --- what comes ------------------------------------------------------------------------------------

    def take(self, message: dict[str, Any]) -> None:
        """One message of the server's."""
        kind, data = message["type"], message["data"]
        if kind == "connection-established":
            self._established(data)
        elif kind == "ping":
            self.cursor = data["cursor"]
        elif kind == "reconnect":
            self.slots_ms.append(data["after_ms"])
        elif "id" in message:
            self.cursor = message["id"]
            self._saw(message["id"], data)

    def _established(self, data: dict[str, Any]) -> None:
        self.connected = True
        self.connects.append(trio.current_time())
        self.recorder.note(
            self.name,
            "connect",
            user=self.user,
            asked=self.cursor,
            cursor=data["cursor"],
            recovered=data["recovered"],
            reason=data["reason"],
        )
        self.gaps += not data["recovered"]
        self.cursor = data["cursor"]
        if self.on_connect is not None:
            self.on_connect()

    def _saw(self, cursor: str, data: dict[str, Any]) -> None:
        value = data.get("value")
        if value is None:
            return
        self.values += 1
        self.recorder.note(
            self.name,
            "see",
            value=value,
            cursor=cursor,
            user=data["for"],
            notification_id=data.get("notification_id", ""),
        )
        if value == self._fence:
            self._reached.set()

    # --- connections -----------------------------------------------------------------------------------

    async def _leaves(self) -> bool:
        """Between two messages: stop reading for a while, perhaps; whether to leave."""
        if self.stall > 0 and self.rng.random() < self.stall:
            await trio.sleep(self.stall_s)
        return self.churn > 0 and self.rng.random() < self.churn

    async def _websocket(self, nursery: trio.Nursery) -> None:
        query = "" if self.cursor is None else f"?last_event_id={self.cursor}"
        headers = [(b"Authorization", f"Bearer {token_for(self.user)}".encode())]
        async with _dialled(self.target, self.receive_buffer, self.source) as tcp:
            with trio.fail_after(OPEN_S):
                host = f"{self.target.host}:{self.target.port}"
                ws = await _handshake(nursery, tcp, host, f"/ws{query}", headers)
            since_ack = 0
            while True:
                with trio.fail_after(SILENCE_S):
                    self.take(_decoded(await ws.get_message()))
                since_ack += 1
                if since_ack >= self.ack_every and self.cursor is not None:
                    since_ack = 0
                    ack = {"type": "ack", "data": {"up_to": self.cursor}}
                    await ws.send_message(encode_json(ack).decode())
                if await self._leaves():
                    return

    async def _sse(self, nursery: trio.Nursery) -> None:
        async with _dialled(self.target, self.receive_buffer, self.source) as tcp:
            events = SseEvents(tcp)
            headers = {"Authorization": f"Bearer {token_for(self.user)}"}
            if self.cursor is not None:
                headers["Last-Event-ID"] = self.cursor
            await events.ask(f"{self.target.host}:{self.target.port}", headers)
            while True:
                with trio.fail_after(SILENCE_S):
                    messages = await events.more()
                for message in messages:
                    self.take(message)
                    if await self._leaves():
                        return

    async def _dial(self) -> trio.abc.Stream:
        return await trio.open_tcp_stream(self.target.host, self.target.port)

    def _note_state(self, status: Status) -> None:
        """Between two connections of the library; its `connection-established` says that there is one."""
        if status.state != "connected" and self.connected:
            self.connected = False
            self.recorder.note(self.name, "gone")

    async def _library(self, nursery: trio.Nursery) -> None:
        """One client for ever: it comes back by itself."""
        async with open_client(
            self.target.url,
            token_for(self.user),
            established=True,
            on_state=self._note_state,
            dial=self._dial,
            draw=lambda: self.rng.random() * 0.02,
        ) as client:
            async for message in client:
                if isinstance(message.data, ConnectionEstablished) and message.data.recovered:
                    self.cursor = message.data.cursor  # where it really asked to go on is its own affair
                self.take(json.loads(encode_json(message)))


async def _handshake(
    nursery: trio.Nursery,
    tcp: trio.SocketStream,
    host: str,
    resource: str,
    headers: list[tuple[bytes, bytes]],
) -> Any:
    """trio-websocket waits for ever when the peer leaves in the middle of the handshake; this does not."""
    stream = WatchedStream(tcp)
    ws = None
    async with trio.open_nursery() as opening:
        opening.start_soon(_cancel_when, stream.ended, opening.cancel_scope)
        ws = await wrap_client_stream(
            nursery,
            cast("trio.SocketStream", stream),  # any trio.abc.Stream is accepted
            host,
            resource,
            extra_headers=headers,
            max_message_size=4 << 20,
        )
        opening.cancel_scope.cancel()
    if ws is None:
        raise trio.BrokenResourceError("the peer left during the handshake")
    return ws


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


@asynccontextmanager
async def _dialled(
    target: Target, receive_buffer: int | None, source: str | None
) -> AsyncIterator[trio.SocketStream]:
    sock = trio.socket.socket()
    tcp = trio.SocketStream(sock)
    if receive_buffer is not None:
        sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, receive_buffer)
    try:
        with trio.fail_after(OPEN_S):
            if source is not None:
                await sock.bind((source, 0))
            await sock.connect((target.host, target.port))
    except BaseException:
        sock.close()
        raise
    try:
        yield tcp
    finally:
        await trio.aclose_forcefully(tcp)


class SseEvents:
    """Server-sent events as notifyd sends them, by h11 for HTTP and a split at blank lines."""

    def __init__(self, tcp: trio.abc.Stream) -> None:
        self._tcp = tcp
        self._http = h11.Connection(h11.CLIENT)
        self._text = bytearray()

    async def ask(self, host: str, headers: dict[str, str]) -> None:
        """Raises Refused when the answer is no stream."""
        request = h11.Request(method="GET", target="/events", headers=[("Host", host), *headers.items()])
        with trio.fail_after(OPEN_S):
            await self._tcp.send_all(
                (self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b"")
            )
            response = await self._next()
        if not isinstance(response, h11.Response) or response.status_code != 200:
            raise Refused(f"answered {response!r}")

    async def _next(self) -> Any:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                data = bytes(await self._tcp.receive_some(65536))
                if not data:
                    raise trio.EndOfChannel
                self._http.receive_data(data)
        except h11.RemoteProtocolError as error:
            raise Garbled(str(error)) from None
        return event

    async def more(self) -> list[dict[str, Any]]:
        """The messages that came next, at least one."""
        found: list[dict[str, Any]] = []
        while not found:
            data = await self._next()
            if not isinstance(data, h11.Data):
                raise trio.EndOfChannel
            self._text += data.data
            *blocks, rest = bytes(self._text).split(b"\n\n")
            self._text = bytearray(rest)
            found = [message for message in map(_message_of, blocks) if message is not None]
        return found


def _decoded(text: str | bytes) -> dict[str, Any]:
    try:
        message: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise Garbled(f"{error}: {text[:80]!r}") from None
    return message


def _message_of(block: bytes) -> dict[str, Any] | None:
    for line in block.split(b"\n"):
        if line.startswith(b"data: "):
            return _decoded(line[6:])
    return None
