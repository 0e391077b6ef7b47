"""What the fuzzer sends: good requests and frames, and what becomes of them. All chance is from `random`."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
#: Bytes that parsers trip over.
SPICES = (
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b"\x7f", b"\xff", b"\xc3\xa9",
    b"\xe2\x80\xa8", b"\r\n ", b"\r\n\r\n", b"%00", b"%", b"?", b"#", b"..", b"//", b"0", b"-1",
    b"99999999999999999999",
    b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Host: x\r\n",
    b"Upgrade: h2c\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x88\x02\x03\xe8",
    b"\x81\xfe\xff\xff", b"\x89\x7f",
    b"\x16\x03\x01", b"A" * 300,
)  # fmt: skip
TEXTS = (
    '{"type":"ping","data":{}}',
    '{"type":"ack","data":{"up_to":"e-1"}}',
    '{"type":"mark","data":{"up_to":"e-1","state":"read"}}',
    '{"type":"auth","data":{"token":"a.b.c"}}',
    '{"type":"x","data":[[[[[[]]]]]]}',
    "[" * 500,
    '{"type":"ping","data":{"n":1e999,"a":"\\ud800"}}',
    "x" * 17_000,
)


def upgrade(token: str | None) -> bytes:
    """A handshake; without a token the first frame would have to bring it."""
    query = "" if token is None else f"?token={token}"
    return (
        f"GET /ws{query} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def requests(token: str) -> list[bytes]:
    """Good first requests of every lane."""
    body = b'{"type":"system-message","broadcast":true,"data":{"message":"m"}}'
    post = b"POST /v1/notifications HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer k\r\n"
    post += b"Content-Type: application/json\r\n"
    return [
        upgrade(token),
        upgrade(None),
        upgrade("a.b.c"),
        f"GET /events?token={token} HTTP/1.1\r\nHost: h\r\nLast-Event-ID: e-5\r\n\r\n".encode(),
        f"GET /v1/notifications?limit=2&token={token} HTTP/1.1\r\nHost: h\r\n\r\n".encode(),
        b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\nGET /livez HTTP/1.0\r\n\r\n",
        b"%bContent-Length: %d\r\n\r\n%b" % (post, len(body), body),
        b"%bTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (post, len(body), body),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        b"GET / HTTP/1.1\r\nHost: h\r\nCookie: accessToken=x\r\nOrigin: null\r\n\r\n",
    ]


def frame(random: Random, opcode: int, payload: bytes, *, fin: bool = True, masked: bool = True) -> bytes:
    """One client frame (RFC 6455 section 5.2)."""
    first = (0x80 if fin else 0) | opcode
    mask_bit = 0x80 if masked else 0
    if len(payload) < 126:
        head = bytes((first, mask_bit | len(payload)))
    elif len(payload) < 65_536:
        head = struct.pack("!BBH", first, mask_bit | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, mask_bit | 127, len(payload))
    if not masked:
        return head + payload
    mask = random.randbytes(4)
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def frames(random: Random) -> bytes:
    """A few frames, most of them allowed."""
    made = []
    for _ in range(random.randint(1, 5)):
        opcode = random.choice((0, 1, 1, 1, 2, 8, 9, 10, 3, 11))
        payload = (
            random.choice(TEXTS).encode()
            if opcode == 1
            else random.randbytes(random.choice((0, 2, 125, 126)))
        )
        made.append(frame(random, opcode, payload, fin=random.random() < 0.8, masked=random.random() < 0.95))
    return b"".join(made)


def mutated(random: Random, data: bytes) -> bytes:
    """`data` with a few things done to it."""
    changed = bytearray(data)
    for _ in range(random.choice((0, 1, 1, 2, 3, 8))):
        at = random.randint(0, len(changed))
        match random.randint(0, 5):
            case 0 if changed:
                changed[min(at, len(changed) - 1)] ^= 1 << random.randint(0, 7)
            case 1:
                changed[at:at] = random.choice(SPICES)
            case 2:
                del changed[at : at + random.choice((1, 2, 10, 100))]
            case 3:
                changed[at:at] = changed[at : at + random.choice((1, 8, 200))]
            case 4:
                changed[at:at] = random.randbytes(random.choice((1, 4, 64)))
            case _:
                changed = changed[:at] if random.random() < 0.3 else changed
    return bytes(changed)


def attack(random: Random, token: str) -> list[bytes]:
    """What one connection sends, in the pieces in which it does."""
    if random.random() < 0.5:
        data = mutated(random, random.choice(requests(token)))
    else:
        data = upgrade(token if random.random() < 0.7 else None) + mutated(random, frames(random))
    cuts = sorted(random.randint(0, len(data)) for _ in range(random.choice((0, 0, 1, 4))))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
