"""A small notification server on in-memory streams, scripted by each test."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio
from trio.testing import memory_stream_pair
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from notifyd.client import Client, open_client
from notifyd.messages import encode_json, iso

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    Script = Callable[["Peer"], Awaitable[None]]

EPOCH = "e1"


class Peer:
    """The server's side of one connection, with the protocol's messages as methods."""

    def __init__(self, stream: trio.abc.Stream, nursery: trio.Nursery) -> None:
        self.stream = stream
        self._nursery = nursery
        self.path = ""
        self.headers: dict[str, str] = {}
        self.heard: list[Any] = []
        self.ws: WebSocketConnection

    async def accept(self) -> None:
        request = await wrap_server_stream(self._nursery, cast("trio.SocketStream", self.stream))
        self.path = request.path
        self.headers = {name.decode().lower(): value.decode() for name, value in request.headers}
        self.ws = await request.accept()

    async def reject(self, status: int, headers: dict[str, str], body: bytes) -> None:
        request = await wrap_server_stream(self._nursery, cast("trio.SocketStream", self.stream))
        fields = [(name.encode(), value.encode()) for name, value in headers.items()]
        await request.reject(status, extra_headers=fields, body=body)
        await self.stream.aclose()

    async def say(self, type_: str, data: dict[str, Any], seq: int | None = None, epoch: str = EPOCH) -> None:
        message = {"type": type_, "data": data, "timestamp": iso(0)}
        if seq is not None:
            message["id"] = f"{epoch}-{seq}"
        await self.ws.send_message(encode_json(message).decode())

    async def hello(self, cursor: str, *, recovered: bool = True, reason: str | None = None) -> None:
        data = {
            "user_id": "ann",
            "connection_id": "c1",
            "cursor": cursor,
            "recovered": recovered,
            "reason": reason,
            "heartbeat_interval_ms": 30_000,
            "token_expires_at": None,
        }
        await self.say("connection-established", data)

    async def entry(self, seq: int, epoch: str = EPOCH) -> None:
        await self.say("x-test", {"n": seq}, seq, epoch)

    async def listen(self) -> None:
        """Hear the client until it goes; `heard` has its messages."""
        try:
            while True:
                self.heard.append(json.loads(await self.ws.get_message()))
        except ConnectionClosed:
            return


class FakeServer:
    """Runs one script for each connection in turn, the last one for all that follow."""

    def __init__(self, nursery: trio.Nursery, scripts: list[Script]) -> None:
        self._nursery = nursery
        self._scripts = scripts
        self.peers: list[Peer] = []
        self.dialled_at: list[float] = []
        self._came = trio.Event()

    async def dial(self) -> trio.abc.Stream:
        self.dialled_at.append(trio.current_time())
        mine, theirs = memory_stream_pair()
        script = self._scripts[min(len(self.peers), len(self._scripts) - 1)]
        self._nursery.start_soon(self._serve, theirs, script)
        await trio.lowlevel.checkpoint()
        return mine

    async def wait_peers(self, count: int) -> None:
        """Until so many connections came."""
        while len(self.peers) < count:
            await self._came.wait()

    async def _serve(self, stream: trio.abc.Stream, script: Script) -> None:
        async with trio.open_nursery() as nursery:
            peer = Peer(stream, nursery)
            self.peers.append(peer)
            came, self._came = self._came, trio.Event()
            came.set()
            await script(peer)
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(stream)


class Harness:
    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    @asynccontextmanager
    async def client(
        self, *scripts: Script, **options: Any
    ) -> AsyncGenerator[tuple[Client, FakeServer], None]:
        """A client of a server with these scripts; waits are half of their bound."""
        server = FakeServer(self._nursery, list(scripts))
        chosen: dict[str, Any] = {
            "token": "t",
            "transport": "websocket",
            "draw": lambda: 0.5,
            "dial": server.dial,
        } | options
        async with open_client("http://server.example", **chosen) as client:
            yield client, server


@pytest.fixture
def harness(nursery: trio.Nursery) -> Harness:
    return Harness(nursery)
