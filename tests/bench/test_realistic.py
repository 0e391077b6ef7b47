"""The realistic load finds what a sabotage does: a proxy leaves out, repeats or exchanges single frames."""

from __future__ import annotations

import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from bench.load import LoadFailed
from bench.realistic import TYPE, Entry, Job, Stored, converse, expected, faults, text_of
from bench.server import notifyd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from bench.server import Notifyd

USERS = ("ada", "ben")
#: Which data frame in all is tampered with.
VICTIM = 15

#: Instead of a frame: it comes behind the connection's next one.
HOLD = b"hold"


def entries(*numbers: int) -> list[Entry]:
    return [Entry(number, number) for number in numbers]


def test_what_is_right_has_no_faults() -> None:
    assert faults(entries(1, 2, 3), entries(1, 2, 3)) == []


@pytest.mark.parametrize(
    ("got", "fault"),
    [
        (entries(1, 3), "lost"),
        (entries(1, 2, 2, 3), "repeated"),
        (entries(1, 3, 2), "out of order"),
        (entries(1, 2, 3, 4), "never meant for it"),
        ([Entry(1, 1), Entry(2, 9), Entry(3, 3)], "never meant for it"),
    ],
)
def test_each_fault_is_named(got: list[Entry], fault: str) -> None:
    assert any(fault in found for found in faults(entries(1, 2, 3), got))


def test_a_user_is_due_its_own_and_everyones_in_the_order_of_the_log() -> None:
    stored = [Stored(Entry(3, 0), None), Stored(Entry(1, 1), "ada"), Stored(Entry(2, 2), "ben")]
    assert expected(stored, "ada") == [Entry(1, 1), Entry(3, 0)]


def test_each_number_has_its_own_text() -> None:
    assert len({text_of(number) for number in range(100)}) == 100
    assert text_of(7) == text_of(7)


@pytest.fixture(scope="module")
def server() -> Iterator[Notifyd]:
    with notifyd() as running:
        yield running


def url_of(server: Notifyd) -> str:
    return "http://{}:{}".format(*server.address)


def job_of(server: Notifyd, url: str, kind: str = "websocket", patience_s: float = 10.0) -> Job:
    tokens = {user: server.token(user) for user in USERS}
    return Job(url, server.publish_key, tokens, kind, seconds=0.6, patience_s=patience_s)


@pytest.mark.parametrize("kind", ["websocket", "sse"])
async def test_notifyd_is_right(kind: str, server: Notifyd) -> None:
    checked = await converse(job_of(server, url_of(server), kind))
    assert checked.clients == 3 * len(USERS)
    assert checked.messages > checked.published > 0


async def test_through_a_proxy_that_does_nothing_it_is_right(server: Notifyd) -> None:
    async with proxy(server, lambda frame: [frame]) as url:
        assert (await converse(job_of(server, url))).messages


@pytest.mark.parametrize(
    ("sabotage", "fault"), [("drop", "lost"), ("repeat", "repeated"), ("exchange", "out of order")]
)
async def test_a_sabotage_is_found(sabotage: str, fault: str, server: Notifyd) -> None:
    async with proxy(server, Saboteur(sabotage)) as url:
        with pytest.raises(LoadFailed, match=fault):
            await converse(job_of(server, url, patience_s=1.0 if sabotage == "drop" else 10.0))


# --- the saboteur ----------------------------------------------------------------------------------------


class Saboteur:
    """Does it to one notification of one connection."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._seen = 0

    def __call__(self, frame: bytes) -> list[bytes]:
        if TYPE.encode() not in frame:
            return [frame]
        self._seen += 1
        if self._seen != VICTIM:
            return [frame]
        return {"drop": [], "repeat": [frame, frame], "exchange": [HOLD]}[self._what]


@asynccontextmanager
async def proxy(server: Notifyd, tamper: Callable[[bytes], list[bytes]]) -> AsyncIterator[str]:
    """A server that hands everything on, and asks `tamper` about each WebSocket frame for a client."""

    async def serve(client: trio.SocketStream) -> None:
        async with (
            client,
            await trio.open_tcp_stream(*server.address) as upstream,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(_copy, client, upstream, nursery.cancel_scope)
            await _tampered(upstream, client, tamper)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def _copy(source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        async for data in source:
            await sink.send_all(data)
    scope.cancel()


async def _tampered(
    source: trio.SocketStream, sink: trio.SocketStream, tamper: Callable[[bytes], list[bytes]]
) -> None:
    """Plain HTTP goes through as it is; what follows a 101 is cut into frames."""
    pending = b""
    upgraded = False
    held = b""
    with contextlib.suppress(trio.BrokenResourceError):
        async for data in source:
            pending += data
            if not upgraded:
                head, end, rest = pending.partition(b"\r\n\r\n")
                upgraded = head.startswith(b"HTTP/1.1 101") and bool(end)
                await sink.send_all(head + end if upgraded else pending)
                pending = rest if upgraded else b""
            while upgraded and (size := _frame_bytes(pending)):
                frame, pending = pending[:size], pending[size:]
                frames = tamper(frame)
                if frames == [HOLD]:
                    held = frame
                    continue
                await sink.send_all(b"".join([*frames, held]))
                held = b""


def _frame_bytes(data: bytes) -> int:
    """The length of the frame that `data` begins with (RFC 6455 section 5.2); 0 while some is lacking."""
    if len(data) < 4:
        return 0
    size = data[1]
    head = 2
    if size == 126:
        head, size = 4, int.from_bytes(data[2:4], "big")
    assert size != 127
    return head + size if len(data) >= head + size else 0
