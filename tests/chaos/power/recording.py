"""Building the recorder, and reading what it has recorded."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_SOURCE: Final = Path(__file__).with_name("writes.c")
_HEAD: Final = struct.Struct("=BxHIQ")


class Step(NamedTuple):
    """One record; `end` is where it ends in the recording.

    what: w, `data` was written at `offset`; t, the file was cut to `offset` bytes; b and s, a sync of it
    began and was done; u, it was removed. A sync of the folder makes names durable.
    """

    what: str
    path: str
    offset: int
    data: bytes
    end: int


def build(folder: Path) -> Path:
    """Compile the recorder. Blocks. Raises subprocess.CalledProcessError."""
    library = folder / "writes.so"
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", library, _SOURCE], check=True)
    return library


def environment(library: Path, recording: Path, folder: Path) -> dict[str, str]:
    """By which a process records what it does to the files of `folder`."""
    return {
        "LD_PRELOAD": str(library),
        "CHAOS_WRITES": str(recording),
        "CHAOS_WRITES_UNDER": str(folder.resolve()),
    }


def read_steps(recording: Path) -> Iterator[Step]:
    """All steps in their order; one that a killed process has not ended is left out."""
    content = memoryview(recording.read_bytes())
    at = 0
    while at + _HEAD.size <= len(content):
        what, path_size, data_size, offset = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        if at + path_size + data_size > len(content):
            return
        path = bytes(content[at : at + path_size]).decode()
        at += path_size
        data = bytes(content[at : at + data_size])
        at += data_size
        yield Step(chr(what), path, offset, data, at)
