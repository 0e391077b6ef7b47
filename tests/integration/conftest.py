"""A whole server on a free loopback port, and plain clients of both transports that are not ours."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import h11
import httpx2
import pytest
import trio
from trio_websocket import ConnectionClosed, HandshakeError, wrap_client_stream

from notifyd.auth import mint_token
from notifyd.clock import wall_ms
from notifyd.config import Config
from notifyd.service import Service, open_service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

SECRET = "integration-secret-integration-secret"
PUBLISH_KEY = "publish-key-of-the-tests"
ADMIN_KEY = "admin-key-of-the-tests"
#: A test that waits longer than this has failed; nothing is measured by it.
PATIENCE_S = 20


def token_for(user_id: str, ttl_s: float = 3600) -> str:
    return mint_token(SECRET, user_id, now_ms=wall_ms(), ttl_s=ttl_s)


class Stream:
    """What one connection gave, message by message; the same for both transports."""

    def __init__(self, receive: Callable[[], Any], close: Callable[[], Any]) -> None:
        self._receive = receive
        self.aclose = close
        self.hello: dict[str, Any] = {}
        self.entries: list[dict[str, Any]] = []

    async def greet(self) -> dict[str, Any]:
        """The first message, which must be connection-established; its data."""
        message = await self.receive()
        assert message["type"] == "connection-established", message
        self.hello = message["data"]
        return self.hello

    async def receive(self) -> dict[str, Any]:
        """The next message of any kind."""
        with trio.fail_after(PATIENCE_S):
            message: dict[str, Any] = await self._receive()
        if "id" in message and message["type"] != "connection-established":
            self.entries.append(message)
        return message

    async def next_entry(self) -> dict[str, Any]:
        """The next entry of the log, past pings."""
        while True:
            message = await self.receive()
            if "id" in message:
                return message

    async def entries_to(self, cursor: str) -> list[dict[str, Any]]:
        """Every entry up to and including `cursor`."""
        while not self.entries or self.entries[-1]["id"] != cursor:
            await self.next_entry()
        return self.entries

    @property
    def cursor(self) -> str:
        """Where to resume."""
        return str(self.entries[-1]["id"] if self.entries else self.hello["cursor"])


async def connect_ws(nursery: trio.Nursery, url: str, user_id: str, cursor: str | None = None) -> Stream:
    """A WebSocket by trio-websocket, whose reader runs in `nursery`; the caller closes it."""
    query = "" if cursor is None else f"?last_event_id={quote(cursor, safe='')}"
    headers = [(b"Authorization", f"Bearer {token_for(user_id)}".encode())]
    host, _, port = url.removeprefix("http://").rpartition(":")
    tcp = await trio.open_tcp_stream(host, int(port))
    with trio.fail_after(PATIENCE_S):
        ws = await wrap_client_stream(nursery, tcp, f"{host}:{port}", f"/ws{query}", extra_headers=headers)

    async def receive() -> Any:
        return json.loads(await ws.get_message())

    async def close() -> None:
        with trio.move_on_after(1):
            await ws.aclose()
        await trio.aclose_forcefully(tcp)

    return await _greeted(Stream(receive, close))


async def connect_sse(
    nursery: trio.Nursery, url: str, user_id: str, cursor: str | None = None, *, in_query: bool = False
) -> Stream:
    """An SSE stream; it needs no task. The caller closes it."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    headers = [("Host", f"{host}:{port}"), ("Authorization", f"Bearer {token_for(user_id)}")]
    if cursor is not None and not in_query:
        headers.append(("Last-Event-ID", cursor))
    query = f"?last_event_id={quote(cursor, safe='')}" if cursor is not None and in_query else ""
    tcp = await trio.open_tcp_stream(host, int(port))
    reader = SseReader(tcp)
    await reader.ask(f"/events{query}", headers)
    return await _greeted(Stream(reader.event, tcp.aclose))


async def _greeted(stream: Stream) -> Stream:
    await stream.greet()
    return stream


CONNECTORS = {"websocket": connect_ws, "sse": connect_sse}


def _opener(connect: Any) -> Callable[..., AbstractAsyncContextManager[Stream]]:
    @asynccontextmanager
    async def open_(url: str, user_id: str, cursor: str | None = None) -> AsyncIterator[Stream]:
        async with trio.open_nursery() as nursery:
            stream = await connect(nursery, url, user_id, cursor)
            try:
                yield stream
            finally:
                with trio.move_on_after(PATIENCE_S, shield=True):
                    await stream.aclose()
            nursery.cancel_scope.cancel()

    return open_


class SseReader:
    """Server-sent events by h11 and the WHATWG's rules for lines, as far as notifyd uses them."""

    def __init__(self, tcp: trio.abc.Stream) -> None:
        self._tcp = tcp
        self._http = h11.Connection(h11.CLIENT)
        self._text = b""

    async def ask(self, target: str, headers: list[tuple[str, str]]) -> None:
        request = self._http.send(h11.Request(method="GET", target=target, headers=headers))
        end = self._http.send(h11.EndOfMessage())
        await self._tcp.send_all((request or b"") + (end or b""))
        with trio.fail_after(PATIENCE_S):
            response = await self._next()
        assert isinstance(response, h11.Response)
        assert response.status_code == 200
        assert (b"content-type", b"text/event-stream; charset=utf-8") in response.headers

    async def _next(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(bytes(await self._tcp.receive_some(65536)))
        return event

    async def event(self) -> Any:
        while True:
            block, found, rest = self._text.partition(b"\n\n")
            if not found:
                data = await self._next()
                if not isinstance(data, h11.Data):
                    raise trio.EndOfChannel
                self._text += data.data
                continue
            self._text = rest
            fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if ": " in line)
            if "data" in fields:
                message = json.loads(fields["data"])
                assert fields.get("id") == message.get("id", fields.get("id"))
                return message


OPENERS = {name: _opener(connect) for name, connect in CONNECTORS.items()}
#: By every way of saying where to go on.
OPENERS_AT = {
    "websocket query": _opener(connect_ws),
    "sse header": _opener(connect_sse),
    "sse query": _opener(partial(connect_sse, in_query=True)),
}


@pytest.fixture(params=sorted(OPENERS))
def open_stream(request: pytest.FixtureRequest) -> Callable[..., AbstractAsyncContextManager[Stream]]:
    """One opener for each transport: a test that takes it runs over both."""
    return OPENERS[request.param]


@pytest.fixture
def openers() -> dict[str, Callable[..., AbstractAsyncContextManager[Stream]]]:
    """Both transports by name, for tests that switch between them."""
    return dict(OPENERS)


@pytest.fixture
def open_at() -> Callable[..., AbstractAsyncContextManager[Stream]]:
    """Open a stream in one of the ways of OPENERS_AT."""
    return lambda how, url, user_id, cursor: OPENERS_AT[how](url, user_id, cursor)


@pytest.fixture
def connectors() -> dict[str, Any]:
    """Both transports by name, for tests whose connections begin and end in any order."""
    return dict(CONNECTORS)


@pytest.fixture
def make_config(database_url: str) -> Callable[..., Config]:
    """Settings of a server with a database of its own."""

    def make(**given: Any) -> Config:
        settings = {
            "listen": "127.0.0.1:0",
            "database_url": database_url,
            "jwt_secret": SECRET,
            "publish_keys": PUBLISH_KEY,
            "admin_keys": ADMIN_KEY,
            "drain_seconds": 0.0,
        }
        return Config(**{**settings, **given})

    return make


@pytest.fixture
async def service(make_config: Callable[..., Config]) -> AsyncIterator[Service]:
    async with open_service(make_config()) as running:
        yield running


@pytest.fixture
def http_of() -> Callable[[Service, str], httpx2.AsyncClient]:
    """A user's HTTP client of any server."""

    def client(service: Service, user_id: str) -> httpx2.AsyncClient:
        headers = {"Authorization": f"Bearer {token_for(user_id)}"}
        return httpx2.AsyncClient(base_url=service.url, headers=headers, timeout=PATIENCE_S, trust_env=False)

    return client


@pytest.fixture
def http(service: Service) -> Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]:
    """An HTTP client of the running server: as a publisher, or as a user or operator when told."""

    def client(*, user: str | None = None, key: str = PUBLISH_KEY) -> httpx2.AsyncClient:
        bearer = token_for(user) if user is not None else key
        return httpx2.AsyncClient(
            base_url=service.url,
            headers={"Authorization": f"Bearer {bearer}"},
            timeout=PATIENCE_S,
            trust_env=False,
        )

    return client


@pytest.fixture
def token() -> Callable[..., str]:
    return token_for


@pytest.fixture
def publish_key() -> str:
    return PUBLISH_KEY


@pytest.fixture
def admin_key() -> str:
    return ADMIN_KEY


@pytest.fixture
def refused() -> tuple[type[BaseException], ...]:
    """What trio-websocket raises when the server does not want it, or is gone."""
    return (ConnectionClosed, HandshakeError, OSError)
