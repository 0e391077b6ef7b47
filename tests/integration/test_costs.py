"""What a delivery, a broadcast, a resume and an idle connection cost, in counts that no machine changes."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tracemalloc
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest
import trio

from notifyd import messages
from notifyd.broker import window
from notifyd.service import Service, open_service
from notifyd.store.sql import SqlStore
from notifyd.transport import frames, sse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from notifyd.config import Config

CLIENTS = 100
BROADCASTS = 10
#: System calls of all that a publish takes besides its deliveries: connection, body, commit, waking up.
CALLS_OF_A_PUBLISH = 80
#: What else the server does while it is watched: timers, acknowledgements written once a second.
BACKGROUND_CALLS = 200
#: Bytes that Python holds for an idle connection: task, frames, session, socket and their entries in tables.
IDLE_BYTES = 6_000


def handshake(token: str) -> bytes:
    return (
        "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"Authorization: Bearer {token}\r\n\r\n"
    ).encode()


def open_plain(port: int, token: str) -> socket.socket:
    """A WebSocket as a bare socket, up to the end of `connection-established`."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=20)
    sock.sendall(handshake(token))
    read_until(sock, b"connection-established")
    return sock


def read_until(sock: socket.socket, text: bytes, count: int = 1) -> None:
    data = b""
    while data.count(text) < count:
        part = sock.recv(65536)
        assert part, data
        data += part


# --- system calls -------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace: apt-get install strace")
def test_a_delivery_is_one_system_call(tmp_path: Path, token: Callable[..., str], publish_key: str) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("NOTIFYD_")} | {
        "NOTIFYD_LISTEN": "127.0.0.1:0",
        "NOTIFYD_DATABASE_URL": f"sqlite:///{tmp_path}/notifyd.db",
        "NOTIFYD_JWT_SECRET": "integration-secret-integration-secret",
        "NOTIFYD_PUBLISH_KEYS": publish_key,
        "NOTIFYD_MAX_CONNECTIONS_PER_USER": str(CLIENTS),
        "NOTIFYD_DRAIN_SECONDS": "0",
        "NOTIFYD_LOG_LEVEL": "error",
    }
    command = [sys.executable, "-m", "notifyd", "serve"]
    with (
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as server,
        ExitStack() as stack,
    ):
        stack.callback(server.terminate)
        assert server.stdout is not None
        port = int(server.stdout.readline().rpartition(":")[2])
        clients = [stack.enter_context(open_plain(port, token("ann"))) for _ in range(CLIENTS)]
        with _traced_calls(server.pid, tmp_path / "counts") as calls:
            for number in range(BROADCASTS):
                _publish(port, publish_key, number)
                for client in clients:
                    read_until(client, f'"n":{number}}}'.encode())
    deliveries = CLIENTS * BROADCASTS
    assert deliveries <= calls["sendto"] <= deliveries + 2 * BROADCASTS + BACKGROUND_CALLS
    assert sum(calls.values()) <= deliveries + CALLS_OF_A_PUBLISH * BROADCASTS + BACKGROUND_CALLS


@contextmanager
def _traced_calls(pid: int, counts: Path) -> Iterator[dict[str, int]]:
    """System calls of all threads of a process by name, filled in when the block has ended."""
    calls: dict[str, int] = {}
    command = ["strace", "-f", "-c", "-U", "calls,name", "-o", str(counts), "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        if "attached" not in strace.stderr.readline():
            pytest.skip("strace may not attach to a process here")
        try:
            yield calls
        finally:
            strace.send_signal(signal.SIGINT)
            strace.communicate(timeout=30)
    rows = [line.split() for line in counts.read_text().splitlines()]
    calls |= {name: int(calls) for calls, name in (row for row in rows if len(row) == 2) if calls.isdigit()}
    calls.pop("total", None)


def _publish(port: int, key: str, number: int) -> None:
    request = Request(
        f"http://127.0.0.1:{port}/v1/notifications",
        json.dumps({"broadcast": True, "type": "x-cost", "data": {"n": number}}).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urlopen(request, timeout=20) as answer:
        assert answer.status == 201


# --- encodes ------------------------------------------------------------------------------------------------


class Counter:
    """Wraps a function and counts its calls whose arguments hold `text`."""

    def __init__(self, function: Callable[..., Any], text: bytes) -> None:
        self.calls = 0
        self._function = function
        self._text = text

    def __call__(self, *arguments: Any) -> Any:
        self.calls += any(isinstance(each, bytes) and self._text in each for each in arguments)
        return self._function(*arguments)


async def test_a_broadcast_is_encoded_once_for_each_format(
    service: Service, openers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [(window, "encode_entry"), (frames, "text_frame"), (sse, "event")]
    counters = [Counter(getattr(module, name), b"costly") for module, name in places]
    for (module, name), counter in zip(places, counters, strict=True):
        monkeypatch.setattr(module, name, counter)
    async with _streams(service, openers, 5) as streams:
        await service.broadcast(messages.custom("x-cost", {"text": "costly"}))
        for stream in streams:
            await stream.next_entry()
    assert [counter.calls for counter in counters] == [1, 1, 1]


@asynccontextmanager
async def _streams(service: Service, openers: dict[str, Any], each: int) -> AsyncIterator[list[Any]]:
    """So many of either transport, of as many users."""
    async with trio.open_nursery() as nursery:
        opened = []
        done = trio.Event()

        async def hold(opener: Any, user_id: str) -> None:
            async with opener(service.url, user_id) as stream:
                opened.append(stream)
                await done.wait()

        for name, opener in openers.items():
            for number in range(each):
                nursery.start_soon(hold, opener, f"{name}-{number}")
        while len(opened) < each * len(openers):
            await trio.lowlevel.checkpoint()
        yield opened
        done.set()


# --- reads --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kept", "reads"), [(1000, 0), (10, 12)], ids=["inside", "outside"])
async def test_a_resume_reads_the_store_no_more_than_needed(
    make_config: Callable[..., Config],
    openers: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    kept: int,
    reads: int,
) -> None:
    """Ten clients were away for 50 entries: none reads inside the window, outside a page each is enough."""
    counted = 0
    read = SqlStore.read

    async def counting(self: SqlStore, work: Any) -> Any:
        nonlocal counted
        counted += 1
        return await read(self, work)

    async with open_service(make_config(canary_seconds=0.0), window_entries=kept) as service:
        async with openers["websocket"](service.url, "ann") as stream:
            start = stream.cursor
        last = [await service.broadcast(messages.custom("x-cost", {"n": n})) for n in range(50)][-1]
        monkeypatch.setattr(SqlStore, "read", counting)
        for number in range(10):
            async with openers["websocket"](service.url, f"user-{number}", start) as stream:
                assert len(await stream.entries_to(f"{service.inbox.epoch}-{last.seq}")) == 50
        monkeypatch.undo()
    assert counted <= reads
    assert (counted > 0) == (reads > 0)


# --- memory -------------------------------------------------------------------------------------------------


@pytest.fixture
def on_postgres() -> None:
    """What is tried here is the same whatever database is behind it."""


@pytest.fixture
def untraced() -> Iterator[None]:
    """Coverage would keep something for each frame."""
    trace = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(trace)


@pytest.mark.usefixtures("untraced")
async def test_an_idle_connection_holds_little(make_config: Callable[..., Config], token: Any) -> None:
    async with open_service(make_config(max_connections_per_user=2 * CLIENTS)) as service:
        port = int(service.url.rpartition(":")[2])
        connect = partial(trio.to_thread.run_sync, open_plain, port, token("ann"))
        with ExitStack() as stack:
            for _ in range(CLIENTS // 4):  # tables have grown, and caches are full
                stack.enter_context(await connect())
            tracemalloc.start()
            try:
                begun = _traced()
                for _ in range(CLIENTS):
                    stack.enter_context(await connect())
                each = (_traced() - begun) / CLIENTS
            finally:
                tracemalloc.stop()
    assert each < IDLE_BYTES


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
