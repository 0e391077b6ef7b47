"""Server-sent events out of bytes (WHATWG HTML, section 9.2.6). Pure: no I/O, no clock, no Trio."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class EventTooBig(Exception):
    """An event, or a line that never ends, is larger than was agreed."""


class EventParser:
    """Gives the `data` of each event; ids, names and comments are not needed: a message has its own id."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = b""  # of a line that has not ended
        self._scanned = 0
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The events that end with `data`. Raises EventTooBig."""
        self._rest += data
        while (end := self._line_end()) is not None:
            line, self._rest = self._rest[: end[0]], self._rest[end[1] :]
            self._scanned = 0
            event = self._line(line)
            if event is not None:
                yield event
        if self._size + len(self._rest) > self._max_bytes:
            raise EventTooBig

    def _line_end(self) -> tuple[int, int] | None:
        """Where the next line ends and the one after it begins; LF, CR LF and CR end lines."""
        found = [
            at
            for at in (self._rest.find(b"\n", self._scanned), self._rest.find(b"\r", self._scanned))
            if at >= 0
        ]
        if not found:
            self._scanned = len(self._rest)
            return None
        at = min(found)
        if self._rest[at : at + 1] == b"\n":
            return at, at + 1
        if at + 1 == len(self._rest):  # an LF that belongs to it may follow
            self._scanned = at
            return None
        return at, at + 2 if self._rest[at + 1 : at + 2] == b"\n" else at + 1

    def _line(self, line: bytes) -> bytes | None:
        if not line:
            event, self._data, self._size = b"\n".join(self._data), [], 0
            return event or None
        name, _, value = line.partition(b":")
        if name == b"data":
            value = value.removeprefix(b" ")
            self._data.append(value)
            self._size += len(value)
        return None
