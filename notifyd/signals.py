"""Stopping a process by signals: kindly at the first, at once at the second, hard at the last deadline.

SIGHUP stops nothing: it has settings read again.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Never

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: Seconds after the second signal within which the process is gone.
IMPATIENT_S = 2.0
#: What `os._exit` says when the process did not end in time by itself.
FORCED_EXIT_STATUS = 70


class Stop:
    """Whether this process has been asked to stop."""

    def __init__(self, scope: trio.CancelScope) -> None:
        self._asked = trio.Event()
        self._scope = scope
        self._ready = False

    def ready(self) -> None:
        """From now on a stop is waited for with `wait`; before this it cancels the block."""
        self._ready = True

    async def wait(self) -> None:
        """Until a signal asks for the stop."""
        await self._asked.wait()

    def ask(self) -> None:
        """What the first signal does."""
        self._asked.set()
        if not self._ready:
            self._scope.cancel()

    def insist(self) -> None:
        """What the second signal does."""
        self._scope.cancel()


@asynccontextmanager
async def open_stop(
    patience_s: float, *, force: Callable[[], object] = lambda: os._exit(FORCED_EXIT_STATUS)
) -> AsyncIterator[Stop]:
    """Listen for SIGINT and SIGTERM while the block runs.

    `patience_s` seconds after the first signal `force` is called, whatever the event loop is doing; so it is
    IMPATIENT_S after the second, which also cancels the block.
    """
    async with trio.open_nursery() as nursery:
        stop = Stop(trio.CancelScope())
        await nursery.start(_listen, stop, patience_s, force)
        with stop._scope:
            yield stop
        nursery.cancel_scope.cancel()


async def run_reloads(
    reload: Callable[[], Awaitable[None]], task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> Never:
    """Call `reload` at each SIGHUP, one after another; several that come meanwhile are one."""
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            await reload()
    raise AssertionError("the receiver has no end")


async def _listen(
    stop: Stop,
    patience_s: float,
    force: Callable[[], object],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    with trio.open_signal_receiver(*STOP_SIGNALS) as signals:
        task_status.started()
        await anext(signals)
        _force_after(patience_s, force)
        stop.ask()
        await anext(signals)
        _force_after(IMPATIENT_S, force)
        stop.insist()
        await trio.sleep_forever()


def _force_after(seconds: float, force: Callable[[], object]) -> None:
    """A timer in a thread, because an event loop that hangs cannot end itself.

    Nobody cancels it: until the interpreter is gone, something may still hang.
    """
    timer = threading.Timer(seconds, force)
    timer.daemon = True
    timer.start()
