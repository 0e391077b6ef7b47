"""What a disk may hold after the power went: everything that was synced, and of the rest what chance keeps.

A sector is whole or not at all; any write that was not synced may be there, be missing, or be there in part,
whatever came before or after it. A name that was made or removed since the last sync of the folder may be in
either state. Pure: steps in, contents of files out.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from tests.chaos.power.recording import Step

SECTOR = 512


@dataclass
class _File:
    """`synced` is durable. `waiting` came after it; the first `syncing` of them are on their way."""

    synced: bytearray = field(default_factory=bytearray)
    waiting: list[Step] = field(default_factory=list)
    syncing: int = 0
    is_named: bool = False  # durably
    is_removed: bool = False  # perhaps not durably


class Disk:
    """Takes one step after another, and gives images of what may be there after the last one."""

    def __init__(self, before: dict[str, bytes], *, syncs: bool = True) -> None:
        """`before`: what was on it, by path. Without `syncs` no sync does anything: a disk that lies."""
        self._files = {path: _File(bytearray(content), is_named=True) for path, content in before.items()}
        self._syncs = syncs

    def take(self, step: Step) -> None:
        match step.what:
            case "b" | "s" if not self._syncs:
                pass
            case "s" if self._is_folder(step.path):
                self._keep_names(step.path)
            case "b" | "s" if self._is_folder(step.path):
                pass
            case "b":
                file = self._file(step.path)
                file.syncing = len(file.waiting)
            case "s":
                self._sync(self._file(step.path))
            case "u":
                self._file(step.path).is_removed = True
            case _:
                self._file(step.path).waiting.append(step)

    def _file(self, path: str) -> _File:
        """A new one where it was removed: what is written then is another file of that name."""
        known = self._files.get(path)
        if known is None or (known.is_removed and known.is_named is False):
            known = self._files[path] = _File()
        elif known.is_removed:
            known.is_removed = False
            known.waiting.append(_emptied(path))
        return known

    def _is_folder(self, path: str) -> bool:
        return any(name.startswith(f"{path}/") for name in self._files)

    def _keep_names(self, folder: str) -> None:
        for path in [path for path in self._files if path.startswith(f"{folder}/")]:
            if self._files[path].is_removed:
                del self._files[path]
            else:
                self._files[path].is_named = True

    def _sync(self, file: _File) -> None:
        for step in file.waiting[: file.syncing]:
            _apply(file.synced, step)
        del file.waiting[: file.syncing]
        file.syncing = 0

    def image(self, rng: random.Random) -> dict[str, bytes]:
        """One that is possible now. How much of what waits is there differs from image to image."""
        keep = rng.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        orderly = rng.random() < 0.25
        found = {}
        for path, file in self._files.items():
            if (file.is_removed or not file.is_named) and rng.random() < 0.5:
                continue
            content = deepcopy(file.synced)
            waiting = file.waiting
            if orderly:  # as if written back in order, up to some moment
                waiting = waiting[: rng.randrange(len(waiting) + 1)]
            for step in waiting:
                for part in _parts(step, 1.0 if orderly else keep, rng):
                    _apply(content, part)
            found[path] = bytes(content)
        return found


def _emptied(path: str) -> Step:
    from tests.chaos.power.recording import Step

    return Step("t", path, 0, b"", 0)


def _parts(step: Step, keep: float, rng: random.Random) -> list[Step]:
    """Of one write what is there: all, nothing, or some of its sectors."""
    if step.what != "w":
        return [step] if rng.random() < keep else []
    if rng.random() < 0.5:
        return [step] if rng.random() < keep else []
    first = step.offset // SECTOR
    last = (step.offset + len(step.data) - 1) // SECTOR
    kept = [sector for sector in range(first, last + 1) if rng.random() < keep]
    return [_within(step, sector) for sector in kept]


def _within(step: Step, sector: int) -> Step:
    begin = max(step.offset, sector * SECTOR)
    end = min(step.offset + len(step.data), (sector + 1) * SECTOR)
    return step._replace(offset=begin, data=step.data[begin - step.offset : end - step.offset])


def _apply(content: bytearray, step: Step) -> None:
    if step.what == "t":
        _resize(content, step.offset)
        return
    end = step.offset + len(step.data)
    if end > len(content):
        _resize(content, end)
    content[step.offset : end] = step.data


def _resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))
