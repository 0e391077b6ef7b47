"""WebSocket frames from the server to the client (RFC 6455 section 5.2). Pure: bytes in, bytes out.

Nothing here is masked (section 5.1) or fragmented, and no extension is ever in use.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from notifyd.errors import CloseCode

_TEXT: Final = 0x81  # FIN and the opcode
_CLOSE: Final = 0x88
_PONG: Final = 0x8A
#: A control frame's payload has at most 125 bytes (section 5.5).
MAX_CONTROL_PAYLOAD: Final = 125

PING_FRAME: Final = b"\x89\x00"


def text_frame(payload: bytes) -> bytes:
    """One whole text message; `payload` is UTF-8."""
    size = len(payload)
    if size < 126:
        return bytes((_TEXT, size)) + payload
    if size < 65536:
        return struct.pack("!BBH", _TEXT, 126, size) + payload
    return struct.pack("!BBQ", _TEXT, 127, size) + payload


def frame_entry(_cursor: str, message: bytes) -> bytes:
    """The window's framer of WebSocket: the message says its cursor itself."""
    return text_frame(message)


def pong_frame(payload: bytes) -> bytes:
    """The answer to a Ping, with its payload (section 5.5.3)."""
    return bytes((_PONG, len(payload))) + payload


def close_frame(code: CloseCode) -> bytes:
    """The last frame (section 5.5.1): the code and its reason from the table."""
    payload = struct.pack("!H", code) + code.reason.encode()
    return bytes((_CLOSE, len(payload))) + payload


def close_reply(code: int | None) -> bytes:
    """The answer to a client's Close, which repeats its code (section 5.5.1)."""
    return bytes((_CLOSE, 0)) if code is None else struct.pack("!BBH", _CLOSE, 2, code)


def are_whole(data: bytes) -> bool:
    """Whether `data`, beginning with a frame of the client, ends with the end of one (section 5.2)."""
    at, size = 0, len(data)
    while at + 2 <= size:
        start, length = at, data[at + 1] & 0x7F
        at += 6 if data[at + 1] & 0x80 else 2
        if length == 126:
            length = int.from_bytes(data[start + 2 : start + 4], "big")
            at += 2
        elif length == 127:
            return False
        at += length
    return at == size
