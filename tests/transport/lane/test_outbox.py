"""Order on the wire, by real sockets whose buffers are small."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notifyd.transport.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio.testing import MockClock


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    yield ours, theirs
    ours.close()
    theirs.close()


def read_now(sock: socket.socket, size: int = 1 << 20) -> bytes:
    data = b""
    while len(data) < size:
        try:
            piece = sock.recv(size - len(data))
        except BlockingIOError:
            break
        if not piece:
            break
        data += piece
    return data


async def test_what_the_kernel_takes_leaves_nothing_behind(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    outbox = Outbox(pair[0])
    assert outbox.send(b"one")
    assert outbox.send(b"two")
    assert (outbox.queued, outbox.accepted) == (0, 6)
    assert read_now(pair[1]) == b"onetwo"


async def test_a_control_frame_waits_behind_the_half_of_a_message(
    autojump_clock: MockClock, pair: tuple[socket.socket, socket.socket]
) -> None:
    outbox = Outbox(pair[0])
    big = bytes(range(256)) * 1000
    assert not outbox.send(big)
    assert 0 < outbox.accepted < len(big)
    assert not outbox.send(b"CONTROL")
    assert outbox.queued == len(big) + 7 - outbox.accepted
    received = b""
    while not outbox.flush():
        received += read_now(pair[1], 1000)
    assert received + read_now(pair[1]) == big + b"CONTROL"
    assert outbox.queued == 0
    assert outbox.accepted == len(big) + 7


async def test_a_refused_chunk_is_offered_again_byte_for_byte(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """As an SSL socket wants it, whose last call must be repeated as it was."""
    offered: list[bytes] = []
    answers = [4, 0, 0, 6, 3]

    class Refusing(socket.socket):
        def send(self, data: bytes, flags: int = 0, /) -> int:  # type: ignore[override]
            offered.append(bytes(data))
            taken = answers.pop(0)
            if not taken:
                raise BlockingIOError
            return taken

    with Refusing() as sock:
        outbox = Outbox(sock)
        assert not outbox.send(b"0123456789")
        assert not outbox.send(b"abc")
        assert not outbox.flush()
        assert not outbox.flush()
        assert outbox.flush()
    assert offered == [b"0123456789", b"456789", b"456789", b"456789", b"abc"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 20_000)), max_size=12))
def test_every_byte_in_the_order_of_the_calls(sizes: list[tuple[int, int]]) -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            outbox, sent, received = Outbox(ours), b"", b""
            for number, (size, reading) in enumerate(sizes):
                data = bytes([number]) * size
                sent += data
                outbox.send(data)
                received += read_now(theirs, reading)
                outbox.flush()
            while not outbox.flush():
                received += read_now(theirs)
            assert received + read_now(theirs) == sent

    trio.run(run)


async def test_drain_waits_for_the_reader(
    autojump_clock: MockClock, pair: tuple[socket.socket, socket.socket]
) -> None:
    outbox = Outbox(pair[0])
    outbox.send(b"x" * 300_000)
    received = 0

    async def read_slowly() -> None:
        nonlocal received
        while received < 300_000:
            await trio.sleep(1)
            received += len(read_now(pair[1], 50_000))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_slowly)
        await outbox.drain()
        assert outbox.queued == 0
        assert outbox.progress_at == trio.current_time()
    assert received == 300_000


async def test_closing_wakes_whoever_drains(
    autojump_clock: MockClock, pair: tuple[socket.socket, socket.socket]
) -> None:
    outbox = Outbox(pair[0])
    outbox.send(b"x" * 300_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.drain)
        await trio.testing.wait_all_tasks_blocked()
        outbox.reset()
    assert (outbox.gone, outbox.queued) == (True, 0)


async def test_a_broken_connection_takes_everything_and_is_gone(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    outbox = Outbox(pair[0])
    pair[1].close()
    assert outbox.send(b"x")
    assert outbox.gone
    assert outbox.send(b"y")
    assert outbox.flush()
    assert outbox.unacknowledged() == 0
    outbox.end_writing()
    outbox.close()
    outbox.reset()


async def test_a_connection_that_breaks_with_a_rest_waiting(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    outbox = Outbox(pair[0])
    assert not outbox.send(b"x" * 300_000)
    pair[1].close()
    assert outbox.flush()
    assert (outbox.gone, outbox.queued) == (True, 0)


async def test_the_kernel_says_what_the_peer_has_not_confirmed() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()) as theirs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            ours, _ = listener.accept()
            with ours:
                ours.setblocking(False)
                outbox = Outbox(ours)
                assert outbox.unacknowledged() == 0
                while outbox.send(b"x" * 65536):
                    pass
                assert outbox.unacknowledged() > 0
