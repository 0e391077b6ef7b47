"""Being woken by the database: PostgreSQL's LISTEN, waited for on the connection's socket by Trio itself."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Never, Protocol

import structlog
import trio

from notifyd.errors import StoreError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds before a lost connection is opened again, at first and at most.
FIRST_PAUSE_S: Final = 0.1
MOST_PAUSE_S: Final = 5.0

log = structlog.get_logger("notifyd.store")


class Listening(Protocol):
    """A connection that listens."""

    def fileno(self) -> int: ...

    def drain(self) -> bool:
        """Take what has come, without waiting; whether anything has. Raises Unavailable when lost."""
        ...

    def close(self) -> None: ...


async def listen(connect: Callable[[], Listening], wake: Callable[[], None]) -> Never:
    """Call `wake` for what the database notifies, and whenever something may have been missed.

    `connect` blocks and raises StoreError. A lost connection is one line in the log, and is opened again
    with growing pauses.
    """
    pause = FIRST_PAUSE_S
    while True:
        try:
            listening = await _connected(connect)
            try:
                wake()
                pause = FIRST_PAUSE_S
                await _hear(listening, wake)
            finally:
                trio.lowlevel.notify_closing(listening.fileno())
                listening.close()
        except StoreError as error:
            log.warning(
                "not woken by the database; it is asked now and then", again_in_s=pause, error=str(error)
            )
        await trio.sleep(pause)
        pause = min(MOST_PAUSE_S, pause * 2)


async def _connected(connect: Callable[[], Listening]) -> Listening:
    """Connect in a thread; when nobody waits for it any more, it closes what it has opened."""
    lock = threading.Lock()
    made: list[Listening] = []
    left = False

    def run() -> Listening:
        listening = connect()
        with lock:
            if not left:
                made.append(listening)
                return listening
        listening.close()
        raise Unavailable("nobody waits for it")

    try:
        return await trio.to_thread.run_sync(run, abandon_on_cancel=True)
    except trio.Cancelled:
        with lock:
            left = True
            for each in made:
                each.close()
        raise


async def _hear(listening: Listening, wake: Callable[[], None]) -> Never:
    while True:
        await trio.lowlevel.wait_readable(listening.fileno())
        if listening.drain():
            wake()
