"""What one client could do to Hypercorn with Quart-Trio alone, tried against the whole server.

Each fault is sent as the first thing on a connection and again behind a good request on the same one, and
after each the other clients of the same process are asked whether they are well. The faults are numbered as
they were found; S5 (TCP_USER_TIMEOUT) and S15 (header drip) are in tests/transport/test_door.py, S9 (a
background task that dies) in tests/test_jobs.py.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import struct
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import h2.connection
import pytest
import trio

from notifyd import messages
from notifyd.service import Service, open_service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from notifyd.config import Config

    Connect = Callable[[str], AbstractAsyncContextManager[Any]]
    Openers = dict[str, Callable[..., AbstractAsyncContextManager[Any]]]

GOOD = b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n"
KEY = base64.b64encode(bytes(16)).decode()
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
#: Frames of this many bytes reach the client's and the server's socket buffers soon.
LARGE = 40_000


class Victims:
    """Well-behaved clients of the same process: a WebSocket, an event stream and a kept-alive connection."""

    def __init__(self, service: Service, streams: list[Any], http: Any) -> None:
        self.service = service
        self._streams = streams
        self._http = http
        self._rounds = 0

    async def are_well(self) -> None:
        self._rounds += 1
        text = f"round {self._rounds}"
        await self.service.notify_user("victim", messages.system_message(text))
        for stream in self._streams:
            assert (await stream.next_entry())["data"]["message"] == text
        await self._http.send(GOOD)
        assert (await self._http.response()).status == 200


@asynccontextmanager
async def open_victims(service: Service, openers: Openers, connect: Connect) -> AsyncIterator[Victims]:
    async with (
        openers["websocket"](service.url, "victim") as websocket,
        openers["sse"](service.url, "victim") as sse,
        connect(service.url) as http,
    ):
        yield Victims(service, [websocket, sse], http)


@pytest.fixture
def on_postgres() -> None:
    """What is tried here is the same whatever database is behind it."""


@pytest.fixture
async def victims(service: Service, openers: Openers, raw_client: Connect) -> AsyncIterator[Victims]:
    async with open_victims(service, openers, raw_client) as opened:
        yield opened


@pytest.fixture(params=[False, True], ids=["fresh", "used"])
def attack(
    request: pytest.FixtureRequest, service: Service, raw_client: Connect
) -> Callable[[], AbstractAsyncContextManager[Any]]:
    """A connection for the attacker: fresh, or used by a good request before."""

    @asynccontextmanager
    async def connect() -> AsyncIterator[Any]:
        async with raw_client(service.url) as client:
            if request.param:
                await client.send(GOOD)
                assert (await client.response()).status == 200
            yield client

    return connect


Attack = Any  # Callable[[], AbstractAsyncContextManager[RawClient]]


def upgrade(
    path: str = "/ws", fields: bytes = b"", *, key: str = KEY, connection: bytes = b"Upgrade"
) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1".encode(),
        b"Host: h",
        b"Upgrade: websocket",
        b"Connection: " + connection,
        b"Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}".encode(),
    ]
    return b"\r\n".join(lines) + b"\r\n" + fields + b"\r\n"


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv1: bool = False, masked: bool = True
) -> bytes:
    """One frame as RFC 6455 section 5.2 has it; the mask is zero, so the payload stays as it is."""
    first = opcode | (0x80 if fin else 0) | (0x40 if rsv1 else 0)
    mask_bit = 0x80 if masked else 0
    if len(payload) < 126:
        head = struct.pack("!BB", first, mask_bit | len(payload))
    elif len(payload) < 65536:
        head = struct.pack("!BBH", first, mask_bit | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, mask_bit | 127, len(payload))
    return head + (bytes(4) if masked else b"") + payload


class Frame(NamedTuple):
    opcode: int
    payload: bytes


def frames_of(data: bytes) -> list[Frame]:
    """The server's frames in `data`; an unfinished last one is left out."""
    found = []
    while len(data) >= 2:
        opcode, size, at = data[0] & 0x0F, data[1] & 0x7F, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(data[2 : 2 + width], "big"), 2 + width
        if len(data) < at + size:
            break
        found.append(Frame(opcode, data[at : at + size]))
        data = data[at + size :]
    return found


def close_code(data: bytes) -> int | None:
    """The code of the Close frame in `data`, None when the server ended without one."""
    for opcode, payload in frames_of(data):
        if opcode == CLOSE:
            return int.from_bytes(payload[:2], "big")
    return None


async def send_while_taken(client: Any, data: bytes) -> None:
    """Send what the server still takes."""
    with contextlib.suppress(trio.BrokenResourceError):
        await client.send(data)


async def until_connections(service: Service, count: int) -> None:
    with trio.fail_after(15):
        while service.connection_stats()["total"] != count:
            await trio.lowlevel.checkpoint()


# --- S1, S2, S3, S14: one packet ended the process --------------------------------------------------------


@pytest.mark.parametrize("path", ["/ws", "/ws?token=bad", "/", "/no/such/place", "/v1/notifications"])
@pytest.mark.parametrize("trailing", [b"x", b"\x81", b"\xff" * 50])
async def test_s1_bytes_behind_an_upgrade(
    attack: Attack, victims: Victims, path: str, trailing: bytes
) -> None:
    async with attack() as client:
        await client.send(upgrade(path) + trailing)
        answer = await client.response()
        assert answer.status == (101 if path.startswith("/ws") else 400)
    await victims.are_well()


@pytest.mark.parametrize("name", [b"Sec-WebSocket-Protocol", b"Sec-WebSocket-Extensions", b"X-Other"])
async def test_s2_bytes_above_ascii_in_an_upgrade(
    attack: Attack, victims: Victims, token: Callable[..., str], name: bytes
) -> None:
    async with attack() as client:
        await client.send(upgrade(f"/ws?token={token('eve')}", name + b": a\xff\xfe\r\n"))
        answer = await client.response()
        assert answer.status in (101, 400)
    await victims.are_well()


async def test_s2_bytes_above_ascii_in_connection(attack: Attack, victims: Victims) -> None:
    async with attack() as client:
        await client.send(upgrade(connection=b"Upgrade\xff"))
        assert (await client.response()).status == 400
    async with attack() as client:
        await client.send(GOOD.replace(b"\r\n\r\n", b"\r\nConnection: \xff\r\n\r\n"))
        assert (await client.response()).status == 200
    await victims.are_well()


async def test_s3_http2_by_prior_knowledge(attack: Attack, victims: Victims) -> None:
    client_side = h2.connection.H2Connection()
    client_side.initiate_connection()
    path = b"/caf\xc3\xa9"
    client_side.send_headers(
        1,
        [(b":method", b"GET"), (b":path", path), (b":scheme", b"http"), (b":authority", b"h")],
        end_stream=True,
    )
    async with attack() as client:
        await client.send(client_side.data_to_send())
        assert (await client.response()).status == 400
        assert await client.rest() == b""
    await victims.are_well()


async def test_s3_a_path_above_ascii(attack: Attack, victims: Victims) -> None:
    async with attack() as client:
        await client.send(b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await client.response()).status == 400
    await victims.are_well()


async def test_s14_h2c(attack: Attack, victims: Victims) -> None:
    for path in ("/", "/ws", "/livez"):
        head = f"GET {path} HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        async with attack() as client:
            await client.send(f"{head}HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n".encode())
            assert (await client.response()).status == 400
            assert await client.rest() == b""
    await victims.are_well()


# --- S4, S8, S11, S16: clients that do not read, do not answer, or leave ----------------------------------


async def stall(client: Any, service: Service, token: Callable[..., str]) -> None:
    """Connect, read nothing, and let the server write until the kernel takes no more."""
    client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await client.send(upgrade(f"/ws?token={token('stalled')}"))
    assert (await client.response()).status == 101
    for _ in range(20):
        await service.notify_user("stalled", large_message())


def large_message() -> messages.Draft:
    return messages.custom("x-large", {"text": "x" * LARGE})


both_ages = pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])


async def open_attacker(
    stack: contextlib.AsyncExitStack, connect: Connect, service: Service, used: bool
) -> Any:
    """A connection of the attacker that may outlive the service; `used` by a good request before."""
    client = await stack.enter_async_context(connect(service.url))
    if used:
        await client.send(GOOD)
        assert (await client.response()).status == 200
    return client


@both_ages
async def test_s4_stopping_does_not_wait_for_a_client_that_does_not_read(
    make_config: Callable[..., Config], raw_client: Connect, token: Callable[..., str], used: bool
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        with trio.fail_after(15):
            async with open_service(make_config(drain_seconds=0.1)) as service:
                client = await open_attacker(stack, raw_client, service, used)
                await stall(client, service, token)


async def test_s4_a_client_that_does_not_read_holds_nobody_up(
    attack: Attack, victims: Victims, token: Callable[..., str]
) -> None:
    async with attack() as client:
        await stall(client, victims.service, token)
        await victims.are_well()


async def test_s8_a_client_that_talks_and_leaves_is_gone(
    attack: Attack, victims: Victims, token: Callable[..., str]
) -> None:
    before = victims.service.connection_stats()["total"]
    async with attack() as client:
        await client.send(upgrade(f"/ws?token={token('eve')}"))
        assert (await client.response()).status == 101
        pongs = frame(TEXT, json.dumps({"type": "pong", "data": {}}).encode()) * 60
        await send_while_taken(client, pongs + frame(CLOSE, b"\x03\xe8"))
    await until_connections(victims.service, before)
    await victims.are_well()


@both_ages
async def test_s10_a_client_that_answers_no_ping_is_closed(
    make_config: Callable[..., Config],
    openers: Openers,
    raw_client: Connect,
    token: Callable[..., str],
    used: bool,
) -> None:
    async with (
        open_service(make_config(heartbeat_seconds=1.5, pong_seconds=0.25)) as service,
        open_victims(service, openers, raw_client) as victims,
        contextlib.AsyncExitStack() as stack,
    ):
        client = await open_attacker(stack, raw_client, service, used)
        await client.send(upgrade(f"/ws?token={token('mute')}"))
        assert (await client.response()).status == 101
        assert close_code(await client.rest()) == 4012
        await victims.are_well()


@both_ages
async def test_s11_a_stopping_server_says_goodbye(
    make_config: Callable[..., Config], raw_client: Connect, token: Callable[..., str], used: bool
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with open_service(make_config(drain_seconds=0.1)) as service:
            client = await open_attacker(stack, raw_client, service, used)
            await client.send(upgrade(f"/ws?token={token('idle')}"))
            assert (await client.response()).status == 101
        data = await client.rest()
        assert b'"reconnect"' in data
        assert close_code(data) == 1001


async def test_s16_floods_stay_the_flooders_own_problem(
    attack: Attack, victims: Victims, token: Callable[..., str]
) -> None:
    pings = frame(PING, b"x" * 125) * 20_000
    texts = frame(TEXT, b'{"type":"pong","data":{}}') * 20_000
    for flood in (pings, texts):
        async with attack() as client, trio.open_nursery() as nursery:
            await client.send(upgrade(f"/ws?token={token('eve')}"))
            assert (await client.response()).status == 101
            nursery.start_soon(send_while_taken, client, flood)
            await victims.are_well()
            nursery.cancel_scope.cancel()


# --- S6, S7, S12, S13, S17: frames and handshakes ---------------------------------------------------------


async def test_s6_compression_is_never_negotiated(
    attack: Attack, victims: Victims, token: Callable[..., str]
) -> None:
    offers = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    async with attack() as client:
        await client.send(upgrade(f"/ws?token={token('eve')}", offers))
        answer = await client.response()
        assert answer.status == 101
        assert "sec-websocket-extensions" not in answer.headers
        await client.send(frame(TEXT, b"\x00" * 1000, rsv1=True))
        assert close_code(await client.rest()) == 1002
    await victims.are_well()


async def test_s7_an_endless_message_ends_its_connection(
    attack: Attack, victims: Victims, token: Callable[..., str]
) -> None:
    async with attack() as client, trio.open_nursery() as nursery:
        await client.send(upgrade(f"/ws?token={token('eve')}"))
        assert (await client.response()).status == 101
        part = frame(0, b"x" * 1_000_000, fin=False)
        nursery.start_soon(send_while_taken, client, frame(TEXT, b"x", fin=False) + part * 60)
        assert close_code(await client.rest()) in (None, 1009)
        nursery.cancel_scope.cancel()
    await victims.are_well()


BAD_FRAMES = {
    "unmasked": (frame(TEXT, b"{}", masked=False), 1002),
    "reserved opcode": (frame(3, b""), 1002),
    "RSV1": (frame(TEXT, b"{}", rsv1=True), 1002),
    "bad UTF-8": (frame(TEXT, b"\xff\xfe"), 1007),
    "ping of 126 bytes": (frame(PING, b"x" * 126), 1002),
    "fragmented ping": (frame(PING, b"x", fin=False), 1002),
    "close code 1005": (frame(CLOSE, struct.pack("!H", 1005)), 1002),
    "close of one byte": (frame(CLOSE, b"\x03"), 1002),
    "orphan continuation": (frame(0, b"x"), 1002),
    "binary": (frame(BINARY, b"x"), 1003),
}


@pytest.mark.parametrize(("data", "code"), BAD_FRAMES.values(), ids=BAD_FRAMES.keys())
async def test_s12_malformed_frames_end_their_connection(
    attack: Attack, victims: Victims, token: Callable[..., str], data: bytes, code: int
) -> None:
    async with attack() as client:
        await client.send(upgrade(f"/ws?token={token('eve')}"))
        assert (await client.response()).status == 101
        await client.send(data)
        assert close_code(await client.rest()) == code
    await victims.are_well()


@pytest.mark.parametrize(
    "key", ["abc", "", "A" * 24, base64.b64encode(bytes(15)).decode(), "\xff" * 22 + "=="]
)
async def test_s13_a_malformed_key_is_refused(
    attack: Attack, victims: Victims, token: Callable[..., str], key: str
) -> None:
    head = upgrade(f"/ws?token={token('eve')}", key="%").replace(b"%", key.encode("latin-1"), 1)
    async with attack() as client:
        await client.send(head)
        assert (await client.response()).status == 400
    await victims.are_well()


@pytest.mark.parametrize(
    "offer",
    [
        b"permessage-deflate; client_max_window_bits=abc",
        b"permessage-deflate; server_max_window_bits=99",
        b";;,,==",
        b"\xff",
    ],
)
async def test_s17_malformed_extensions_are_contained(
    attack: Attack, victims: Victims, token: Callable[..., str], offer: bytes
) -> None:
    async with attack() as client:
        await client.send(
            upgrade(f"/ws?token={token('eve')}", b"Sec-WebSocket-Extensions: " + offer + b"\r\n")
        )
        answer = await client.response()
        assert answer.status in (101, 400)
        assert "sec-websocket-extensions" not in answer.headers
    await victims.are_well()


# --- request smuggling: nothing behind an ambiguous head is taken for a request -----------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding : chunked",
        b"X: a\r\n Transfer-Encoding: chunked",
        b"X: a\rTransfer-Encoding: chunked",
        b"X: a\x00b",
    ],
)
async def test_ambiguous_requests_get_one_answer(attack: Attack, victims: Victims, head: bytes) -> None:
    async with attack() as client:
        await client.send(b"POST /v1/ack HTTP/1.1\r\nHost: h\r\n" + head + b"\r\n\r\n0\r\n\r\n" + GOOD)
        assert (await client.response()).status == 400
        assert await client.rest() == b""
    await victims.are_well()


# --- everything at random -----------------------------------------------------------------------------------


def mutated(random: Random, data: bytes) -> bytes:
    spice = [
        b"\r\n",
        b"\n",
        b"\x00",
        b"\xff",
        b" ",
        b":",
        b"\x81",
        b"\x88\x82",
        b"%",
        b"{",
        b"Upgrade: x\r\n",
    ]
    changed = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(changed) + 1)
        changed[at : at + random.choice([0, 0, 1, 5])] = random.choice(spice)
    return bytes(changed)


@pytest.mark.parametrize("seed", range(3))
async def test_mutated_conversations_end_at_most_their_own_connection(
    attack: Attack, victims: Victims, token: Callable[..., str], seed: int
) -> None:
    random = Random(seed)
    spoken = [
        b'{"type":"ack","data":{"up_to":"a-1"}}',
        b'{"type":"mark","data":{"state":"read"}}',
        b"{}",
        b"[1",
    ]
    frames = b"".join(frame(TEXT, text) for text in spoken) + frame(PING, b"x") + frame(CLOSE, b"\x03\xe8")
    conversations = [
        upgrade(f"/ws?token={token('eve')}") + frames,
        upgrade() + frame(TEXT, b'{"type":"auth","data":{"token":"a.b.c"}}') + frames,
        f"GET /events?token={token('eve')} HTTP/1.1\r\nHost: h\r\nLast-Event-ID: a-1\r\n\r\n".encode(),
        b"POST /v1/ack HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}" + GOOD,
    ]
    for _ in range(40):
        async with attack() as client:
            with contextlib.suppress(trio.BrokenResourceError):
                await client.send(mutated(random, random.choice(conversations)))
                await client.stream.send_eof()
            await client.rest()
    await victims.are_well()
    assert victims.service.doors[0].statistics().faults == 0
