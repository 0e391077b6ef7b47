"""Notifications as JSON lines: cut, read and given their keys. Pure: no I/O."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The server's limit for one notification.
MAX_LINE_BYTES: Final = 64 * 1024
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_canonical = msgspec.json.Encoder(order="sorted")


class Line(NamedTuple):
    """A line and its number, counted from 1; `text` is None where it was too long to be kept."""

    number: int
    text: bytes | None


class Splitter:
    """Cuts bytes into lines; of one that is too long nothing is kept. Blank lines count but are left out."""

    def __init__(self) -> None:
        self._rest = b""
        self._too_long = False
        self._number = 0

    def feed(self, data: bytes) -> Iterator[Line]:
        """The lines that end in `data`."""
        *ended, rest = data.split(b"\n")
        for part in ended:
            yield from self._end(part)
        self._keep(rest)

    def end(self) -> Iterator[Line]:
        """The last line, when no newline ended it."""
        if self._rest or self._too_long:
            yield from self._end(b"")

    def _keep(self, part: bytes) -> None:
        self._too_long = self._too_long or len(self._rest) + len(part) > MAX_LINE_BYTES
        self._rest = b"" if self._too_long else self._rest + part

    def _end(self, part: bytes) -> Iterator[Line]:
        self._keep(part)
        self._number += 1
        text = self._rest.removeprefix(_BYTE_ORDER_MARK) if self._number == 1 else self._rest
        if self._too_long:
            yield Line(self._number, None)
        elif text := text.strip():
            yield Line(self._number, text)
        self._rest, self._too_long = b"", False


class BadLine(Exception):
    """What is wrong with a line, for whoever wrote it."""


class Reader:
    """Makes of each line what POST /v1/notifications takes.

    A line without an `idempotency_key` gets one that follows from what it says, from how many lines before
    it say the same, and from `batch`. So the same input again, also when other lines of it were mended,
    stores nothing twice; two lines that say the same are two notifications.
    """

    def __init__(self, batch: str = "") -> None:
        self._batch = batch
        self._seen: set[int] = set()
        self._repeats: dict[int, int] = {}

    def read(self, line: Line) -> dict[str, Any]:
        """The body. Raises BadLine."""
        if line.text is None:
            raise BadLine(f"longer than {MAX_LINE_BYTES:,} bytes")
        try:
            body = msgspec.json.decode(line.text)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
            raise BadLine(f"not JSON: {fault}") from None
        if not isinstance(body, dict):
            raise BadLine('not an object such as {"user_id": "7", "type": "system-message", "data": {…}}')
        if body.get("idempotency_key") is None:
            body["idempotency_key"] = self._key(body)
        return body

    def _key(self, body: dict[str, Any]) -> str:
        meaning = {name: value for name, value in body.items() if name != "idempotency_key"}
        digest = sha256(_canonical.encode([self._batch, meaning])).digest()
        return f"line-{digest[:16].hex()}-{self._count(int.from_bytes(digest[:8], 'big'))}"

    def _count(self, mark: int) -> int:
        """How many lines before said the same; most are the only one, which costs the least memory."""
        if mark not in self._seen:
            self._seen.add(mark)
            return 0
        self._repeats[mark] = self._repeats.get(mark, 0) + 1
        return self._repeats[mark]
