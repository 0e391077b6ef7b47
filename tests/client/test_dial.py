"""Addresses and streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import memory_stream_pair

from notifyd.client.dial import WatchedStream, open_stream, parse_url

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("url", "host_header", "resource"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000", "/ws"),
        ("ws://h", "h", "/ws"),
        ("ws://h/ws", "h", "/ws"),
        ("https://h/", "h", "/ws"),
        ("wss://h:444/notify/", "h:444", "/notify/ws"),
        ("http://[::1]:80", "[::1]", "/ws"),
        ("https://h:80", "h:80", "/ws"),
        ("unix:/tmp/s", "localhost", "/ws"),
    ],
)
def test_urls(url: str, host_header: str, resource: str) -> None:
    address = parse_url(url)
    assert address.host_header == host_header
    assert address.resource(None) == resource
    assert address.resource("e-1") == f"{resource}?last_event_id=e-1"
    assert address.secure is url.startswith(("https", "wss"))


@pytest.mark.parametrize(
    "url", ["", "h:80", "ftp://h", "http://", "http://h?x=1", "http://h#x", "unix:", "http://h:x"]
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ValueError, match=r"address of a server|[Pp]ort"):
        parse_url(url)


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with trio.socket.socket(trio.socket.AF_UNIX) as listening:
        await listening.bind(str(path))
        listening.listen(1)
        stream = await open_stream(parse_url(f"unix:{path}"))
        peer, _ = await listening.accept()
        with peer:
            await stream.send_all(b"x")
            assert await peer.recv(1) == b"x"
        await stream.aclose()


async def test_a_peer_that_speaks_no_tls_is_an_oserror() -> None:
    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            trio.serve_tcp,
            answer,
            0,
        )
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(OSError, match="TLS"):
            await open_stream(parse_url(f"https://127.0.0.1:{port}"))
        nursery.cancel_scope.cancel()


async def test_a_tls_handshake_can_be_cancelled() -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, _mute, 0)
        port = listeners[0].socket.getsockname()[1]
        with trio.CancelScope() as scope:
            nursery.start_soon(_cancel_soon, scope)
            await open_stream(parse_url(f"https://127.0.0.1:{port}"))
        assert scope.cancelled_caught
        nursery.cancel_scope.cancel()


async def _mute(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def _cancel_soon(scope: trio.CancelScope) -> None:
    await trio.testing.wait_all_tasks_blocked(0.01)
    scope.cancel()


async def test_a_watched_stream_notes_when_it_was_heard(autojump_clock: trio.testing.MockClock) -> None:
    mine, theirs = memory_stream_pair()
    stream = WatchedStream(mine)
    await trio.sleep(5)
    await theirs.send_all(b"x")
    assert await stream.receive_some(10) == b"x"
    assert stream.heard_at == trio.current_time()
    await stream.wait_send_all_might_not_block()
    await stream.send_all(b"y")
    assert await theirs.receive_some() == b"y"
    assert not stream.ended.is_set()
    await theirs.aclose()
    assert await stream.receive_some(10) == b""
    assert stream.ended.is_set()


async def test_a_watched_stream_notes_that_it_broke() -> None:
    mine, theirs = memory_stream_pair()
    reading, writing = WatchedStream(mine), WatchedStream(mine)
    await theirs.aclose()
    with pytest.raises(trio.BrokenResourceError):
        await writing.send_all(b"x")
    assert writing.ended.is_set()
    await mine.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await reading.receive_some(1)
    assert reading.ended.is_set()
