"""One request at a time through Hypercorn and Quart-Trio, on real loopback sockets behind the door."""

from __future__ import annotations

import contextlib
import inspect
import json
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from hypercorn.config import Config
from hypercorn.protocol.h2 import H2Protocol, StreamBuffer
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import TrioSingleTask, WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import LifespanFailureError, wrap_app
from quart import request
from quart_trio import QuartTrio

from notifyd.transport.hypercorn import open_http

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    DoorAt = Callable[..., AbstractAsyncContextManager[Any]]
    Connect = Callable[[str], AbstractAsyncContextManager[Any]]
    Serve = Callable[[Any], AbstractAsyncContextManager[Any]]

GET = b"GET /hello HTTP/1.1\r\nHost: h\r\n\r\n"
EVENTS = b"GET /events HTTP/1.1\r\nHost: h\r\n\r\n"
MANY_BYTES = 4_000_000


def get(path: str, fields: str = "", version: str = "1.1") -> bytes:
    return f"GET {path} HTTP/{version}\r\nHost: h\r\n{fields}\r\n".encode()


def post(body: bytes, fields: str | None = None) -> bytes:
    fields = f"Content-Length: {len(body)}\r\n" if fields is None else fields
    return f"POST /echo HTTP/1.1\r\nHost: h\r\n{fields}\r\n".encode() + body


@pytest.fixture
def serve(door_at: DoorAt) -> Serve:
    """Opens a door whose HTTP lane runs the given ASGI app."""

    @asynccontextmanager
    async def open_app(app: Any) -> AsyncIterator[Any]:
        async with open_http(app) as lane, door_at(http=lane.serve) as at:
            yield at

    return open_app


@pytest.fixture
def app() -> QuartTrio:
    app = QuartTrio(__name__)

    @app.get("/hello")
    async def hello() -> str:
        return "hello"

    @app.post("/echo")
    async def echo() -> str | bytes:
        return await request.get_data(as_text=False)

    @app.post("/ignore")
    async def ignore() -> str:
        return "ignored"

    @app.get("/stream")
    async def stream() -> Any:
        async def parts() -> AsyncIterator[bytes]:
            for number in range(3):
                yield b"part %d;" % number

        return parts()

    return app


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not condition():
            await trio.lowlevel.checkpoint()


async def until_closed(at: Any) -> None:
    """Let virtual time pass until the door has no connection."""
    for _ in range(100):
        if not at.door.statistics().open:
            return
        await trio.sleep(1)
    raise AssertionError("the connection stays")


# --- Hypercorn's own shape --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("thing", "parameters"),
    [
        (TCPServer.__init__, ["self", "app", "config", "context", "state", "stream"]),
        (TCPServer.run, ["self"]),
        (Lifespan.__init__, ["self", "app", "config", "state"]),
        (Lifespan.handle_lifespan, ["self", "task_status"]),
        (Lifespan.wait_for_startup, ["self"]),
        (Lifespan.wait_for_shutdown, ["self"]),
        (WorkerContext.__init__, ["self", "max_requests"]),
        (TrioSingleTask.restart, ["self", "task_group", "action"]),
        (TrioSingleTask.stop, ["self"]),
        (wrap_app, ["app", "wsgi_max_body_size", "mode"]),
        (H2Protocol.stream_send, ["self", "event"]),
        (H2Protocol._window_updated, ["self", "stream_id"]),
        (H2Protocol._flush, ["self"]),
        (StreamBuffer.set_complete, ["self"]),
    ],
)
def test_hypercorn_still_has_the_names_that_are_used(thing: Any, parameters: list[str]) -> None:
    """When this fails, a new Hypercorn needs a look at notifyd/transport/hypercorn.py before it is taken."""
    assert list(inspect.signature(thing).parameters) == parameters


def test_hypercorn_still_has_the_settings_that_are_used() -> None:
    for name in (
        "h11_max_incomplete_size",
        "startup_timeout",
        "shutdown_timeout",
        "include_server_header",
        "accesslog",
        "errorlog",
    ):
        assert hasattr(Config, name), name
    config, context = Config(), WorkerContext(None)
    server = TCPServer(wrap_app(QuartTrio(__name__), 1, "asgi"), config, context, ConnectionState({}), None)  # type: ignore[arg-type]
    assert isinstance(server.idle_task, TrioSingleTask)


# --- requests -----------------------------------------------------------------------------------------------


async def test_many_requests_on_one_connection(serve: Serve, app: QuartTrio, raw_client: Connect) -> None:
    async with serve(app) as at, raw_client(at.url) as client:
        for number in range(20):
            await client.send(GET)
            assert (await client.response()).body == b"hello"
            await client.send(post(b"%d" % number))
            assert (await client.response()).body == b"%d" % number
        assert at.door.statistics().accepted == 1


async def test_requests_sent_ahead_are_answered_in_order_until_one_is_for_a_fast_lane(
    serve: Serve, app: QuartTrio, raw_client: Connect
) -> None:
    chunked = post(b"2\r\nab\r\n3;x=y\r\ncde\r\n0\r\nT: v\r\n\r\n", "Transfer-Encoding: chunked\r\n")
    async with serve(app) as at, raw_client(at.url) as client:
        await client.send(GET + post(b"GET /a HTTP/1.1\r\n\r\n") + chunked + EVENTS + b"rest")
        assert (await client.response()).body == b"hello"
        assert (await client.response()).body == b"GET /a HTTP/1.1\r\n\r\n"
        assert (await client.response()).body == b"abcde"
        assert await client.rest() == b"sse rest"


async def test_bytes_behind_a_body_are_a_request_even_in_single_bytes(
    serve: Serve, app: QuartTrio, raw_client: Connect
) -> None:
    chunked = post(b"2\r\nab\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\n")
    async with serve(app) as at, raw_client(at.url) as client:
        for byte in chunked + GET + EVENTS:
            await client.send(bytes([byte]))
            await trio.testing.wait_all_tasks_blocked()
        assert (await client.response()).body == b"ab"
        assert (await client.response()).body == b"hello"
        assert await client.rest() == b"sse "


async def test_large_bodies_both_ways(serve: Serve, app: QuartTrio, raw_client: Connect) -> None:
    body = bytes(range(256)) * 4000
    pieces = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:70_000], body[70_000:]))
    async with serve(app) as at, raw_client(at.url) as client, trio.open_nursery() as nursery:
        chunked = post(pieces + b"0\r\n\r\n", "Transfer-Encoding: chunked\r\n")
        nursery.start_soon(client.send, post(body) + chunked + GET)
        assert (await client.response()).body == body
        assert (await client.response()).body == body
        assert (await client.response()).body == b"hello"


async def test_answers_without_a_length_are_chunked_or_end_the_connection(
    serve: Serve, app: QuartTrio, raw_client: Connect
) -> None:
    async with serve(app) as at, raw_client(at.url) as client:
        await client.send(get("/stream") + get("/stream", version="1.0"))
        answer = await client.response()
        assert (answer.headers["transfer-encoding"], answer.body) == ("chunked", b"part 0;part 1;part 2;")
        old = await client.response()
        assert "transfer-encoding" not in old.headers
        assert old.body == answer.body


async def test_head_has_no_body_and_keeps_the_connection(
    serve: Serve, app: QuartTrio, raw_client: Connect
) -> None:
    async with serve(app) as at, raw_client(at.url) as client:
        await client.send(b"HEAD /hello HTTP/1.1\r\nHost: h\r\n\r\n" + GET)
        assert (await client.response(head_only=True)).headers["content-length"] == "5"
        assert (await client.response()).body == b"hello"


@pytest.mark.parametrize("head", [get("/hello", "Connection: close\r\n"), get("/hello", version="1.0")])
async def test_connection_close_closes_after_the_answer(
    serve: Serve, app: QuartTrio, raw_client: Connect, head: bytes
) -> None:
    async with serve(app) as at, raw_client(at.url) as client:
        await client.send(head + GET)
        assert (await client.response()).body == b"hello"
        assert await client.rest() == b""


async def test_a_client_that_waits_for_100_continue_gets_it(
    serve: Serve, app: QuartTrio, raw_client: Connect
) -> None:
    async with serve(app) as at, raw_client(at.url) as client:
        for _ in range(2):
            await client.send(post(b"", "Content-Length: 4\r\nExpect: 100-continue\r\n"))
            assert (await client.response()).status == 100
            await client.send(b"body")
            assert (await client.response()).body == b"body"


async def test_a_body_that_nobody_reads_is_not_taken_for_a_request(
    serve: Serve, app: QuartTrio, raw_client: Connect
) -> None:
    async with serve(app) as at, raw_client(at.url) as client:
        head = b"POST /ignore HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(EVENTS)
        await client.send(head + EVENTS + GET)
        assert (await client.response()).body == b"ignored"
        assert (await client.response()).body == b"hello"


async def test_an_answer_before_the_body_ends_the_connection_and_can_be_read(
    serve: Serve, app: QuartTrio, raw_client: Connect
) -> None:
    app.config["MAX_CONTENT_LENGTH"] = 100
    async with serve(app) as at, raw_client(at.url) as client, trio.open_nursery() as nursery:
        await client.send(post(b"x" * 1000, "Content-Length: 100000000\r\n"))
        assert (await client.response()).status == 413
        assert await client.rest() == b""
        nursery.cancel_scope.cancel()


# --- malformed and slow requests ----------------------------------------------------------------------------


async def test_a_malformed_body_gets_a_problem(serve: Serve, app: QuartTrio, raw_client: Connect) -> None:
    for body in (b"zz\r\n", b"3\r\nabcdef\r\n0\r\n\r\n"):
        async with serve(app) as at, raw_client(at.url) as client:
            await client.send(post(body, "Transfer-Encoding: chunked\r\n") + GET)
            answer = await client.response()
            assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
            assert await client.rest() == b""


async def test_a_body_that_stops_coming_gets_408(
    serve: Serve, app: QuartTrio, raw_client: Connect, autojump_clock: trio.testing.MockClock
) -> None:
    async with serve(app) as at, raw_client(at.url) as client:
        await client.send(post(b"x", "Content-Length: 5\r\n"))
        answer = await client.response()
        assert answer.status == 408
        assert json.loads(answer.body)["type"] == "urn:notifyd:problem:request-timeout"


async def test_a_body_that_turns_bad_behind_half_an_answer_resets_the_connection(
    serve: Serve, raw_client: Connect
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        await trio.sleep_forever()

    async with serve(app) as at, raw_client(at.url) as client:
        await client.send(post(b"", "Transfer-Encoding: chunked\r\n"))
        assert b"half" in await client.until(b"half")
        await client.send(b"zz\r\n")
        assert b"400" not in await client.rest()


CORPUS = [
    GET + GET,
    post(b"body") + GET,
    post(b"3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\n") + EVENTS,
    get("/stream", "Connection: close\r\nX: \xe9\r\n"),
    post(b"", "Content-Length: 4\r\nExpect: 100-continue\r\n") + b"body",
    get("/ws", "Upgrade: websocket\r\nConnection: Upgrade\r\n") + b"\x81\x00",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]
SPICE = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\x00",
    b"\xff",
    b" ",
    b":",
    b"HTTP/1.0",
    b"0\r\n\r\n",
    b"Content-Length: 1\r\n",
    b"%",
]


def mutated(random: Random) -> bytes:
    data = bytearray(random.choice(CORPUS))
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(data) + 1)
        data[at : at + random.choice([0, 0, 1, 5])] = random.choice(SPICE)
    return bytes(data)


@pytest.mark.parametrize("seed", range(4))
async def test_mutated_requests_end_at_most_their_own_connection(
    serve: Serve, app: QuartTrio, raw_client: Connect, seed: int
) -> None:
    random = Random(seed)
    async with serve(app) as at, raw_client(at.url) as victim:
        for _ in range(60):
            data = mutated(random)
            async with raw_client(at.url) as client:
                with contextlib.suppress(trio.BrokenResourceError):
                    await client.send(data)
                    await client.stream.send_eof()
                await client.rest()
            await victim.send(GET)
            assert (await victim.response()).body == b"hello", data
        assert at.door.statistics().faults == 0


# --- clients that leave or do not read ----------------------------------------------------------------------


class Watched:
    """An ASGI app that says when it runs and how it ended."""

    def __init__(self, *, answers: bool = False) -> None:
        self.running = trio.Event()
        self.release = trio.Event()
        self.cancelled = False
        self._answers = answers

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        try:
            await self._run(send)
        except trio.Cancelled:
            self.cancelled = True
            raise

    async def _run(self, send: Any) -> None:
        if self._answers:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        self.running.set()
        while self._answers:
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
        await self.release.wait()
        body = b"late"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": body, "more_body": False})


@pytest.mark.parametrize("answers", [False, True], ids=["while it thinks", "while it answers"])
async def test_a_client_that_leaves_by_reset_cancels_its_request(
    serve: Serve, raw_client: Connect, answers: bool
) -> None:
    app = Watched(answers=answers)
    async with serve(app) as at:
        async with raw_client(at.url) as client:
            await client.send(GET)
            await app.running.wait()
            await client.reset()
        await until(lambda: app.cancelled and at.door.statistics().open == 0)


@pytest.mark.parametrize("answers", [False, True], ids=["while it thinks", "while it answers"])
async def test_a_client_that_closes_cancels_its_request_within_seconds(
    serve: Serve, raw_client: Connect, autojump_clock: trio.testing.MockClock, answers: bool
) -> None:
    app = Watched(answers=answers)
    async with serve(app) as at:
        start = trio.current_time()
        async with raw_client(at.url) as client:
            await client.send(GET)
            await app.running.wait()
        await until_closed(at)
        assert app.cancelled
        assert trio.current_time() - start <= 6


async def test_a_client_that_only_ends_its_sending_side_gets_its_answer(
    serve: Serve, raw_client: Connect
) -> None:
    app = Watched()
    async with serve(app) as at, raw_client(at.url) as client:
        await client.send(GET)
        await app.running.wait()
        await client.stream.send_eof()
        await trio.testing.wait_all_tasks_blocked()
        app.release.set()
        assert (await client.response()).body == b"late"
        assert await client.rest() == b""
    assert not app.cancelled


async def test_what_is_sent_ahead_of_a_slow_answer_is_bounded(serve: Serve, raw_client: Connect) -> None:
    app = Watched()
    async with serve(app) as at, raw_client(at.url) as client, trio.open_nursery() as nursery:
        await client.send(GET)
        await app.running.wait()
        sent_all = trio.Event()

        async def flood() -> None:
            with contextlib.suppress(trio.BrokenResourceError):
                await client.stream.send_all(b"\r\n" * 10_000_000)
                sent_all.set()

        nursery.start_soon(flood)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert not sent_all.is_set()
        nursery.cancel_scope.cancel()


async def test_a_client_that_takes_no_bytes_is_reset_after_20_seconds(
    serve: Serve, raw_client: Connect, autojump_clock: trio.testing.MockClock
) -> None:
    app = Watched(answers=True)
    async with serve(app) as at, raw_client(at.url) as client:
        await client.send(GET)
        await app.running.wait()
        start = trio.current_time()
        await until_closed(at)
        assert 20 <= trio.current_time() - start <= 22
        assert app.cancelled


async def test_cancelling_does_not_wait_for_a_client_that_does_not_read(
    serve: Serve, raw_client: Connect, autojump_clock: trio.testing.MockClock
) -> None:
    app = Watched(answers=True)
    async with serve(app) as at, raw_client(at.url) as client:
        await client.send(GET)
        await app.running.wait()
        await trio.testing.wait_all_tasks_blocked()  # Hypercorn is inside a shielded write now
        start = trio.current_time()
        at.connections.cancel_scope.cancel()
        await until(lambda: at.door.statistics().open == 0)
        assert trio.current_time() == start
        assert app.cancelled


# --- applications that misbehave ----------------------------------------------------------------------------


def broken_app(*messages: dict[str, Any], error: Exception | None = None) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        for message in messages:
            await send(message)
        if error is not None:
            raise error

    return app


START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]}


@pytest.mark.parametrize("error", [None, RuntimeError("x"), ExceptionGroup("g", [ValueError()])])
async def test_an_app_that_gives_no_answer_gives_a_500(
    serve: Serve, raw_client: Connect, error: Exception | None
) -> None:
    async with serve(broken_app(error=error)) as at, raw_client(at.url) as client:
        for _ in range(2):
            await client.send(GET)
            answer = await client.response()
            assert (answer.status, answer.headers["content-type"]) == (500, "application/problem+json")


@pytest.mark.parametrize(
    "messages",
    [
        (START,),
        (START, {"type": "http.response.body", "body": b"ha", "more_body": True}),
        (START, {"type": "http.response.body", "body": b"more than said", "more_body": False}),
        ({**START, "headers": [(b"a b", b"c")]}, {"type": "http.response.body"}),
    ],
    ids=["only a start", "half a body", "too much", "bad header"],
)
async def test_half_an_answer_ends_the_connection_and_only_that(
    serve: Serve, raw_client: Connect, messages: tuple[dict[str, Any], ...]
) -> None:
    async with serve(broken_app(*messages)) as at, raw_client(at.url) as victim:
        await victim.send(b"G")
        async with raw_client(at.url) as client:
            await client.send(GET + EVENTS)
            assert b"sse" not in await client.rest()
        await victim.send(EVENTS[1:])
        assert await victim.rest() == b"sse "
        await until(lambda: bool(at.door.statistics().open == 0))


async def test_an_app_that_answers_a_body_it_never_reads(serve: Serve, raw_client: Connect) -> None:
    app = broken_app(START, {"type": "http.response.body", "body": b"12345"})
    async with serve(app) as at:
        async with raw_client(at.url) as client:
            pieces = b"1\r\nx\r\n" * 3000
            await client.send(post(pieces, "Transfer-Encoding: chunked\r\n"))
            assert (await client.response()).body == b"12345"
            assert await client.rest() == b""
        await until(lambda: at.door.statistics().open == 0)


async def test_the_answer_says_that_it_is_the_last_while_the_door_drains(
    serve: Serve, raw_client: Connect
) -> None:
    app = Watched()
    async with serve(app) as at, raw_client(at.url) as client:
        await client.send(GET)
        await app.running.wait()
        at.door.drain()
        app.release.set()
        answer = await client.response()
        assert (answer.headers["connection"], answer.body) == ("close", b"late")
        assert await client.rest() == b""


async def test_whatever_hypercorn_raises_ends_one_connection(
    serve: Serve, app: QuartTrio, raw_client: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: TCPServer) -> None:
        raise ExceptionGroup("hypercorn", [UnicodeDecodeError("ascii", b"\xff", 0, 1, "x")])

    async with serve(app) as at:
        with monkeypatch.context() as patch, trio.fail_after(10):
            patch.setattr(TCPServer, "run", broken)
            async with raw_client(at.url) as client:
                await client.send(GET)
                assert await client.rest() == b""
        async with raw_client(at.url) as client:
            await client.send(GET)
            assert (await client.response()).status == 200


# --- lifespan ------------------------------------------------------------------------------------------


async def test_the_app_starts_before_and_stops_after() -> None:
    app = QuartTrio(__name__)
    seen = []

    @app.before_serving
    async def started() -> None:
        seen.append("started")

    @app.after_serving
    async def stopped() -> None:
        seen.append("stopped")

    async with open_http(app):
        seen.append("open")
    assert seen == ["started", "open", "stopped"]


async def test_the_app_stops_when_the_block_is_cancelled() -> None:
    app = QuartTrio(__name__)
    seen = []

    @app.after_serving
    async def stopped() -> None:
        await trio.lowlevel.checkpoint()
        seen.append("stopped")

    with trio.CancelScope() as scope:
        async with open_http(app):
            scope.cancel()
            await trio.sleep_forever()
    assert seen == ["stopped"]


async def test_an_app_that_does_not_start_is_an_error_and_nothing_opens() -> None:
    app = QuartTrio(__name__)

    @app.before_serving
    async def started() -> None:
        raise RuntimeError("no database")

    with pytest.RaisesGroup(
        pytest.RaisesExc(LifespanFailureError, match="no database"), flatten_subgroups=True
    ):
        async with open_http(app):
            raise AssertionError("opened")


async def test_an_app_without_lifespan_is_served(serve: Serve, raw_client: Connect) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send(START)
        await send({"type": "http.response.body", "body": b"12345"})

    async with serve(app) as at, raw_client(at.url) as client:
        await client.send(GET)
        assert (await client.response()).body == b"12345"
