"""Records of a price file with their line numbers: CSV or JSON lines, gzipped or not, by content."""

from __future__ import annotations

import csv
import gzip
import io
import os
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from notifyd.errors import ConfigError
from notifyd.importer.rows import Row, RowError, RowParser, Spec, decode_object

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO, TextIO

#: RFC 1952 section 2.3.1.
_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGIC = b"PK\x03\x04"
_UTF8_MARK = b"\xef\xbb\xbf"
_HEAD_BYTES = 4096
#: Characters; a longer line is no price.
MAX_LINE = 64 * 1024
_DELIMITERS = ",;\t|"


class Numbered(NamedTuple):
    """A row, or why there is none, and the line where it began."""

    line: int
    row: Row | RowError


@dataclass(frozen=True)
class Source:
    """An open price file; `size` and `position` are bytes of the file as it lies on disk, 0 for a pipe."""

    text: TextIO
    is_json: bool
    size: int
    changed_ms: int
    raw: BinaryIO

    @property
    def position(self) -> int:
        return self.raw.tell() if self.size else 0


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open `path` and look what it is. Raises ConfigError for what cannot hold prices, OSError."""
    if path.is_dir():
        raise ConfigError(f"{path}: a folder; name a file in it")
    if not path.exists():
        raise ConfigError(f"{path}: there is no such file")
    with path.open("rb") as raw:
        status = os.fstat(raw.fileno())
        size = status.st_size if raw.seekable() else 0
        packed = raw.peek(2).startswith(_GZIP_MAGIC)
        data = gzip.GzipFile(fileobj=raw) if packed else raw
        with io.BufferedReader(cast("io.RawIOBase", data)) as buffered:
            is_json = _is_json(_head(buffered, path), path)
            # undecodable bytes survive as lone surrogates and fail with the row that has them
            with io.TextIOWrapper(buffered, "utf-8-sig", errors="surrogateescape", newline="") as text:
                yield Source(text, is_json, size, status.st_mtime_ns // 1_000_000, raw)


def _head(buffered: io.BufferedReader[Any], path: Path) -> bytes:
    try:
        return buffered.peek(_HEAD_BYTES)[:_HEAD_BYTES]
    except (EOFError, gzip.BadGzipFile, zlib.error) as fault:
        raise ConfigError(f"{path}: a damaged gzip file: {fault}") from None


def _is_json(head: bytes, path: Path) -> bool:
    start = head.removeprefix(_UTF8_MARK).lstrip()
    if not start:
        raise ConfigError(f"{path}: the file is empty")
    if start.startswith(_ZIP_MAGIC) or b"\0" in head:
        raise ConfigError(f"{path}: not a text file; give CSV or JSON lines in UTF-8, gzipped or not")
    if start.startswith(b"["):
        raise ConfigError(f"{path}: one JSON array; write one object a line instead")
    return start.startswith(b"{")


def read_rows(source: Source, spec: Spec) -> Iterator[Numbered]:
    """Every row in the file's order, good or bad. Raises ConfigError when no row can be good."""
    lines = _Lines(source.text)
    parsed = _json_rows(lines, spec) if source.is_json else _csv_rows(lines, spec)
    try:
        yield from parsed
    except (EOFError, gzip.BadGzipFile, zlib.error) as fault:
        yield Numbered(lines.number + 1, RowError(f"the gzip file is damaged from here on: {fault}"))


class _Lines:
    """The lines of a file with a bound on their length; a longer one is cut, and `cut` remembers where."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self.number = 0
        self.cut = 0

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(MAX_LINE):
            self.number += 1
            if len(line) == MAX_LINE and not line.endswith(("\n", "\r")):
                self.cut = self.number
                line = line[:80]
                while (rest := self._text.readline(MAX_LINE)) and not rest.endswith(("\n", "\r")):
                    pass
            yield line


def _json_rows(lines: _Lines, spec: Spec) -> Iterator[Numbered]:
    parser = RowParser(spec, None)
    for line in lines:
        if line.strip():
            yield Numbered(lines.number, _json_row(parser, lines, line))


def _json_row(parser: RowParser, lines: _Lines, line: str) -> Row | RowError:
    try:
        _refuse_cut(lines, lines.number)
        return parser.parse(decode_object(line))
    except RowError as fault:
        return fault


def _csv_rows(lines: _Lines, spec: Spec) -> Iterator[Numbered]:
    each = iter(lines)
    header = next((line for line in each if line.strip()), "")
    delimiter = max(_DELIMITERS, key=header.count)
    columns = [name.strip() for name in next(csv.reader([header], delimiter=delimiter))]
    doubled = {name for name in columns if columns.count(name) > 1}
    if doubled:
        raise ConfigError(f"two columns are called {doubled.pop()!r}; rename one")
    parser = RowParser(spec, columns)
    records = csv.reader(each, delimiter=delimiter)
    while True:
        start = lines.number + 1
        row = _csv_row(parser, lines, records, start)
        if row is None:
            return
        if row is not _BLANK:
            yield Numbered(start, row)


_BLANK = Row(b"", None)


def _csv_row(parser: RowParser, lines: _Lines, records: Any, start: int) -> Row | RowError | None:
    try:
        record = next(records, None)
        _refuse_cut(lines, start)
        if record is None:
            return None
        return parser.parse(record) if record else _BLANK
    except csv.Error as fault:
        return RowError(f"not CSV: {fault}; is a quote opened here and never closed?")
    except RowError as fault:
        return fault


def _refuse_cut(lines: _Lines, start: int) -> None:
    if lines.cut >= start:
        raise RowError(f"longer than {MAX_LINE} characters")
