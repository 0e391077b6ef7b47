"""Mail as files: `.eml`, which every mail program opens. For the demo and for trying things out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import trio

from notifyd.mail.carrying import Sent, Temporary

if TYPE_CHECKING:
    from pathlib import Path

    from notifyd.mail.carrying import Outcome


class Folder:
    """Writes each mail into a file that has its message's name, so that a second try replaces it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._limiter = trio.CapacityLimiter(2)

    async def post(self, message_id: str, sender: str, recipient: str, mail: bytes) -> Outcome:
        """Write it; the file has its name only when it is whole. A full disk is temporary."""
        target = self._path / f"{message_id}.eml"
        try:
            await trio.to_thread.run_sync(_write, target, mail, limiter=self._limiter)
        except OSError as error:
            return Temporary(f"{target}: {error.strerror}")
        return Sent()


def _write(target: Path, mail: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_suffix(".new")
    with new.open("wb") as file:
        file.write(mail)
        file.flush()
        os.fsync(file.fileno())
    new.replace(target)
