"""Sockets of memory do what the kernel's do; what both can do is tried on both."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio
import trio.lowlevel

from notifyd.testing.network import MemoryNetwork, MemoryStream, wait_readable, wait_writable
from notifyd.testing.pipes import BUFFER_BYTES, MemorySocket, Weather, socket_pair
from notifyd.transport.network import KERNEL, Network

if TYPE_CHECKING:
    from collections.abc import Iterator

    Pair = tuple[Any, Any, Network]


def calm(latency_s: float = 0.0) -> Weather:
    weather = Weather(random.Random(1))
    weather.latency_s, weather.cut_chance = latency_s, 0.0
    return weather


@pytest.fixture(params=["memory", "kernel"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two connected sockets, and the network to wait with."""
    if request.param == "memory":
        network = MemoryNetwork(random.Random(1)).for_server()
        yield *socket_pair(calm(), 1), network
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        for sock in (client, server):
            sock.setblocking(False)
        yield client, server, KERNEL
        client.close()
        server.close()


def fill(sock: Any) -> None:
    """Send until nothing more is taken."""
    with contextlib.suppress(BlockingIOError):
        while True:
            assert sock.send(bytes(65536)) > 0


async def empty(sock: Any) -> None:
    """Receive all that is there."""
    with contextlib.suppress(BlockingIOError):
        while True:
            assert sock.recv(65536)
            await trio.lowlevel.checkpoint()


async def send_for_a_while(sock: Any) -> None:
    for _ in range(100):
        sock.send(b"x")
        await trio.sleep(0.001)


async def test_bytes_arrive_in_order(pair: Pair) -> None:
    ours, theirs, network = pair
    assert ours.send(b"one ") == 4
    assert ours.send(memoryview(b"two")) == 3
    got = b""
    while len(got) < 7:
        await network.wait_readable(theirs)
        buffer = memoryview(bytearray(2))
        got += bytes(buffer[: theirs.recv_into(buffer)])
    assert got == b"one two"
    with pytest.raises(BlockingIOError):
        theirs.recv(1)


async def test_a_full_buffer_takes_a_part_then_nothing_then_more(pair: Pair) -> None:
    ours, theirs, network = pair
    data = bytes(8 * 1024 * 1024)
    assert 0 < ours.send(data) < len(data)
    fill(ours)
    with trio.move_on_after(0.05) as scope:
        await network.wait_writable(ours)
    assert scope.cancelled_caught
    await empty(theirs)
    await network.wait_writable(ours)
    assert ours.send(b"x") == 1


async def test_half_a_connection_is_closed(pair: Pair) -> None:
    ours, theirs, network = pair
    ours.send(b"last")
    ours.shutdown(socket.SHUT_WR)
    await network.wait_readable(theirs)
    assert theirs.recv(10) == b"last"
    await network.wait_readable(theirs)
    assert theirs.recv(10) == b""
    with pytest.raises(BrokenPipeError):
        ours.send(b"more")
    theirs.send(b"answer")
    await network.wait_readable(ours)
    assert ours.recv(10) == b"answer"


async def test_a_reset_breaks_both_directions(pair: Pair) -> None:
    ours, theirs, network = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    network.notify_closing(ours)
    ours.close()
    await network.wait_readable(theirs)
    with pytest.raises(ConnectionResetError):
        theirs.recv(1)
    with pytest.raises(OSError):  # noqa: PT011  (EPIPE or ECONNRESET, as the system likes)
        theirs.send(b"x")


async def test_closing_with_bytes_unread_resets(pair: Pair) -> None:
    ours, theirs, network = pair
    theirs.send(b"never read")
    await network.wait_readable(ours)
    network.notify_closing(ours)
    ours.close()
    await network.wait_readable(theirs)
    with pytest.raises(ConnectionResetError):
        theirs.recv(1)


@pytest.mark.parametrize("wait", ["wait_readable", "wait_writable"])
async def test_who_waits_is_told_of_the_closing(pair: Pair, wait: str) -> None:
    ours, _, network = pair
    fill(ours)
    told = trio.Event()

    async def waiter() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await getattr(network, wait)(ours)
        told.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiter)
        await trio.testing.wait_all_tasks_blocked()
        network.notify_closing(ours)
        ours.close()
        with trio.fail_after(5):
            await told.wait()
    assert ours.fileno() == -1
    with pytest.raises(OSError, match=r"closed|descriptor"):
        ours.recv(1)


async def test_who_sends_to_one_that_is_gone_is_reset(pair: Pair) -> None:
    ours, theirs, network = pair
    network.notify_closing(theirs)
    theirs.close()
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        await send_for_a_while(ours)


async def test_what_is_unconfirmed(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = socket_pair(calm(1.0), 1)
    network = MemoryNetwork(random.Random(1)).for_server()
    ours.send(bytes(100))
    assert network.unacknowledged(cast("Any", ours)) == 100  # on its way
    await wait_readable(theirs)
    assert network.unacknowledged(cast("Any", ours)) == 0  # there, though unread
    ours.send(bytes(2 * BUFFER_BYTES))
    await trio.sleep(2)
    assert network.unacknowledged(cast("Any", ours)) == BUFFER_BYTES  # the receiver's side has no room


async def test_latency_is_virtual_and_keeps_the_order(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = socket_pair(calm(60.0), 1)
    for number in range(20):
        ours.send(bytes([number]))
    got = b""
    while len(got) < 20:
        await wait_readable(theirs)
        got += theirs.recv(100)
    assert got == bytes(range(20))
    assert 30 < trio.current_time() <= 60


async def test_a_send_is_cut_now_and_then() -> None:
    weather = calm()
    weather.cut_chance = 0.5
    ours, _ = socket_pair(weather, 1)
    taken = [ours.send(bytes(100)) for _ in range(20)]
    assert 100 in taken
    assert any(0 < size < 100 for size in taken)


# --- the whole network ----------------------------------------------------------------------------------


async def accepted(network: Network, listener: Any) -> MemorySocket:
    await network.wait_readable(listener)
    sock, (host, _) = listener.accept()
    assert host == "127.0.0.1"
    return cast("MemorySocket", sock)


async def test_nobody_listens() -> None:
    with pytest.raises(ConnectionRefusedError, match="nothing listens on port 8000"):
        await MemoryNetwork(random.Random(1)).connect()


async def test_streams_reach_a_listener(autojump_clock: trio.testing.MockClock) -> None:
    memory = MemoryNetwork(random.Random(1))
    network = memory.for_server()
    (listener,) = network.listen("127.0.0.1:0")
    stream = await memory.connect()
    server = await accepted(network, listener)
    with pytest.raises(BlockingIOError):
        listener.accept()
    data = random.Random(2).randbytes(200_000)
    got = bytearray()

    async def read() -> None:
        while True:
            await wait_readable(server)
            if not (piece := server.recv(4096)):
                return
            got.extend(piece)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await stream.send_all(data)
        await stream.send_eof()
    assert bytes(got) == data
    sent = server.send(b"bye")  # a socket takes what it likes
    server.close()
    assert b"".join([piece async for piece in stream]) == b"bye"[:sent]
    assert await stream.receive_some() == b""
    await stream.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some()


@pytest.mark.parametrize("seed", range(8))
async def test_a_killed_server_leaves_a_fin_or_a_reset(
    seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    memory = MemoryNetwork(random.Random(seed))
    network = memory.for_server()
    (listener,) = network.listen("127.0.0.1:0")
    stream = await memory.connect()
    server = await accepted(network, listener)
    server.send(b"taken by the kernel")
    memory.kill()
    assert server.closed
    got = []
    try:
        while data := await stream.receive_some():
            got.append(data)
        assert b"".join(got).startswith(b"t")
    except trio.BrokenResourceError:
        assert got == []
    with pytest.raises(ConnectionRefusedError):
        await memory.connect()


async def test_a_reset_of_the_client() -> None:
    ours, theirs = socket_pair(calm(), 1)
    stream = MemoryStream(ours)
    stream.reset()
    stream.reset()
    with pytest.raises(ConnectionResetError):
        theirs.recv(1)
    with pytest.raises(trio.ClosedResourceError):
        await stream.send_all(b"x")


async def test_waiting_for_room_ends_when_there_is_some(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = socket_pair(calm(), 1)
    while ours.outgoing.room:
        ours.send(bytes(65536))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_writable, ours)
        await trio.testing.wait_all_tasks_blocked()
        theirs.recv(10)
    assert ours.send(bytes(20)) == 10
