"""TLS and HTTP/2: the same streams, by three ways, over one encrypted port."""

from __future__ import annotations

import json
import os
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import httpx2
import pytest
import trio
import trio.lowlevel
import trio.testing
from quart import Blueprint
from trio_websocket import ConnectionClosed, wrap_client_stream

from notifyd.auth import mint_token
from notifyd.clock import wall_ms
from notifyd.errors import ConfigError
from notifyd.messages import system_message
from notifyd.service import open_service
from notifyd.transport.tls import open_context
from tests.certificates import trusting, write_certificate

from .conftest import SseReader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from notifyd.config import Config
    from notifyd.service import Service

    Receive = Callable[[], Awaitable[Any]]

SECRET = "integration-secret-integration-secret"
PATIENCE_S = 20


def bearer(user_id: str = "ann") -> dict[str, str]:
    return {"Authorization": f"Bearer {mint_token(SECRET, user_id, now_ms=wall_ms(), ttl_s=600)}"}


@pytest.fixture
async def secure(make_config: Callable[..., Config], tmp_path: Path) -> AsyncIterator[Service]:
    cert, key = write_certificate(tmp_path)
    async with open_service(make_config(tls_cert_file=cert, tls_key_file=key)) as service:
        assert service.url.startswith("https://127.0.0.1:")
        yield service


def cert_of(service: Service) -> Path:
    assert service.config.tls_cert_file is not None
    return service.config.tls_cert_file


def address_of(service: Service) -> tuple[str, int]:
    host, _, port = service.url.removeprefix("https://").rpartition(":")
    return host, int(port)


async def dial(service: Service, *protocols: str) -> trio.SSLStream[trio.SocketStream]:
    tcp = await trio.open_tcp_stream(*address_of(service))
    stream = trio.SSLStream(tcp, trusting(cert_of(service), *protocols), server_hostname="127.0.0.1")
    try:
        with trio.fail_after(PATIENCE_S):
            await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


def client(service: Service, *, http2: bool, user: str = "ann") -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        base_url=service.url,
        headers=bearer(user),
        verify=trusting(cert_of(service)),
        http1=not http2,
        http2=http2,
        timeout=PATIENCE_S,
        trust_env=False,
    )


class RawHttp2:
    """An HTTP/2 client that says what it likes; one stream of events at a time."""

    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        self.stream = stream
        config = h2.config.H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.body = b""
        self._events: list[Any] = []

    async def get(self, path: str, headers: dict[str, str]) -> tuple[int, dict[bytes, bytes]]:
        """Status and fields of the answer; its body follows."""
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", "127.0.0.1"), (":path", path)]
        given = [(name.lower(), value) for name, value in headers.items()]
        self.h2.send_headers(self.h2.get_next_available_stream_id(), [*fields, *given], end_stream=True)
        await self.flush()
        answer = await self.event(h2.events.ResponseReceived)
        found = {bytes(name): bytes(value) for name, value in answer.headers}
        return int(found[b":status"]), found

    async def message(self) -> Any:
        """The next event's message. Raises trio.EndOfChannel at the end of the stream."""
        while True:
            block, found, rest = self.body.partition(b"\n\n")
            if found:
                self.body = rest
                lines = [line for line in block.split(b"\n") if line.startswith(b"data: ")]
                if lines:
                    return json.loads(lines[0].removeprefix(b"data: "))
                continue
            event = await self.event(h2.events.DataReceived, h2.events.StreamEnded, h2.events.StreamReset)
            if not isinstance(event, h2.events.DataReceived):
                raise trio.EndOfChannel
            assert event.stream_id is not None
            self.body += event.data or b""
            self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
            await self.flush()

    async def flush(self) -> None:
        await self.stream.send_all(self.h2.data_to_send())

    async def event(self, *kinds: type[Any]) -> Any:
        """The next event of these kinds; None when the connection ends."""
        with trio.fail_after(PATIENCE_S):
            while True:
                while self._events:
                    event = self._events.pop(0)
                    if isinstance(event, kinds):
                        return event
                data = await self.stream.receive_some()
                if not data:
                    return None
                self._events += self.h2.receive_data(data)


@asynccontextmanager
async def by_websocket(service: Service, cursor: str | None = None) -> AsyncIterator[Receive]:
    stream = await dial(service)
    query = "" if cursor is None else f"?cursor={cursor}"
    headers = [(name.encode(), value.encode()) for name, value in bearer().items()]
    async with trio.open_nursery() as nursery:
        socket = await wrap_client_stream(nursery, stream, "127.0.0.1", f"/ws{query}", extra_headers=headers)

        async def receive() -> Any:
            return json.loads(await socket.get_message())

        yield receive
        nursery.cancel_scope.cancel()
    await trio.aclose_forcefully(stream)


@asynccontextmanager
async def by_sse(service: Service, cursor: str | None = None) -> AsyncIterator[Receive]:
    headers = {"Host": "127.0.0.1", **bearer(), **({} if cursor is None else {"Last-Event-ID": cursor})}
    stream = await dial(service, "http/1.1")
    assert stream.selected_alpn_protocol() == "http/1.1"
    reader = SseReader(stream)
    await reader.ask("/events", list(headers.items()))
    try:
        yield reader.event
    finally:
        await trio.aclose_forcefully(stream)


@asynccontextmanager
async def by_http2(service: Service, cursor: str | None = None) -> AsyncIterator[Receive]:
    headers = {**bearer(), **({} if cursor is None else {"last-event-id": cursor})}
    raw = RawHttp2(await dial(service, "h2", "http/1.1"))
    assert raw.stream.selected_alpn_protocol() == "h2"
    status, fields = await raw.get("/events", headers)
    assert (status, fields[b"content-type"]) == (200, b"text/event-stream; charset=utf-8")
    assert b"connection" not in fields
    try:
        yield raw.message
    finally:
        await trio.aclose_forcefully(raw.stream)


WAYS: dict[str, Any] = {"websocket": by_websocket, "sse": by_sse, "http2": by_http2}


async def entries(receive: Receive, count: int) -> list[Any]:
    found: list[Any] = []
    with trio.fail_after(PATIENCE_S):
        while len(found) < count:
            message = await receive()
            if message["type"] == "system-message":
                found.append(message)
    return found


@pytest.mark.parametrize("way", WAYS)
async def test_live_replay_and_a_backlog_larger_than_every_buffer(secure: Service, way: str) -> None:
    async with WAYS[way](secure) as receive:
        hello = await receive()
        assert hello["type"] == "connection-established"
        cursor = hello["data"]["cursor"]
        await secure.notify_user("ann", system_message("one"))
        await secure.notify_user("ben", system_message("not yours"))
        assert (await entries(receive, 1))[0]["data"]["message"] == "one"
        for number in range(200):  # more than sockets and pairs hold, while nobody reads
            await secure.notify_user("ann", system_message(f"{number} " + "x" * 9_000))
        told = await entries(receive, 200)
        assert [int(entry["data"]["message"].split()[0]) for entry in told] == list(range(200))
    async with WAYS[way](secure, cursor) as receive:
        assert (await receive())["data"]["recovered"] is True
        assert [entry["id"] for entry in (await entries(receive, 201))[1:]] == [entry["id"] for entry in told]


async def test_all_ways_say_the_same(secure: Service) -> None:
    async with by_websocket(secure) as one, by_sse(secure) as two, by_http2(secure) as three:
        for receive in (one, two, three):
            await receive()
        assert secure.connection_stats()["total"] == 3
        await secure.broadcast(system_message("all"))
        heard = [(await entries(receive, 1))[0] for receive in (one, two, three)]
    assert heard[0] == heard[1] == heard[2]


async def test_a_stream_whose_client_leaves_is_forgotten(secure: Service) -> None:
    for open_ in WAYS.values():
        async with open_(secure) as receive:
            await receive()
    with trio.fail_after(PATIENCE_S):
        while secure.connection_stats()["total"]:  # noqa: ASYNC110 - nothing tells
            await trio.sleep(0.02)


@pytest.mark.parametrize("http2", [False, True])
async def test_calls_and_refusals(secure: Service, http2: bool) -> None:
    async with client(secure, http2=http2) as http:
        assert (await http.get("/v1/notifications")).json()["unread"] == 0
        assert (await http.get("/")).status_code == 200
        answer = await http.get("/events", headers={"Authorization": "Bearer bad"})
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        big = await http.post(
            "/v1/tickets", content=b"x" * 100_000, headers={"Content-Type": "application/json"}
        )
        assert big.status_code == 413


async def test_an_answer_that_breaks_off_over_http2_is_reset_and_nothing_else(
    make_config: Callable[..., Config], tmp_path: Path
) -> None:
    broken = Blueprint("broken", __name__)

    @broken.get("/broken")
    async def break_off() -> Any:
        async def parts() -> AsyncIterator[bytes]:
            yield b"half"
            await trio.lowlevel.checkpoint()
            raise RuntimeError("no more")

        return parts()

    cert, key = write_certificate(tmp_path)
    config = make_config(tls_cert_file=cert, tls_key_file=key)
    async with open_service(config, blueprints=[broken]) as service, by_http2(service) as receive:
        await receive()
        for window in (65_535, 0):  # also while the half waits for its client
            raw = RawHttp2(await dial(service, "h2"))
            raw.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
            assert (await raw.get("/broken", bearer()))[0] == 200
            end = await raw.event(h2.events.StreamReset, h2.events.StreamEnded)
            assert isinstance(end, h2.events.StreamReset)
            assert end.error_code == h2.errors.ErrorCodes.INTERNAL_ERROR
            assert (await raw.get("/livez", {}))[0] == 200
            await trio.aclose_forcefully(raw.stream)
        await service.notify_user("ann", system_message("alive"))
        assert (await entries(receive, 1))[0]["data"]["message"] == "alive"


async def test_http2_counts_among_a_users_connections(
    make_config: Callable[..., Config], tmp_path: Path
) -> None:
    cert, key = write_certificate(tmp_path)
    config = make_config(tls_cert_file=cert, tls_key_file=key, max_connections_per_user=1)
    async with open_service(config) as service, by_http2(service) as receive:
        await receive()
        async with client(service, http2=True) as http:
            assert (await http.get("/events")).status_code == 429


async def test_streams_that_nobody_reads_take_no_more_than_the_doors_room(
    make_config: Callable[..., Config], tmp_path: Path
) -> None:
    cert, key = write_certificate(tmp_path)
    config = make_config(tls_cert_file=cert, tls_key_file=key, max_connections=8)
    async with open_service(config) as service:
        before = len(os.listdir("/proc/self/fd"))
        raws = [RawHttp2(await dial(service, "h2")) for _ in range(2)]
        statuses: list[int] = []
        for raw in raws:
            raw.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
            statuses += [(await raw.get("/events", bearer()))[0] for _ in range(20)]
        assert statuses == [200] * 3 + [503] * 37
        assert len(os.listdir("/proc/self/fd")) - before == 4 + 2 * 3  # both ends of each connection are here
        with pytest.raises((trio.BrokenResourceError, ssl.SSLError)):  # 2 connections and 3 streams: full
            await dial(service, "h2")
        raws[0].h2.reset_stream(1)
        await raws[0].flush()
        with trio.fail_after(PATIENCE_S):
            while service.connection_stats()["total"] == 3:  # noqa: ASYNC110 - nothing tells
                await trio.sleep(0.02)
        await trio.testing.wait_all_tasks_blocked()
        assert (await raws[0].get("/events", bearer()))[0] == 200
        for raw in raws:
            await trio.aclose_forcefully(raw.stream)


# --- what strangers send --------------------------------------------------------------------------------


async def test_websockets_over_http2_are_not_offered_and_not_served(secure: Service) -> None:
    async with by_websocket(secure) as victim:
        await victim()
        raw = RawHttp2(await dial(secure, "h2"))
        await raw.flush()
        settings = await raw.event(h2.events.RemoteSettingsChanged)
        assert h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL not in settings.changed_settings
        raw.h2.send_headers(
            1,
            [
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "https"),
                (":path", "/ws"),
                (":authority", "127.0.0.1"),
                ("sec-websocket-version", "13"),
            ],
        )
        await raw.flush()
        answer = await raw.event(h2.events.ResponseReceived, h2.events.StreamReset)
        if isinstance(answer, h2.events.ResponseReceived):
            assert answer.headers is not None
            assert dict(answer.headers)[b":status"] in (b"403", b"400", b"404")
        await trio.aclose_forcefully(raw.stream)
        await secure.notify_user("ann", system_message("alive"))
        assert (await entries(victim, 1))[0]["data"]["message"] == "alive"


@pytest.mark.parametrize(
    "headers",
    [
        [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", b"/caf\xc3\xa9")],
        [(":method", "CONNECT"), (":authority", "x")],
        [(":method", "GET"), (":scheme", "https"), (":authority", "a..b"), (":path", "/livez")],
        [(":method", "GET"), (":scheme", "https"), (":authority", "x" * 64), (":path", "/livez")],
        [(":method", "GET"), (":scheme", "https"), (":authority", "x")],
        [(":method", "GET"), (":scheme", "https"), (":path", "/"), ("a", b"\xff\x00\r\n")],
        [(":method", b"\xff"), (":scheme", "https"), (":authority", "x"), (":path", "/")],
        [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/events?" + "a" * 10_000)],
    ],
)
async def test_a_hostile_request_ends_its_own_connection_at_worst(
    secure: Service, headers: list[tuple[Any, Any]]
) -> None:
    async with by_http2(secure) as victim:
        await victim()
        raw = RawHttp2(await dial(secure, "h2"))
        raw.h2.send_headers(1, headers, end_stream=True)
        await raw.flush()
        with trio.move_on_after(2):
            await raw.event(h2.events.ResponseReceived, h2.events.StreamReset)
        await trio.aclose_forcefully(raw.stream)
        await secure.notify_user("ann", system_message("alive"))
        assert (await entries(victim, 1))[0]["data"]["message"] == "alive"


async def test_streams_opened_and_reset_at_once_end(secure: Service) -> None:
    """CVE-2023-44487."""
    async with by_websocket(secure) as victim:
        await victim()
        raw = RawHttp2(await dial(secure, "h2"))
        sent = 0
        try:
            for number in range(3000):
                stream_id = 1 + 2 * number
                raw.h2.send_headers(
                    stream_id, [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/")]
                )
                raw.h2.reset_stream(stream_id)
                if number % 20 == 0:
                    await raw.flush()
                sent = number
        except (trio.BrokenResourceError, h2.exceptions.ProtocolError):
            pass
        await trio.aclose_forcefully(raw.stream)
        await secure.notify_user("ann", system_message("alive"))
        assert (await entries(victim, 1))[0]["data"]["message"] == "alive"
        assert sent > 0


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello",
        b"\x16\x03\x01\xff\xff" + b"x" * 70_000,
        b"\x80",
    ],
)
async def test_what_is_no_tls_is_closed_and_nobody_else_hears_of_it(secure: Service, garbage: bytes) -> None:
    async with by_websocket(secure) as victim:
        await victim()
        tcp = await trio.open_tcp_stream(*address_of(secure))
        with trio.fail_after(PATIENCE_S):
            try:
                await tcp.send_all(garbage)
                while await tcp.receive_some():
                    pass
            except trio.BrokenResourceError:
                pass
        await tcp.aclose()
        await secure.notify_user("ann", system_message("alive"))
        assert (await entries(victim, 1))[0]["data"]["message"] == "alive"
    assert all(door.statistics().faults == 0 for door in secure.doors)


# --- certificates ---------------------------------------------------------------------------------------


async def test_a_certificate_is_renewed_without_a_connection_being_dropped(
    secure: Service, tmp_path: Path
) -> None:
    async with by_websocket(secure) as receive, by_http2(secure) as other:
        await receive()
        await other()
        write_certificate(tmp_path, "renewed")
        with pytest.raises(trio.BrokenResourceError):
            await dial(secure)  # the old one is still served
        await secure.reload(lambda: secure.config)
        stream = await dial(secure)
        subject = dict(pair[0] for pair in stream.getpeercert()["subject"])
        assert subject["commonName"] == "renewed"
        await trio.aclose_forcefully(stream)
        (tmp_path / "cert.pem").write_text("nonsense")
        await secure.reload(lambda: secure.config)  # told in the log; the good one stays
        await secure.notify_user("ann", system_message("alive"))
        for each in (receive, other):
            assert (await entries(each, 1))[0]["data"]["message"] == "alive"


def test_files_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path)
    with pytest.raises(ConfigError, match="tls_cert_file"):
        open_context(tmp_path / "missing.pem", key)
    with pytest.raises(ConfigError, match="tls_cert_file"):
        open_context(cert, cert)


async def test_tls_1_2_is_the_oldest_that_is_spoken(secure: Service) -> None:
    context = trusting(cert_of(secure))
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    tcp = await trio.open_tcp_stream(*address_of(secure))
    stream = trio.SSLStream(tcp, context, server_hostname="127.0.0.1")
    await stream.do_handshake()
    assert stream.version() == "TLSv1.2"
    assert secure.tls is not None
    assert secure.tls.minimum_version is ssl.TLSVersion.TLSv1_2
    await trio.aclose_forcefully(stream)


async def test_a_drain_ends_streams_of_each_kind(make_config: Callable[..., Config], tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path)
    async with trio.open_nursery() as nursery:
        stop = trio.Event()
        service: Service

        async def run(task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
            async with open_service(make_config(tls_cert_file=cert, tls_key_file=key)) as running:
                task_status.started(running)
                await stop.wait()

        service = await nursery.start(run)
        async with by_websocket(service) as one, by_http2(service) as two:
            await one()
            await two()
            stop.set()
            assert (await one())["type"] == (await two())["type"] == "reconnect"
            with trio.fail_after(PATIENCE_S):
                with pytest.raises(ConnectionClosed):
                    await one()
                with pytest.raises(trio.EndOfChannel):
                    await two()
