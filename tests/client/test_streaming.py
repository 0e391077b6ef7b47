"""The client over SSE, against a server that misbehaves in every way; all times are virtual."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import h11
import pytest
import trio
from trio.testing import memory_stream_pair

from notifyd.auth import mint_token
from notifyd.client import Client, ServerRefused, Status, open_client
from notifyd.client.talk import OPEN_SECONDS, WEBSOCKET_PATIENCE_SECONDS
from notifyd.messages import ErrorData, Message, iso

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

    Script = Callable[["Stream"], Awaitable[None]]


class Stream:
    """The server's side of one request."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.SERVER)
        self.method = self.target = ""
        self.headers: dict[str, str] = {}
        self.body: Any = None

    async def read(self) -> None:
        body = b""
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(bytes(await self._stream.receive_some()))
            elif isinstance(event, h11.Request):
                self.method, self.target = event.method.decode(), event.target.decode()
                self.headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.body = json.loads(body) if body else None
                return
            else:
                raise trio.BrokenResourceError

    async def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
        fields.append(("content-length", str(len(body))))
        await self._put(h11.Response(status_code=status, headers=fields))
        await self._put(h11.Data(body))
        await self._put(h11.EndOfMessage())

    async def begin(self, content_type: str = "text/event-stream; charset=utf-8") -> None:
        fields = [("content-type", content_type), ("transfer-encoding", "chunked")]
        await self._put(h11.Response(status_code=200, headers=fields))

    async def put(self, text: bytes) -> None:
        await self._put(h11.Data(text))

    async def say(self, type_: str, data: dict[str, Any], seq: int | None = None) -> None:
        message = {"type": type_, "data": data, "timestamp": iso(0)}
        if seq is not None:
            message["id"] = f"e1-{seq}"
        await self.put(b"data: " + json.dumps(message).encode() + b"\n\n")

    async def hello(self, cursor: str = "e1-10", **more: Any) -> None:
        await self.begin()
        hello = {
            "user_id": "ann",
            "connection_id": "c1",
            "cursor": cursor,
            "recovered": True,
            "reason": None,
            "heartbeat_interval_ms": 30_000,
            "token_expires_at": None,
        }
        await self.say("connection-established", hello | more)

    async def end(self) -> None:
        await self._put(h11.EndOfMessage())

    async def gone(self) -> None:
        """Until the client has left."""
        while await self._stream.receive_some():
            pass

    async def _put(self, event: h11.Event) -> None:
        await self._stream.send_all(self._http.send(event) or b"")


class Server:
    """Runs one script for each stream in turn, the last one for all that follow; calls are noted."""

    def __init__(self, nursery: trio.Nursery, *scripts: Script) -> None:
        self._nursery = nursery
        self._scripts = list(scripts)
        self.streams: list[Stream] = []
        self.opened_at: list[float] = []
        self.calls: list[tuple[str, Any]] = []
        self.answers: list[tuple[int, dict[str, str]]] = []  # to the next calls, then 204
        self.upgrades = 0
        self.upgrade: Script = _refuse_upgrade

    async def dial(self) -> trio.abc.Stream:
        mine, theirs = memory_stream_pair()
        self._nursery.start_soon(self._serve, theirs)
        await trio.lowlevel.checkpoint()
        return mine

    async def _serve(self, stream: trio.abc.Stream) -> None:
        request = Stream(stream)
        try:
            await request.read()
            await self._act(request)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        await trio.aclose_forcefully(stream)

    async def _act(self, request: Stream) -> None:
        if "upgrade" in request.headers:
            self.upgrades += 1
            await self.upgrade(request)
        elif request.method == "POST":
            self.calls.append((request.target, request.body))
            status, headers = self.answers.pop(0) if self.answers else (204, {})
            await request.answer(status, b"", **headers)
        else:
            self.opened_at.append(trio.current_time())
            script = self._scripts[min(len(self.streams), len(self._scripts) - 1)]
            self.streams.append(request)
            await script(request)


async def _refuse_upgrade(request: Stream) -> None:
    await request.answer(403, b"<h1>No</h1>")


async def _mute(request: Stream) -> None:
    await trio.sleep_forever()


async def live(stream: Stream) -> None:
    await stream.hello()
    await stream.gone()


def client_of(server: Server, **options: Any) -> Any:
    chosen: dict[str, Any] = {"transport": "sse", "draw": lambda: 0.5, "dial": server.dial} | options
    token = chosen.pop("token", "t")
    return open_client("http://server.example/notify", token, **chosen)


async def take(client: Client, count: int) -> list[Message]:
    with trio.fail_after(1000):
        return [await client.__anext__() for _ in range(count)]


async def test_messages_come_once_and_the_cursor_goes_in_a_header(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def first(stream: Stream) -> None:
        await stream.hello()
        for seq in (11, 12, 12, 11):
            await stream.say("x-test", {}, seq)
        await stream.end()

    async def second(stream: Stream) -> None:
        await stream.hello("e1-12")
        for seq in (12, 13):
            await stream.say("x-test", {}, seq)
        await stream.gone()

    server = Server(nursery, first, second)
    async with client_of(server) as client:
        assert [message.id for message in await take(client, 3)] == ["e1-11", "e1-12", "e1-13"]
        assert client.transport == "sse"
    one, other = server.streams
    assert one.target == other.target == "/notify/events"
    assert (one.headers["authorization"], one.headers["accept"]) == ("Bearer t", "text/event-stream")
    assert "last-event-id" not in one.headers
    assert other.headers["last-event-id"] == "e1-12"
    assert server.opened_at[1] - server.opened_at[0] == 0.5


@pytest.mark.parametrize("status", [400, 401, 403, 404, 301])
async def test_refused_for_good_it_raises(
    autojump_clock: MockClock, nursery: trio.Nursery, status: int
) -> None:
    async def refuse(stream: Stream) -> None:
        await stream.answer(status, b'{"detail": "because"}')

    server = Server(nursery, refuse)
    async with client_of(server) as client:
        with pytest.raises(ServerRefused, match=f"HTTP {status}: because") as caught:
            await take(client, 1)
    assert caught.value.code == status
    assert len(server.streams) == 1


@pytest.mark.parametrize(("status", "wait_s"), [(503, 20.5), (429, 20.5), (502, 20.5)])
async def test_a_server_that_wants_to_be_left_alone_is(
    autojump_clock: MockClock, nursery: trio.Nursery, status: int, wait_s: float
) -> None:
    async def refuse(stream: Stream) -> None:
        await stream.answer(status, retry_after="20")

    server = Server(nursery, refuse, live)
    async with client_of(server) as client:
        await client.wait_connected()
    assert server.opened_at[1] - server.opened_at[0] == wait_s


async def test_its_slot_after_a_drain_is_kept(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    async def drain(stream: Stream) -> None:
        await stream.hello()
        await stream.say("reconnect", {"after_ms": 7250, "reason": "drain"})
        await stream.end()

    server = Server(nursery, drain, live)
    async with client_of(server) as client:
        await trio.sleep(1)
        await client.wait_connected()
    assert server.opened_at[1] - server.opened_at[0] == 7.25


async def test_no_content_is_the_end(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    async def no_content(stream: Stream) -> None:
        await stream.answer(204)

    async with client_of(Server(nursery, no_content)) as client:
        assert [message async for message in client] == []


async def test_a_stream_too_big_for_anyone_is_left_for_good(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def endless(stream: Stream) -> None:
        await stream.hello()
        await stream.put(b"data: " + b"x" * 5_000_000)
        await stream.gone()

    async with client_of(Server(nursery, endless)) as client:
        with pytest.raises(ServerRefused, match="1009"):
            await take(client, 1)


async def _wrong_type(stream: Stream) -> None:
    await stream.begin("text/html")
    await stream.gone()


async def _hang_up(stream: Stream) -> None:
    pass


@pytest.mark.parametrize(
    ("script", "wait_s"), [(_wrong_type, 0.5), (_hang_up, 0.5), (_mute, OPEN_SECONDS + 0.5)]
)
async def test_what_is_no_stream_is_tried_again(
    autojump_clock: MockClock, nursery: trio.Nursery, script: Script, wait_s: float
) -> None:
    server = Server(nursery, script, live)
    async with client_of(server) as client:
        await client.wait_connected()
    assert server.opened_at[1] - server.opened_at[0] == wait_s


async def test_a_silent_stream_is_left_and_comments_are_no_silence(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def fall_silent(stream: Stream) -> None:
        await stream.hello()
        for _ in range(10):
            await trio.sleep(15)
            await stream.put(b":\n\n")
        await trio.sleep_forever()

    server = Server(nursery, fall_silent, live)
    async with client_of(server) as client:
        await trio.sleep(216)
        await client.wait_connected()
    assert server.opened_at[1] == server.opened_at[0] + 150 + 65 + 0.5


async def test_marks_and_acks_are_calls_that_are_repeated_while_it_may_help(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def script(stream: Stream) -> None:
        await stream.hello()
        await stream.say("x-test", {}, 11)
        await stream.gone()

    server = Server(nursery, script)
    server.answers = [(503, {"retry_after": "3"}), (429, {}), (204, {})]
    async with client_of(server) as client:
        await client.wait_connected()
        await client.mark("read", notification_ids=["a"])
        await trio.sleep(30)
        await client.mark("seen", up_to="e1-11")
        await take(client, 1)
    mark = ("/notify/v1/notifications/mark", {"notification_ids": ["a"], "state": "read"})
    seen = ("/notify/v1/notifications/mark", {"up_to": "e1-11", "state": "seen"})
    ack = ("/notify/v1/notifications/ack", {"up_to": "e1-11", "connection_id": "c1"})
    assert server.calls == [mark, mark, mark, seen, ack]


async def test_a_fresh_token_that_did_not_arrive_is_sent_again(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def script(stream: Stream) -> None:
        await stream.hello(token_expires_at=iso(600_000))
        while True:
            await trio.sleep(30)
            await stream.put(b": still here\n\n")

    old, new = (mint_token("s" * 32, "ann", now_ms=0, ttl_s=ttl_s) for ttl_s in (600, 6000))
    tokens = iter([old, new, new])
    server = Server(nursery, script)
    server.answers = [(503, {})]

    async def next_token() -> str:
        return next(tokens)

    async with client_of(server, token=next_token) as client:
        await client.wait_connected()
        await trio.sleep(590)
    assert server.calls == [("/notify/v1/auth", {"connection_id": "c1", "token": new})] * 2


async def test_what_is_not_taken_is_an_error_message_and_no_end(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    server = Server(nursery, live)
    server.answers = [(404, {}), (422, {})]
    async with client_of(server) as client:
        await client.mark("read", notification_ids=["a"])
        await client.mark("read", up_to="e1-999")
        first, second = await take(client, 2)
    assert isinstance(first.data, ErrorData)
    assert (first.data.code, second.data.code) == ("not_found", "bad_message")
    assert len(server.streams) == 1


async def test_an_old_token_in_a_call_brings_a_new_connection(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    tokens = iter(["one", "two"])
    server = Server(nursery, live)
    server.answers = [(401, {})]
    async with client_of(server, token=lambda: next(tokens)) as client:
        await client.mark("read", up_to="e1-1")
        await trio.sleep(5)
        await client.wait_connected()
    assert [stream.headers["authorization"] for stream in server.streams] == ["Bearer one", "Bearer two"]
    assert [path for path, _ in server.calls] == ["/notify/v1/notifications/mark"] * 2


# --- from WebSocket to SSE -----------------------------------------------------------------------------


async def _swallow(request: Stream) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize(
    ("upgrade", "wait_s"), [(_refuse_upgrade, 0.0), (_swallow, WEBSOCKET_PATIENCE_SECONDS)]
)
async def test_sse_follows_a_websocket_at_once(
    autojump_clock: MockClock, nursery: trio.Nursery, upgrade: Script, wait_s: float
) -> None:
    statuses: list[Status] = []
    server = Server(nursery, live)
    server.upgrade = upgrade
    began = trio.current_time()
    async with client_of(server, transport="auto", on_state=statuses.append) as client:
        await client.wait_connected()
        assert trio.current_time() == began + wait_s
    assert [(status.state, status.transport) for status in statuses] == [
        ("connecting", "websocket"),
        ("connecting", "sse"),
        ("connected", "sse"),
        ("closed", None),
    ]


async def test_a_websocket_is_tried_again_after_a_while(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def for_a_minute(stream: Stream) -> None:
        await stream.hello()
        await trio.sleep(60)
        await stream.end()

    server = Server(nursery, for_a_minute)
    async with client_of(server, transport="auto") as client:
        await client.wait_connected()
        await trio.sleep(290)
        assert server.upgrades == 1
        await trio.sleep(60)
        assert server.upgrades == 2
        await trio.sleep(500)
        assert server.upgrades == 2


async def test_where_nothing_gets_through_both_are_tried_with_growing_waits(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    server = Server(nursery, _hang_up)
    async with client_of(server, transport="auto"):
        await trio.sleep(0.5 + 1 + 2 + 0.1)
    assert server.upgrades == len(server.streams) == 4
    assert [at - server.opened_at[0] for at in server.opened_at] == [0, 0.5, 1.5, 3.5]


async def test_a_verdict_of_the_server_is_no_reason_for_sse(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def refuse(request: Stream) -> None:
        await request.answer(403, b'{"type": "urn:notifyd:problem:forbidden", "detail": "Origin"}')

    server = Server(nursery, live)
    server.upgrade = refuse
    async with client_of(server, transport="auto") as client:
        with pytest.raises(ServerRefused, match="Origin"):
            await take(client, 1)
    assert server.streams == []
