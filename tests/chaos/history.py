"""What publishers and readers asked, got and saw, as JSON lines: all that the checker judges by."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

What = Literal["publish", "connect", "see", "gone", "garbled", "list", "listed", "fence", "fault"]
Outcome = Literal["invoke", "ok", "fail", "info"]


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line. `value` is a publication's own number, which its data carries; `cursor` is `<epoch>-<seq>`.

    publish  invoke, then ok (stored: `cursor`), fail (certainly not stored) or info (nobody knows)
    connect  ok: `by` asked to go on after `asked`, the server said where it starts, and `recovered`
    see      an entry came: its cursor and notification, and for whom its data says that it is
    gone     the connection has ended
    garbled  bytes came that no server may send
    list     an item of the user's inbox at the very end; `listed` says that this was all of it
    fence    the last publication of a run, which everyone must see
    fault    what was done to the server, in `note`
    """

    at: float
    by: str
    what: What
    outcome: Outcome = "ok"
    value: str = ""
    user: str | None = None  # None: everyone
    cursor: str = ""
    notification_id: str = ""
    asked: str | None = None
    recovered: bool = True
    reason: str | None = None
    note: str = ""


class Recorder:
    """Appends events; `by` names who did or saw it. One process, so one clock orders all of them."""

    def __init__(self, file: IO[bytes], clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._clock = clock
        self._encoder = msgspec.json.Encoder()
        self.lines = 0

    def note(self, by: str, what: What, **fields: object) -> None:
        """Write one line; see `Event` for the fields."""
        event = Event(self._clock(), by, what, **fields)  # type: ignore[arg-type]
        self._file.write(self._encoder.encode(event) + b"\n")
        self.lines += 1


@contextmanager
def open_recorder(path: Path) -> Iterator[Recorder]:
    """Record into `path` until the block is left."""
    with path.open("wb") as file:
        yield Recorder(file)


def read_history(path: Path) -> Iterator[Event]:
    """The events of a file, in order."""
    decoder = msgspec.json.Decoder(Event)
    with path.open("rb") as file:
        for line in file:
            yield decoder.decode(line)
