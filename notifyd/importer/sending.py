"""Batches of rows to the server, and what became of them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from time import time_ns
from typing import TYPE_CHECKING, Any

import trio

from notifyd.errors import ConfigError
from notifyd.importer.reading import Numbered, Source, open_source, read_rows
from notifyd.importer.rows import Row
from notifyd.messages import iso

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from notifyd.importer.rows import Spec

#: One batch is one run of the checker and one transaction, which should stay short.
BATCH_ROWS = 1000
#: Bytes; the server's limit is 4 MiB.
BATCH_BYTES = 3_500_000


@dataclass
class Batch:
    """Rows that go in together: all observed at one time, or all without a time."""

    observed_at: str | None
    lines: list[int] = field(default_factory=list)
    rows: list[bytes] = field(default_factory=list)
    size: int = 0

    def takes(self, row: Row) -> bool:
        full = len(self.rows) == BATCH_ROWS or self.size + len(row.json) > BATCH_BYTES
        return not full and row.observed_at == self.observed_at

    def add(self, line: int, row: Row) -> None:
        self.lines.append(line)
        self.rows.append(row.json)
        self.size += len(row.json) + 1

    def body(self, trailer: bytes) -> bytes:
        return b'{"prices":[' + b",".join(self.rows) + b"]}" + trailer


@dataclass(frozen=True)
class Summary:
    """How an import went, in rows."""

    read: int
    added: int
    known: int
    bad: int


@dataclass(frozen=True)
class Progress:
    """How far it is: rows read, and bytes of the file out of all."""

    rows: int
    position: int
    size: int


@dataclass
class _Counts:
    read: int = 0
    added: int = 0
    known: int = 0
    bad: int = 0
    failure: Exception | None = None
    told_file_time: bool = False


async def import_prices(
    path: Path,
    spec: Spec,
    post: Callable[[bytes], Awaitable[dict[str, Any]]],
    *,
    on_bad: Callable[[int, str], None],
    on_note: Callable[[str], None] = lambda _: None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Summary:
    """Send every good row of `path` in the file's order; `on_bad(line, reason)` hears of the others.

    Rows of a file that has no times count as observed when the file was last changed, so that importing it
    again adds nothing; `on_note` is told so.

    `post` sends one batch and gives the server's answer. Raises ConfigError, OSError, and what `post` raises.
    Cancellation: batches already answered stay stored; importing the file again adds only the rest.
    """
    counts = _Counts()
    trailer = _trailer()
    failure: Exception | None = None
    with open_source(path) as source:
        spec = replace(spec, file_time=_changed_at(source))
        # the next batch is parsed while the server stores this one
        send, receive = trio.open_memory_channel[Batch](1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_produce, source, spec, send, counts, on_bad, on_progress)
            try:
                async for batch in receive:
                    if batch.observed_at == spec.file_time and not counts.told_file_time:
                        counts.told_file_time = True
                        on_note(f"no time given: prices count as observed {spec.file_time}, as the file is")
                    _count(batch, await post(batch.body(trailer)), counts, on_bad)
            except Exception as error:  # raised below, bare: a nursery would wrap it in a group
                failure = error
                nursery.cancel_scope.cancel()
    failure = failure or counts.failure
    if failure is not None:
        raise failure
    return Summary(counts.read, counts.added, counts.known, counts.bad)


def _changed_at(source: Source) -> str:
    """When the file was last changed, which is never later than now, whatever its clock said."""
    return iso(min(source.changed_ms, time_ns() // 1_000_000))


def _trailer() -> bytes:
    """Blanks that differ from import to import.

    The server answers the very same body with the very same counts: right for a second try, but a second
    import would be told that its rows are new.
    """
    return format(secrets.randbits(64), "064b").translate({48: " ", 49: "\t"}).encode()


async def _produce(
    source: Source,
    spec: Spec,
    send: trio.MemorySendChannel[Batch],
    counts: _Counts,
    on_bad: Callable[[int, str], None],
    on_progress: Callable[[Progress], None],
) -> None:
    with send:
        try:
            for batch in _batches(read_rows(source, spec), counts, on_bad):
                on_progress(Progress(counts.read, source.position, source.size))
                await send.send(batch)
        except (ConfigError, OSError) as error:
            counts.failure = error
            return
    on_progress(Progress(counts.read, source.size, source.size))


def _batches(
    rows: Iterator[Numbered], counts: _Counts, on_bad: Callable[[int, str], None]
) -> Iterator[Batch]:
    batch: Batch | None = None
    for line, row in rows:
        counts.read += 1
        if not isinstance(row, Row):
            counts.bad += 1
            on_bad(line, str(row))
            continue
        if batch is None or not batch.takes(row):
            if batch is not None:
                yield batch
            batch = Batch(row.observed_at)
        batch.add(line, row)
    if batch is not None:
        yield batch


def _count(batch: Batch, answer: dict[str, Any], counts: _Counts, on_bad: Callable[[int, str], None]) -> None:
    rejected = answer.get("rejected", [])
    for each in rejected:
        on_bad(batch.lines[each["index"]], each["reason"])
    accepted = len(batch.rows) - len(rejected)
    added = answer.get("added", accepted)
    counts.bad += len(rejected)
    counts.added += added
    counts.known += accepted - added
