"""A TCP proxy that is slow, cuts, holds back, goes silent, closes half or resets, as networks do.

    async with open_proxy("http://127.0.0.1:8000") as proxy:
        proxy.to_client.bytes_per_s = 8_000     # 64 kbit/s
        proxy.to_server.latency_s = 0.2
        proxy.reset()                           # RST to both ends of every connection

What proxies do to WebSockets: `proxy.upgrades` is "refuse" (HTTP 403), "swallow" (the upgrade is answered and
nothing comes after it) or "buffer" (what comes is held back until 64 KiB have gathered).

A setting counts for every byte that comes after it, on connections that are open already too. A chunk that
is late holds back those behind it, as TCP does: what is sent is never reordered, changed or dropped, but for
WebSockets that are refused or swallowed.
"""

from __future__ import annotations

import random
import socket
import struct
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

#: RFC 9293 section 3.10.4: closing with a linger of 0 s sends a reset.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
#: Bytes read at once, and chunks on their way: beyond them the sender is made to wait, as by a real link.
_CHUNK = 16 * 1024
_ON_THE_WAY = 64
#: Bytes that a proxy gathers which buffers.
_BUFFER = 64 * 1024
_MAX_HEAD = 64 * 1024
_REFUSAL = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: 15\r\nConnection: close\r\n\r\n"
    b"<h1>No way</h1>"
)
#: What closes or breaks while the other side is still being told.
_BREAKS = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)


Upgrades = Literal["pass", "refuse", "swallow", "buffer"]


@dataclass
class Link:
    """One direction of every connection; all may be changed at any time."""

    latency_s: float = 0.0
    #: Up to so many seconds more, evenly spread, for each chunk.
    jitter_s: float = 0.0
    bytes_per_s: float | None = None
    #: Nothing longer than this is passed on at once, and `slice_pause_s` lies between two pieces.
    slice_bytes: int | None = None
    slice_pause_s: float = 0.0
    #: Chance of each chunk to be lost once and sent again `resend_s` later, which all behind it wait for.
    loss: float = 0.0
    resend_s: float = 0.2
    #: Reset the connection when it has carried so many bytes this way.
    reset_after_bytes: int | None = None

    def delay_s(self, rng: random.Random) -> float:
        """Seconds on the way of one chunk."""
        lost = self.resend_s if self.loss and rng.random() < self.loss else 0.0
        return self.latency_s + self.jitter_s * rng.random() + lost


class Proxy:
    """Made by `open_proxy`. `to_server` and `to_client` are the two directions."""

    def __init__(self, host: str, port: int, rng: random.Random) -> None:
        self.to_server = Link()
        self.to_client = Link()
        self.host = "127.0.0.1"
        self.port = 0
        self.accepted = 0
        #: What becomes of WebSockets that are opened from now on.
        self.upgrades: Upgrades = "pass"
        self._target = (host, port)
        self._rng = rng
        self._pairs: set[_Pair] = set()
        self._flows = trio.Event()
        self._flows.set()
        self._refuses = False

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://{self.host}:{self.port}"

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._pairs)

    def silence(self) -> None:
        """Pass nothing on any more, and say nothing of it: every connection is half open."""
        self._flows = trio.Event()

    def speak(self) -> None:
        """Go on after `silence`; what was held back goes first."""
        self._flows.set()

    def refuse(self, refuses: bool = True) -> None:
        """Reset whoever connects from now on; False to let them in again."""
        self._refuses = refuses

    def reset(self) -> None:
        """Reset both ends of every connection."""
        for pair in list(self._pairs):
            pair.reset()

    def end_writing(self, *, to_client: bool = True) -> None:
        """Close one direction of every connection, as a peer that has sent all; the other stays open."""
        for pair in list(self._pairs):
            stream = pair.client if to_client else pair.server
            with suppress(OSError):
                stream.socket.shutdown(socket.SHUT_WR)

    # --- one connection ---------------------------------------------------------------------------------

    async def _serve(self, client: trio.SocketStream) -> None:
        self.accepted += 1
        if self._refuses:
            _reset(client)
            return
        upgrades = self.upgrades
        try:
            head = b"" if upgrades == "pass" else await _read_head(client)
            if upgrades == "refuse" and _is_upgrade(head):
                await client.send_all(_REFUSAL)
                await client.aclose()
                return
            server = await trio.open_tcp_stream(*self._target)
            await server.send_all(head)
        except _BREAKS:
            _reset(client)
            return
        pair = _Pair(client, server, _Gate(upgrades if _is_upgrade(head) else "pass"))
        self._pairs.add(pair)
        try:
            async with trio.open_nursery() as pair.nursery:
                pair.nursery.start_soon(self._carry, pair, client, server, self.to_server)
                pair.nursery.start_soon(self._carry, pair, server, client, self.to_client)
        finally:
            self._pairs.discard(pair)
            client.socket.close()
            server.socket.close()

    async def _carry(
        self, pair: _Pair, source: trio.SocketStream, sink: trio.SocketStream, link: Link
    ) -> None:
        """One direction: what is read now is written when its time has come."""
        put, take = trio.open_memory_channel[tuple[float, bytes]](_ON_THE_WAY)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, pair, source, put, link)
            await self._write(pair, take, sink, link)

    async def _read(
        self,
        pair: _Pair,
        source: trio.SocketStream,
        put: trio.MemorySendChannel[tuple[float, bytes]],
        link: Link,
    ) -> None:
        with put:
            try:
                while data := await source.receive_some(_CHUNK):
                    data = pair.gate.let_through(data) if source is pair.server else data
                    await put.send((trio.current_time() + link.delay_s(self._rng), bytes(data)))
            except _BREAKS:
                pair.reset()

    async def _write(
        self,
        pair: _Pair,
        take: trio.MemoryReceiveChannel[tuple[float, bytes]],
        sink: trio.SocketStream,
        link: Link,
    ) -> None:
        carried = 0
        try:
            async for due, data in take:
                await trio.sleep_until(due)
                for piece in _pieces(data, link.slice_bytes):
                    await self._flows.wait()
                    await sink.send_all(piece)
                    carried += len(piece)
                    if link.reset_after_bytes is not None and carried >= link.reset_after_bytes:
                        pair.reset()
                        return
                    pause_s = len(piece) / link.bytes_per_s if link.bytes_per_s else 0.0
                    await trio.sleep(pause_s + (link.slice_pause_s if link.slice_bytes else 0.0))
            await self._flows.wait()
            await sink.send_eof()
        except _BREAKS:
            pair.reset()


@dataclass(eq=False)
class _Pair:
    """Both ends of one connection."""

    client: trio.SocketStream
    server: trio.SocketStream
    gate: _Gate
    nursery: trio.Nursery = field(init=False)

    def reset(self) -> None:
        _reset(self.client)
        _reset(self.server)
        self.nursery.cancel_scope.cancel()


class _Gate:
    """What of a server's answer to an upgrade gets through."""

    def __init__(self, mode: Upgrades) -> None:
        self._mode = mode
        self._head_is_through = False
        self._held = b""

    def let_through(self, data: bytes | bytearray) -> bytes:
        """The part of what came, and of what came before, that is passed on now."""
        if self._mode == "pass":
            return bytes(data)
        self._held += data
        if not self._head_is_through:
            head, end, rest = self._held.partition(b"\r\n\r\n")
            if not end:
                return b""
            self._head_is_through, self._held = True, rest
            return head + end
        if self._mode == "swallow" or len(self._held) < _BUFFER:
            return b""
        through, self._held = self._held, b""
        return through


async def _read_head(stream: trio.SocketStream) -> bytes:
    """A request's head, and what came with it; all there is when it ends before."""
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _MAX_HEAD:
        data = await stream.receive_some(_CHUNK)
        if not data:
            break
        head += data
    return head


def _is_upgrade(head: bytes) -> bool:
    return b"\r\nupgrade: websocket" in head.partition(b"\r\n\r\n")[0].lower()


def _reset(stream: trio.SocketStream) -> None:
    with suppress(OSError):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    stream.socket.close()


def _pieces(data: bytes, size: int | None) -> list[bytes]:
    if size is None:
        return [data]
    return [data[start : start + size] for start in range(0, len(data), size)]


@asynccontextmanager
async def open_proxy(url: str, *, rng: random.Random | None = None) -> AsyncGenerator[Proxy, None]:
    """A proxy on a free port of the loopback in front of `url` (http://HOST:PORT).

    `rng` makes its random delays repeatable. Closes: every connection, when the block is left.
    """
    parts = urlsplit(url)
    proxy = Proxy(parts.hostname or "127.0.0.1", parts.port or 80, rng or random.Random())
    (listener,) = await trio.open_tcp_listeners(0, host=proxy.host)
    proxy.port = listener.socket.getsockname()[1]
    async with listener, trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, proxy._serve, [listener])
        yield proxy
        nursery.cancel_scope.cancel()
