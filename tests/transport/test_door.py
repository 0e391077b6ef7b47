"""The door on real loopback sockets: routes, limits, deadlines, draining, and listeners."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from notifyd.errors import ConfigError
from notifyd.transport.head import MAX_HEAD_BYTES
from notifyd.transport.listeners import (
    close_listener,
    connection_limit,
    open_listeners,
    peer_of,
    url_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from notifyd.transport.head import RequestHead
    from notifyd.transport.stream import DoorStream

    DoorAt = Callable[..., AbstractAsyncContextManager[Any]]
    Connect = Callable[[str], AbstractAsyncContextManager[Any]]

GET = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
EVENTS = b"GET /events HTTP/1.1\r\nHost: h\r\n\r\n"
WS = b"GET /ws?token=a HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n"


def request(fields: str, line: str = "GET /ws HTTP/1.1") -> bytes:
    return f"{line}\r\nHost: h\r\n{fields}\r\n".encode("latin-1")


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
@pytest.mark.parametrize(
    ("head", "answer"),
    [
        (WS + b"\x81", b"websocket \x81"),
        (EVENTS + b"more", b"sse more"),
        (b"GET /events?last_event_id=1 HTTP/1.0\r\n\r\n", b"sse "),
    ],
)
async def test_fast_lanes_get_their_socket_and_what_was_read(
    door_at: DoorAt, raw_client: Connect, head: bytes, answer: bytes, used: bool
) -> None:
    async with door_at() as at, raw_client(at.url) as client:
        await client.send(GET + head if used else head)
        if used:
            assert (await client.response()).body == b"GET /x"
        assert await client.rest() == answer


@pytest.mark.parametrize(
    "head",
    [
        GET,
        request("", "POST /ws HTTP/1.1"),
        request("", "HEAD /events HTTP/1.1"),
        request("", "GET /ws/ HTTP/1.1"),
        request("", "GET /%77s HTTP/1.1"),
        request("Connection: Upgrade\r\n", "GET / HTTP/1.1"),
    ],
)
async def test_everything_else_goes_to_http_and_keeps_its_connection(
    door_at: DoorAt, raw_client: Connect, head: bytes
) -> None:
    async with door_at() as at, raw_client(at.url) as client:
        for _ in range(3):
            await client.send(head)
            assert (await client.response()).status == 200
        assert at.door.statistics().open == 1


REFUSED = {
    "garbage": (b"\x16\x03\x01\x02\x00", 400),
    "malformed": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "bare LF": (b"GET / HTTP/1.1\nHost: h\n\n", 400),
    "HTTP/2 prior knowledge": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "h2c": (request("Upgrade: h2c\r\nConnection: Upgrade\r\n", "GET / HTTP/1.1"), 400),
    "h2c on /ws": (request("Upgrade: h2c\r\nConnection: Upgrade\r\n"), 400),
    "two upgrades": (request("Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n"), 400),
    "websocket elsewhere": (request("Upgrade: websocket\r\nConnection: Upgrade\r\n", "GET /a HTTP/1.1"), 400),
    "websocket by POST": (request("Upgrade: websocket\r\nConnection: Upgrade\r\n", "POST /ws HTTP/1.1"), 400),
    "websocket on 1.0": (request("Upgrade: websocket\r\nConnection: Upgrade\r\n", "GET /ws HTTP/1.0"), 400),
    "upgrade without connection": (request("Upgrade: websocket\r\n"), 400),
    "empty upgrade": (request("Upgrade:\r\nConnection: Upgrade\r\n"), 400),
    "no upgrade": (request(""), 426),
    "websocket with a body": (
        request("Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 1\r\n") + b"x",
        400,
    ),
    "events with a body": (request("Transfer-Encoding: chunked\r\n", "GET /events HTTP/1.1"), 400),
    "head too long": (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * MAX_HEAD_BYTES, 431),
}


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
@pytest.mark.parametrize(("head", "status"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_the_door_refuses_gets_a_problem_and_an_end(
    door_at: DoorAt, raw_client: Connect, head: bytes, status: int, used: bool
) -> None:
    async with door_at() as at, raw_client(at.url) as client:
        if used:
            await client.send(GET)
            await client.response()
        await client.send(head)
        answer = await client.response()
        assert answer.status == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert "close" in answer.headers["connection"]
        problem = json.loads(answer.body)
        assert problem["status"] == status
        assert problem["type"].startswith("urn:notifyd:problem:")
        assert await client.rest() == b""
        assert at.door.statistics().faults == 0


async def test_426_names_the_protocol(door_at: DoorAt, raw_client: Connect) -> None:
    async with door_at() as at, raw_client(at.url) as client:
        await client.send(request(""))
        answer = await client.response()
        assert answer.headers["upgrade"] == "websocket"
        assert "upgrade" in answer.headers["connection"].lower()


async def test_a_refused_client_that_sends_on_is_listened_to_for_two_seconds(
    door_at: DoorAt, raw_client: Connect, autojump_clock: trio.testing.MockClock
) -> None:
    async with door_at() as at, raw_client(at.url) as client:
        await client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert (await client.response()).status == 400
        start = trio.current_time()
        while at.door.statistics().open:
            with contextlib.suppress(trio.BrokenResourceError):
                await client.send(b"x" * 1000)
            await trio.sleep(0.3)
        assert trio.current_time() - start == pytest.approx(2.1)


async def test_an_answer_outlives_what_the_client_still_sends(door_at: DoorAt, raw_client: Connect) -> None:
    """Closing with unread bytes would reset the connection and could take the answer with it."""
    async with door_at() as at, raw_client(at.url) as client:
        await client.send(b"GET / HTTP/1.1\r\n\r\n" + b"x" * 200_000)
        assert (await client.response()).status == 400


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
async def test_a_head_has_five_seconds(
    door_at: DoorAt, raw_client: Connect, autojump_clock: trio.testing.MockClock, used: bool
) -> None:
    async with door_at() as at, raw_client(at.url) as client:
        if used:
            await client.send(GET)
            await client.response()
        start = trio.current_time()
        for byte in b"GET ":  # a drip does not buy time
            await client.send(bytes([byte]))
            await trio.sleep(1)
        assert (await client.response()).status == 408
        assert trio.current_time() - start == pytest.approx(5)


async def test_a_silent_connection_is_closed_without_an_answer(
    door_at: DoorAt, raw_client: Connect, autojump_clock: trio.testing.MockClock
) -> None:
    async with door_at() as at, raw_client(at.url) as client:
        start = trio.current_time()
        assert await client.rest() == b""
        assert trio.current_time() - start == pytest.approx(5)


async def test_an_idle_connection_is_kept_for_75_seconds(
    door_at: DoorAt, raw_client: Connect, autojump_clock: trio.testing.MockClock
) -> None:
    async with door_at() as at, raw_client(at.url) as client:
        for _ in range(2):
            await client.send(GET + b"\r\n")  # an empty line behind a request begins no new one
            await client.response()
            await trio.sleep(74)
        assert at.door.statistics().http_idle == 1
        await trio.sleep(2)
        assert await client.rest() == b""


async def test_a_client_that_leaves_in_a_head_or_between_requests_leaves_nothing(
    door_at: DoorAt, raw_client: Connect
) -> None:
    async with door_at() as at:
        for data in (b"", b"GET / HT", GET):
            async with raw_client(at.url) as client:
                await client.send(data)
        async with raw_client(at.url) as client:
            await client.send(b"GET / HT")
            await client.reset()
        await until_open(at, 0)
        assert at.door.statistics().faults == 0


async def until_open(at: Any, count: int) -> None:
    with trio.fail_after(10):
        while at.door.statistics().open != count:
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("target", ["websocket", "sse", "http"])
async def test_whatever_a_lane_raises_ends_one_connection(
    door_at: DoorAt, raw_client: Connect, target: str
) -> None:
    async def broken(*args: object) -> None:
        raise ExceptionGroup("lane", [RuntimeError("broken"), MemoryError()])

    async with door_at(**{target: broken}) as at, raw_client(at.url) as victim:
        head = {"websocket": WS, "sse": EVENTS, "http": GET}[target]
        async with raw_client(at.url) as client:
            await client.send(head)
            assert await client.rest() == b""
        await until_open(at, 1)
        assert at.door.statistics().faults == 1
        await victim.send(EVENTS if target != "sse" else WS)
        assert await victim.rest()


async def test_the_door_keeps_no_head_alive_for_a_fast_lane(door_at: DoorAt, raw_client: Connect) -> None:
    """Thousands of idle clients must not keep thousands of heads in the door's frames."""
    references = []

    async def count(sock: socket.socket, head: RequestHead, rest: bytes) -> None:
        references.append(sys.getrefcount(head))

    async with door_at(sse=count) as at, raw_client(at.url) as client:
        await client.send(EVENTS)
        await client.rest()
    assert references[0] <= 2  # this function's own, and getrefcount's argument


async def test_above_the_limit_clients_are_told_to_come_back(door_at: DoorAt, raw_client: Connect) -> None:
    async with door_at(limit=lambda: 1) as at, raw_client(at.url) as first:
        await first.send(GET)
        await first.response()
        async with raw_client(at.url) as second:
            answer = await second.response()
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert await second.rest() == b""
        await first.send(GET)
        assert (await first.response()).status == 200
        assert at.door.statistics().refused == 1


async def test_a_crowd_above_the_limit_is_just_closed(
    door_at: DoorAt, raw_client: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifyd.transport.door.MAX_REFUSING", 0)
    async with door_at(limit=lambda: 0) as at, raw_client(at.url) as client:
        assert await client.rest() == b""


async def test_idle_connections_end_at_once_on_drain_and_busy_ones_after_their_answer(
    door_at: DoorAt, raw_client: Connect
) -> None:
    release = trio.Event()

    async def slow(stream: DoorStream) -> None:
        with stream.turn:
            await stream.receive_some()
            if stream.head.path == "/slow":
                await release.wait()
            stream.started = True
            await stream.send_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            stream.finishing()
            stream.answered()

    async with (
        door_at(http=slow) as at,
        raw_client(at.url) as idle,
        raw_client(at.url) as fresh,
        raw_client(at.url) as busy,
    ):
        await idle.send(GET)
        await idle.response()
        await busy.send(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n" + GET)
        with trio.fail_after(10):
            while (at.door.statistics().http_busy, at.door.statistics().http_idle) != (1, 2):
                await trio.lowlevel.checkpoint()
        at.door.stop_accepting()
        at.door.drain()
        assert await idle.rest() == b""
        assert await fresh.rest() == b""
        at.connections.start_soon(release_when_blocked, release)
        await at.door.drained()
        assert release.is_set()
        assert (await busy.response()).status == 204
        assert await busy.rest() == b""
        await until_open(at, 0)


@pytest.mark.parametrize("head", [b"GET /events HTTP/1.1\r\nHost: h\r\n\r\n", WS])
async def test_a_stream_whose_head_ends_during_the_drain_is_refused(
    door_at: DoorAt, raw_client: Connect, head: bytes
) -> None:
    async with door_at() as at, raw_client(at.url) as client:
        await client.send(head[:-2])
        await trio.testing.wait_all_tasks_blocked(0.01)
        at.door.drain()
        await client.send(head[-2:])
        assert (await client.response()).status == 503
        assert await client.rest() == b""


async def test_a_bind_without_streams_says_so(door_at: DoorAt, raw_client: Connect) -> None:
    async with door_at(websocket=None, sse=None) as at, raw_client(at.url) as client:
        await client.send(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.response()).status == 404


async def release_when_blocked(release: trio.Event) -> None:
    await trio.testing.wait_all_tasks_blocked()
    release.set()


async def test_stop_accepting_closes_the_listeners_and_leaves_connections_alone(
    door_at: DoorAt, raw_client: Connect
) -> None:
    async with door_at() as at, raw_client(at.url) as client:
        await client.send(GET)
        await client.response()
        at.door.stop_accepting()
        while at.accepting.child_tasks:
            await trio.lowlevel.checkpoint()
        with pytest.raises(OSError, match="all attempts"):
            async with raw_client(at.url):
                pass
        await client.send(GET)
        assert (await client.response()).status == 200


class StarvedListener:
    """A listener of a system without descriptors for a while."""

    def __init__(self, real: socket.socket, failures: list[int]) -> None:
        self._real = real
        self._failures = failures
        self.family = real.family

    def fileno(self) -> int:
        return self._real.fileno()

    def accept(self) -> Any:
        if self._failures:
            code = self._failures.pop(0)
            raise OSError(code, os.strerror(code))
        return self._real.accept()

    def getsockname(self) -> Any:
        return self._real.getsockname()

    def close(self) -> None:
        self._real.close()


async def test_without_descriptors_the_door_waits_and_goes_on(
    door_at: DoorAt, raw_client: Connect, autojump_clock: trio.testing.MockClock
) -> None:
    async with door_at() as at:
        (real,) = open_listeners("127.0.0.1:0")
        url = url_of(real)
        failures = [errno.EMFILE, errno.ECONNABORTED, errno.ENFILE]
        starved: Any = StarvedListener(real, failures)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(at.door._accept_from, starved, at.connections)
            start = trio.current_time()
            async with raw_client(url) as client:
                await client.send(GET)
                assert (await client.response()).status == 200
            assert trio.current_time() - start == pytest.approx(0.2)
            nursery.cancel_scope.cancel()
        real.close()


async def test_a_broken_listener_ends_serving(door_at: DoorAt, raw_client: Connect) -> None:
    (real,) = open_listeners("127.0.0.1:0")
    broken: Any = StarvedListener(real, [errno.EBADF])
    async with door_at() as at, raw_client(url_of(real)):
        with pytest.raises(OSError, match="Bad file descriptor"):
            await at.door._accept_from(broken, at.connections)
    real.close()


# --- listeners ------------------------------------------------------------------------------------------


async def test_accepted_sockets_inherit_what_the_listener_is_set_to(
    door_at: DoorAt, raw_client: Connect
) -> None:
    found: dict[str, int] = {}

    async def look(sock: socket.socket, head: RequestHead, rest: bytes) -> None:
        found["nodelay"] = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        found["timeout"] = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        found["buffer"] = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        found["blocking"] = sock.getblocking()
        assert head.peer == "127.0.0.1"

    async with door_at(sse=look) as at, raw_client(at.url) as client:
        await client.send(EVENTS)
        await client.rest()
    # Linux doubles what is asked for, to have room for its own records.
    assert found == {"nodelay": 1, "timeout": 20_000, "buffer": 128 * 1024, "blocking": False}


async def test_ipv6(door_at: DoorAt, raw_client: Connect) -> None:
    try:
        open_listeners("[::1]:0")[0].close()
    except ConfigError:
        pytest.skip("this machine has no IPv6")
    async with door_at("[::1]:0") as at, raw_client(at.url) as client:
        assert at.url.startswith("http://[::1]:")
        await client.send(GET)
        assert (await client.response()).status == 200


async def test_a_name_may_have_several_addresses_on_one_port() -> None:
    listeners = open_listeners("localhost:0")
    assert len({sock.getsockname()[1] for sock in listeners}) == 1
    for sock in listeners:
        close_listener(sock)


async def test_a_unix_socket_is_served_and_its_file_removed(
    door_at: DoorAt, raw_client: Connect, tmp_path: Path
) -> None:
    path = tmp_path / "s"
    peers = []

    async def look(sock: socket.socket, head: RequestHead, rest: bytes) -> None:
        peers.append(head.peer)

    async with door_at(f"unix:{path}", sse=look) as at, raw_client(at.url) as client:
        await client.send(EVENTS)
        await client.rest()
    assert peers == ["unix"]
    assert not path.exists()


def test_a_stale_socket_file_is_replaced_and_a_used_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    (first,) = open_listeners(f"unix:{path}")
    with pytest.raises(ConfigError, match="another server"):
        open_listeners(f"unix:{path}")
    close_listener(first)


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="not a socket"):
        open_listeners(f"unix:{path}")
    assert path.read_text() == "mine"


def test_addresses_that_cannot_be_used_say_so(tmp_path: Path) -> None:
    (taken,) = open_listeners("127.0.0.1:0")
    port = taken.getsockname()[1]
    with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port}: the port is in use; .* choose another"):
        open_listeners(f"127.0.0.1:{port}")
    taken.close()
    with pytest.raises(ConfigError, match="cannot listen"):
        open_listeners(f"unix:{tmp_path}/no/such/place")
    with pytest.raises(ConfigError, match="no such address"):
        open_listeners("192.0.2.1:0")


def test_names_of_peers() -> None:
    assert peer_of(("10.0.0.1", 5)) == "10.0.0.1"
    assert peer_of("") == "unix"


@pytest.mark.parametrize(("soft", "limit"), [(20_000, 19_488), (1024, 512), (256, 128), (-1, 1_000_000)])
def test_descriptors_are_kept_in_reserve(monkeypatch: pytest.MonkeyPatch, soft: int, limit: int) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda which: (soft, soft))
    assert connection_limit() == limit
