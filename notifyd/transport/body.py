"""Where a request's body ends, so that the door knows where the next head begins. Pure: no I/O, no Trio.

The bytes themselves go to the HTTP server untouched; the scanner only counts, and refuses what two parsers
could read in two ways (RFC 9112 sections 6 and 7.1).
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from notifyd.errors import BadRequest

if TYPE_CHECKING:
    from notifyd.transport.head import RequestHead

# RFC 9112 section 7.1; extensions are allowed to be there and mean nothing to us.
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e]*)?\r\n")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n")
_MAX_LINE_BYTES = 512
_MAX_TRAILER_BYTES = 4096


class Body(Protocol):
    """The extent of one request's body."""

    @property
    def complete(self) -> bool:
        """Whether every byte of the body has been fed."""

    def feed(self, data: bytes | bytearray) -> int:
        """How many leading bytes of `data` belong to the body. Raises BadRequest; then nothing may follow."""


def body_of(head: RequestHead) -> Body:
    """The scanner for the body that `head` announces; without one it is complete at once."""
    return ChunkedBody() if head.chunked else LengthBody(head.content_length or 0)


class LengthBody:
    """A body of a known number of bytes."""

    def __init__(self, length: int) -> None:
        self._missing = length

    @property
    def complete(self) -> bool:
        return self._missing == 0

    def feed(self, data: bytes | bytearray) -> int:
        taken = min(self._missing, len(data))
        self._missing -= taken
        return taken


class _Part(Enum):
    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()
    COMPLETE = auto()


class ChunkedBody:
    """A body in chunks (RFC 9112 section 7.1), trailer section included."""

    def __init__(self) -> None:
        self._part = _Part.SIZE
        self._missing = 0
        self._line = bytearray()
        self._trailer_bytes = 0

    @property
    def complete(self) -> bool:
        return self._part is _Part.COMPLETE

    def feed(self, data: bytes | bytearray) -> int:
        at = 0
        while at < len(data) and self._part is not _Part.COMPLETE:
            at += self._feed_data(data, at) if self._part is _Part.DATA else self._feed_line(data, at)
        return at

    def _feed_data(self, data: bytes | bytearray, at: int) -> int:
        taken = min(self._missing, len(data) - at)
        self._missing -= taken
        if self._missing == 0:
            self._part = _Part.DATA_END
        return taken

    def _feed_line(self, data: bytes | bytearray, at: int) -> int:
        limit = at + _MAX_LINE_BYTES - len(self._line)
        end = data.find(b"\n", at, limit)
        stop = min(len(data), limit) if end < 0 else end + 1
        self._line += data[at:stop]
        if end >= 0:
            line = bytes(self._line)
            self._line.clear()
            self._end_line(line)
        elif len(self._line) >= _MAX_LINE_BYTES:
            raise BadRequest("a line of the chunked body is too long")
        return stop - at

    def _end_line(self, line: bytes) -> None:
        if self._part is _Part.SIZE:
            self._begin_chunk(line)
        elif self._part is _Part.DATA_END:
            if line != b"\r\n":
                raise BadRequest("a chunk is longer than it said")
            self._part = _Part.SIZE
        elif line == b"\r\n":
            self._part = _Part.COMPLETE
        else:
            self._add_trailer(line)

    def _begin_chunk(self, line: bytes) -> None:
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise BadRequest("a chunk does not begin with its size")
        self._missing = int(match[1], 16)
        self._part = _Part.DATA if self._missing else _Part.TRAILER

    def _add_trailer(self, line: bytes) -> None:
        self._trailer_bytes += len(line)
        if _TRAILER.fullmatch(line) is None or self._trailer_bytes > _MAX_TRAILER_BYTES:
            raise BadRequest("the trailer section of the chunked body is malformed or too long")
