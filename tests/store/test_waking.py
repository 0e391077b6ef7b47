"""Being woken: what a listener does when it is left, lost, or cannot connect. Without a database."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import trio
from structlog.testing import capture_logs

from notifyd.errors import Unavailable
from notifyd.store import waking
from notifyd.store.waking import listen

if TYPE_CHECKING:
    import pytest


class Line:
    """A listening connection over a socket pair; `ring` is what the database does."""

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self.closed = threading.Event()

    def fileno(self) -> int:
        return self._near.fileno()

    def drain(self) -> bool:
        data = self._near.recv(100)
        if not data:
            raise Unavailable("lost")
        return b"!" in data

    def close(self) -> None:
        self._near.close()
        self._far.close()
        self.closed.set()

    def ring(self, data: bytes = b"!") -> None:
        self._far.send(data)

    def lose(self) -> None:
        self._far.shutdown(socket.SHUT_RDWR)


async def test_it_wakes_once_at_first_then_for_notifications_and_after_a_loss() -> None:
    lines: list[Line] = []
    send, receive = trio.open_memory_channel[None](100)

    def connect() -> Line:
        lines.append(Line())
        return lines[-1]

    async def woken() -> None:
        with trio.fail_after(20):
            await receive.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen, connect, lambda: send.send_nowait(None))
        await woken()
        lines[0].ring(b".")  # something else
        lines[0].ring()
        await woken()
        with capture_logs() as logs:
            lines[0].lose()
            await woken()
        assert [line["error"] for line in logs] == ["lost"]
        assert lines[0].closed.is_set()
        lines[1].ring()
        await woken()
        nursery.cancel_scope.cancel()
    assert lines[1].closed.is_set()
    assert receive.statistics().current_buffer_used == 0


async def test_pauses_grow_while_it_cannot_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(waking, "MOST_PAUSE_S", 0.005)
    woken = trio.Event()
    faults = [Unavailable("nobody there")] * 5

    def connect() -> Line:
        if faults:
            raise faults.pop()
        return Line()

    with capture_logs() as logs, trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, connect, woken.set)
            await woken.wait()
            nursery.cancel_scope.cancel()
    assert [line["again_in_s"] for line in logs] == [0.001, 0.002, 0.004, 0.005, 0.005]


async def test_a_connection_that_comes_too_late_is_closed() -> None:
    begun, release = threading.Event(), threading.Event()
    line = Line()

    def connect() -> Line:
        begun.set()
        release.wait(20)
        return line

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen, connect, lambda: None)
        await trio.to_thread.run_sync(begun.wait)
        nursery.cancel_scope.cancel()
    assert not line.closed.is_set()
    release.set()
    assert await trio.to_thread.run_sync(line.closed.wait, 20)
