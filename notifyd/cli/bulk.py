"""Publishing many notifications: lines are read while the server stores those before them."""

from __future__ import annotations

import os
import re
import stat
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NoReturn

import trio

from notifyd.cli.lines import BadLine, Line, Reader, Splitter
from notifyd.cli.wording import printable
from notifyd.errors import HttpError, OutcomeUnknown, Unavailable
from notifyd.importer import Progress
from notifyd.messages import encode_json
from notifyd.publisher import BATCH_ITEMS, Published

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
    from pathlib import Path

    from notifyd.cli.progress import Notice

    Outcome = Published | HttpError
    Publish = Callable[[Sequence[dict[str, Any]]], Awaitable[list[Outcome]]]

_READ_BYTES: Final = 64 * 1024
#: Pieces that are read ahead.
_AHEAD: Final = 16
#: Where in its batch the server found a fault means nothing to whoever wrote the line.
_PLACE = re.compile(r"\$\.notifications\[[0-9]+\]")


@dataclass
class Counts:
    """How it went, in lines."""

    read: int = 0
    stored: int = 0
    known: int = 0
    rejected: int = 0

    def __str__(self) -> str:
        return (
            f"{self.read:,} lines read: {self.stored:,} stored new, {self.known:,} already there, "
            f"{self.rejected:,} rejected"
        )


class Bulk:
    """Sends numbered lines in batches; `tell` hears of each line's outcome, or why it was not sent."""

    def __init__(
        self, publish: Publish, reader: Reader, tell: Callable[[int, Outcome | BadLine], None]
    ) -> None:
        self._publish = publish
        self._reader = reader
        self._tell = tell
        self.counts = Counts()

    async def send(self, lines: Sequence[Line]) -> None:
        """At most a batch. Raises Unavailable or OutcomeUnknown when the server stays away."""
        self.counts.read += len(lines)
        outcomes: dict[int, Outcome | BadLine] = {}
        bodies = {}
        for line in lines:
            try:
                bodies[line.number] = self._reader.read(line)
            except BadLine as fault:
                outcomes[line.number] = fault
        if bodies:
            answers = await self._publish(list(bodies.values()))
            outcomes.update(zip(bodies, answers, strict=True))
        self._note(sorted(outcomes.items(), key=itemgetter(0)))

    def _note(self, outcomes: Sequence[tuple[int, Outcome | BadLine]]) -> None:
        missing = []
        for number, outcome in outcomes:
            if isinstance(outcome, Unavailable | OutcomeUnknown):
                missing.append((number, outcome))
                continue
            if isinstance(outcome, Published):
                self.counts.known += outcome.repeated
                self.counts.stored += not outcome.repeated
            else:
                self.counts.rejected += 1
            self._tell(number, outcome)
        if missing:
            self._stop(*missing[0])

    def _stop(self, number: int, fault: HttpError) -> NoReturn:
        so_far = f"{self.counts.stored:,} lines were stored"
        again = "send the same again: what is stored is not stored twice"
        raise type(fault)(f"stopped at line {number}: {fault.detail}; {so_far}; {again}")


def words_of(fault: HttpError | BadLine) -> str:
    """What is wrong, with its place in the line where the server gave one."""
    text = _PLACE.sub("$", fault.detail if isinstance(fault, HttpError) else str(fault))
    return text.removesuffix(" - at `$`")


def tell_line(notice: Notice, number: int, outcome: Outcome | BadLine, *, json: bool) -> None:
    """Say what is wrong with a line; with `json` print what became of each, rejected or not."""
    if isinstance(outcome, Published):
        if json:
            status = 200 if outcome.repeated else 201
            told = {"line": number, "status": status, "id": outcome.id}
            told |= {"notification_id": outcome.notification_id, "live_connections": outcome.live_connections}
            print(encode_json(told).decode(), flush=True)
        return
    words = words_of(outcome)
    if json:
        status = outcome.status if isinstance(outcome, HttpError) else 400
        print(encode_json({"line": number, "status": status, "error": words}).decode(), flush=True)
    notice(f"line {number}: {' '.join(printable(words).split())}")


async def publish_lines(
    path: Path, bulk: Bulk, *, on_progress: Callable[[Progress], None] = lambda _: None
) -> None:
    """Send every line of `path`, or of standard input for `-`, in order; what has come is not kept waiting.

    Raises OSError and what `bulk.send` raises. Cancellation: batches already answered stay stored.
    """
    failure: Exception | None = None
    async with _opened(path) as (file, size):
        put, take = trio.open_memory_channel[tuple[list[Line], int]](_AHEAD)
        async with trio.open_nursery() as nursery:
            try:
                nursery.start_soon(_read, file, put)
                await _send(take, bulk, size, on_progress)
            except Exception as error:  # raised below, bare: a nursery would wrap it in a group
                failure = error
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _send(
    take: trio.MemoryReceiveChannel[tuple[list[Line], int]],
    bulk: Bulk,
    size: int,
    on_progress: Callable[[Progress], None],
) -> None:
    async for lines, position in take:
        while len(lines) < BATCH_ITEMS:
            try:
                more, position = take.receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel):
                break
            lines = lines + more
        for start in range(0, len(lines), BATCH_ITEMS):
            await bulk.send(lines[start : start + BATCH_ITEMS])
            on_progress(Progress(bulk.counts.read, position, size))


async def _read(file: int, put: trio.MemorySendChannel[tuple[list[Line], int]]) -> None:
    """Give up waiting when it is cancelled: a thread that reads from a silent pipe would never return."""
    splitter, position = Splitter(), 0
    with put:
        while data := await trio.to_thread.run_sync(os.read, file, _READ_BYTES, abandon_on_cancel=True):
            position += len(data)
            if lines := [*splitter.feed(data)]:
                await put.send((lines, position))
        if lines := [*splitter.end()]:
            await put.send((lines, position))


@asynccontextmanager
async def _opened(path: Path) -> AsyncGenerator[tuple[int, int], None]:
    """A file's descriptor and size; 0 where there is none to know.

    Cancellation: a pipe that nobody writes to keeps the thread that opens it.
    """
    if str(path) == "-":
        yield sys.stdin.fileno(), _size(sys.stdin.fileno())
        return
    with await trio.to_thread.run_sync(path.open, "rb", abandon_on_cancel=True) as file:
        yield file.fileno(), _size(file.fileno())


def _size(file: int) -> int:
    found = os.fstat(file)
    return found.st_size if stat.S_ISREG(found.st_mode) else 0
