"""`python -m bench.peers`: starts each server, connects clients and looks at every byte they get.

Broadcasts one after the other, then several asked for at once. A server is right when each client got each
message once and whole, the mark on the wire as often as there were messages, and nothing more came.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import itertools
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import trio
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from bench.peers import MARK, PEERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from bench.peers import Peer

HOST = "127.0.0.1"
SIZE = 200
#: How many broadcasts are asked for in one go, one after the other.
ASKED = (1, 1, 10)
DEADLINE_S = 60.0
#: How long a message too many is waited for.
EXTRA_S = 0.2
RECEIVE_BYTES = 65536
CONNECTING = 64


class Wrong(Exception):
    """A server did not do the work."""


class Ports(NamedTuple):
    client: int
    publish: int


class Client:
    """A connection that keeps what it got since `steps` began."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.got = b""

    async def step(self, request: bytes, wait_for: bytes) -> None:
        start = len(self.got)
        await self.stream.send_all(request)
        while wait_for not in self.got[start:]:
            await self._more()

    async def until_marks(self, count: int) -> None:
        while self.got.count(MARK) < count:
            await self._more()

    async def _more(self) -> None:
        data = await self.stream.receive_some(RECEIVE_BYTES)
        if not data:
            raise Wrong(f"closed a connection after {self.got[-80:]!r}")
        self.got += data

    async def expect_silence(self) -> None:
        with trio.move_on_after(EXTRA_S):
            while True:
                await self._more()


def websocket_messages(peer: Peer, got: bytes) -> list[bytes]:
    """What a strict WebSocket client makes of it; the handshake's answer is checked too."""
    if peer.steps:
        head, _, got = got.partition(b"\r\n\r\n")
        key = next(line for line in peer.steps[0][0].split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key"))
        secret = key.partition(b": ")[2] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
        accept = base64.b64encode(hashlib.sha1(secret).digest())
        if not head.startswith(b"HTTP/1.1 101 ") or accept not in head or b"-extensions:" in head.lower():
            raise Wrong(f"answered the handshake by {head!r}")
    connection = Connection(ConnectionType.CLIENT)
    connection.receive_data(got)
    texts = []
    for event in connection.events():
        if not isinstance(event, TextMessage) or not event.message_finished:
            raise Wrong(f"sent {event!r}")
        texts.append(str(event.data).encode())
    return texts


def sse_messages(peer: Peer, got: bytes) -> list[bytes]:
    """The data of each event, out of chunked or plain HTTP."""
    head, _, body = got.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 ") or b"text/event-stream" not in head.lower():
        raise Wrong(f"answered by {head!r}")
    if b"transfer-encoding: chunked" in head.lower():
        body = b"".join(_chunks(body))
    lines = body.replace(b"\r\n", b"\n").split(b"\n")
    return [line.removeprefix(b"data:").removeprefix(b" ") for line in lines if line.startswith(b"data:")]


def _chunks(body: bytes) -> Iterator[bytes]:
    while body:
        length, _, body = body.partition(b"\r\n")
        yield body[: int(length, 16)]
        body = body[int(length, 16) + 2 :]


@contextlib.asynccontextmanager
async def running(peer: Peer, folder: Path) -> AsyncIterator[Ports]:
    """The server's ports, while it runs."""
    process = await trio.lowlevel.open_process(peer.command(folder, SIZE), stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        line = b""
        while not line.endswith(b"\n"):
            data = await process.stdout.receive_some(RECEIVE_BYTES)
            if not data:
                raise Wrong("did not start")
            line += data
        ready, client, publish = line.split()
        if ready != b"READY":
            raise Wrong(f"said {line!r}")
        yield Ports(int(client), int(publish))
    finally:
        process.terminate()
        with trio.CancelScope(shield=True):
            await process.wait()


async def connect_all(peer: Peer, port: int, count: int) -> list[Client]:
    clients: list[Client] = []
    limit = trio.CapacityLimiter(CONNECTING)

    async def connect() -> None:
        async with limit:
            client = Client(await trio.open_tcp_stream(HOST, port))
            for request, wait_for in peer.steps:
                await client.step(request, wait_for)
            clients.append(client)

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(connect)
    return clients


async def publish(peer: Peer, stream: trio.SocketStream, times: int) -> None:
    await stream.send_all(peer.publish(SIZE) * times)
    answers = b""
    while peer.answered and answers.count(b"HTTP/1.1 2") < times:
        data = await stream.receive_some(RECEIVE_BYTES)
        if not data or b"HTTP/1.1 4" in answers or b"HTTP/1.1 5" in answers:
            raise Wrong(f"answered a publish by {answers!r}")
        answers += data


async def check(peer: Peer, count: int) -> None:
    """Raises Wrong, or trio.TooSlowError."""
    with tempfile.TemporaryDirectory() as name, trio.fail_after(DEADLINE_S):
        async with running(peer, Path(name)) as ports:
            clients = await connect_all(peer, ports.client, count)
            publisher = await trio.open_tcp_stream(HOST, ports.publish)
            try:
                for times, due in zip(ASKED, itertools.accumulate(ASKED), strict=True):
                    await publish(peer, publisher, times)
                    async with trio.open_nursery() as nursery:
                        for client in clients:
                            nursery.start_soon(client.until_marks, due)
                async with trio.open_nursery() as nursery:
                    for client in clients:
                        nursery.start_soon(client.expect_silence)
            finally:
                for stream in [publisher, *(client.stream for client in clients)]:
                    stream.socket.close()
        for client in clients:
            look_at(peer, client.got)


def look_at(peer: Peer, got: bytes) -> None:
    """Raises Wrong unless the wire holds every message once."""
    parse = websocket_messages if peer.kind == "websocket" else sse_messages
    messages = [message for message in parse(peer, got) if MARK in message]
    if messages != [peer.message(SIZE)] * sum(ASKED):
        raise Wrong(f"delivered {len(messages)} messages: {messages[:2]!r}")
    if got.count(MARK) != sum(ASKED):
        raise Wrong("has the mark on the wire outside of messages")


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def verdict(peer: Peer, count: int) -> tuple[str, str]:
    """A version, and `ok` or what is wrong."""
    reason = peer.missing()
    if reason is not None:
        return "", f"{reason}: make bench-peers"
    said = "ok"
    try:
        trio.run(check, peer, count)
    except* (Wrong, trio.TooSlowError, OSError) as group:
        said = f"WRONG: {_first(group)!r}"
    return peer.version(), said


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--clients", type=int, default=3, metavar="N", help="clients of each (default: 3)")
    parser.add_argument("names", nargs="*", help="servers, all if none is named")
    options = parser.parse_args(arguments)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wrong = 0
    for peer in PEERS:
        if options.names and peer.name not in options.names:
            continue
        version, said = verdict(peer, options.clients)
        print(f"{peer.name:<20} {version:<18} {peer.kind:<10} {said}", flush=True)
        wrong += said.startswith("WRONG")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
