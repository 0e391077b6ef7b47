"""One SSE stream over a real socket, taken apart by hand."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from notifyd.errors import CloseCode, Unavailable
from notifyd.transport import sse

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from trio.testing import MockClock

    from tests.transport.lane.conftest import World

    OpenWorld = Callable[..., AbstractAsyncContextManager[World]]


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


# --- the stream -----------------------------------------------------------------------------------------


async def test_the_head_keeps_every_proxy_from_buffering(autojump_clock: MockClock, world: World) -> None:
    client = await world.sse()
    assert client.head.startswith("HTTP/1.1 200 OK\r\n")
    for field in (
        "Content-Type: text/event-stream; charset=utf-8",
        "Cache-Control: no-cache, no-transform",
        "X-Accel-Buffering: no",
        "Connection: close",
        "Transfer-Encoding: chunked",
    ):
        assert f"\r\n{field}\r\n" in client.head
    assert "Access-Control" not in client.head
    assert await client.block() == [b":", b"retry: 2000"]


async def test_http_1_0_gets_its_stream_unchunked_until_the_end(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.sse(version="1.0")
    assert "transfer-encoding" not in client.head.lower()
    await client.message()
    cursor = world.publish()[0]
    assert (await client.event() or ("", {}))[0] == cursor
    world.lane.connections.close_user("ann", CloseCode.NORMAL)
    assert await client.event() is None


async def test_an_id_stands_on_entries_on_the_first_message_and_on_pings_alone(
    autojump_clock: MockClock, world: World
) -> None:
    world.publish()
    client = await world.sse()
    hello = await client.event()
    assert hello is not None
    assert (hello[0], hello[1]["type"], hello[1]["data"]["cursor"]) == (
        "e1-1",
        "connection-established",
        "e1-1",
    )
    assert "id" not in hello[1]
    cursor = world.publish()[0]
    entry = await client.event()
    assert entry is not None
    assert entry[0] == entry[1]["id"] == cursor
    world.publish("ben")
    ping = await client.event()
    assert ping is not None
    assert (ping[0], ping[1]["type"], ping[1]["data"]) == ("e1-3", "ping", {"cursor": "e1-3"})
    world.lane.connections._by_user["ann"][0].depart(250)
    reconnect = await client.event()
    assert reconnect is not None
    assert (reconnect[0], reconnect[1]["data"]["after_ms"]) == (None, 250)
    assert await client.event() is None
    assert client.complete


async def test_a_comment_every_15_seconds_and_a_ping_every_30(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.sse()
    await client.message()
    comments: list[float] = []
    pings: list[float] = []
    while len(pings) < 4:
        lines = await client.block()
        assert lines is not None
        if lines == [b":"]:
            comments.append(trio.current_time())
        else:
            assert b'"ping"' in b"".join(lines)
            pings.append(trio.current_time())
    comment_gaps = {later - earlier for earlier, later in pairwise(comments)}
    ping_gaps = {later - earlier for earlier, later in pairwise(pings)}
    assert all(14.7 <= gap <= 15.3 for gap in comment_gaps)
    assert all(29.7 <= gap <= 30.3 for gap in ping_gaps)


async def test_a_resume_by_header_beats_the_query(autojump_clock: MockClock, world: World) -> None:
    cursors = world.publish(count=3)
    client = await world.sse(cursor=cursors[0], headers=[("Last-Event-ID", cursors[1])])
    assert (await client.message())["data"]["cursor"] == cursors[1]
    assert (await client.message())["id"] == cursors[2]
    assert world.inbox.acks == [("ann", 2)]
    by_query = await world.sse(cursor=cursors[0])
    assert (await by_query.message())["data"]["recovered"]
    assert [(await by_query.message())["id"] for _ in range(2)] == cursors[1:]


@pytest.mark.parametrize(
    ("cursor", "reason"),
    [("%00", "malformed"), ("e2-1", "other-epoch"), ("e1-9", "future"), ("", "no-cursor")],
)
async def test_a_cursor_that_proves_nothing_is_said_first(
    autojump_clock: MockClock, world: World, cursor: str, reason: str
) -> None:
    world.publish()
    data = (await (await world.sse(cursor=cursor)).message())["data"]
    assert (data["recovered"], data["reason"], data["cursor"]) == (False, reason, "e1-1")
    assert world.inbox.acks == []


async def test_an_allowed_origin_may_read(autojump_clock: MockClock, open_world: OpenWorld) -> None:
    async with open_world(allowed_origins="https://shop.example") as world:
        client = await world.sse(headers=[("Origin", "https://shop.example")])
        assert "\r\nAccess-Control-Allow-Origin: https://shop.example\r\n" in client.head
        assert "\r\nVary: Origin\r\n" in client.head
        head, _ = await refused(world, "/events", ("Origin", "https://shop.example"))
        assert head.startswith("HTTP/1.1 401 ")
        assert "\r\nAccess-Control-Allow-Origin: https://shop.example\r\n" in head
        assert "\r\nAccess-Control-Expose-Headers: Retry-After\r\n" in head
        other = await world.sse(headers=[("Origin", "https://evil.example")])
        assert "Access-Control" not in other.head


# --- refusals -------------------------------------------------------------------------------------------


async def refused(world: World, target: str, *fields: tuple[str, str]) -> tuple[str, dict[str, object]]:
    client = await world.raw_sse(target, fields)
    return client.head, json.loads(await client.rest())


async def test_a_bad_or_missing_token_is_401(autojump_clock: MockClock, world: World) -> None:
    for target in ("/events", "/events?token=nonsense"):
        head, problem = await refused(world, target)
        assert head.startswith("HTTP/1.1 401 ")
        assert "\r\nWWW-Authenticate: Bearer\r\n" in head
        assert "application/problem+json" in head
        assert problem["status"] == 401


async def test_a_foreign_page_is_403(autojump_clock: MockClock, world: World) -> None:
    fields = [("Cookie", f"accessToken={world.token()}"), ("Origin", "https://evil.example")]
    head, _ = await refused(world, "/events", *fields)
    assert head.startswith("HTTP/1.1 403 ")


async def test_the_eleventh_connection_of_both_kinds_is_429(autojump_clock: MockClock, world: World) -> None:
    for _ in range(5):
        await world.websocket()
        await world.sse()
    head, _ = await refused(world, f"/events?token={world.token()}")
    assert head.startswith("HTTP/1.1 429 ")
    assert "\r\nRetry-After: " in head


async def test_a_log_that_cannot_answer_is_503(autojump_clock: MockClock, world: World) -> None:
    async def fail() -> None:
        raise Unavailable("locked")

    world.inbox.before_answer = fail
    head, problem = await refused(world, f"/events?token={world.token()}")
    assert head.startswith("HTTP/1.1 503 ")
    assert problem["detail"] == "locked"


# --- the end --------------------------------------------------------------------------------------------


async def test_an_expired_token_is_told_and_the_stream_is_complete(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.sse(ttl_s=10)
    await client.message()
    start = trio.current_time()
    last = await client.message()
    assert (last["type"], last["data"]["code"]) == ("error", "token_expired")
    assert await client.event() is None
    assert client.complete
    assert 38 <= trio.current_time() - start <= 42


async def test_a_refresh_by_http_keeps_the_stream(autojump_clock: MockClock, world: World) -> None:
    client = await world.sse(ttl_s=10)
    hello = await client.message()
    fresh = world.lane.keys.verify_token(world.token(ttl_s=100), world.lane.clock())
    assert world.lane.connections.refresh(hello["data"]["connection_id"], fresh)
    start = trio.current_time()
    assert (await client.message())["type"] == "error"
    assert 128 <= trio.current_time() - start <= 132


async def test_a_client_that_leaves_is_forgotten(autojump_clock: MockClock, world: World) -> None:
    client = await world.sse()
    client.close()
    await settle()
    assert len(world.lane.connections) == 0


async def test_what_a_client_sends_is_ignored_up_to_a_limit(autojump_clock: MockClock, world: World) -> None:
    client = await world.sse(rest=b"GET / HTTP/1.1\r\n\r\n")
    await client.message()
    await client.send(b"x" * 1000)
    cursor = world.publish()[0]
    assert (await client.message())["id"] == cursor
    assert await client.flood(b"x" * 16_000, times=10, every=0.1)
    assert len(world.lane.connections) == 0


async def test_a_peer_whose_queue_stands_still_is_let_go(autojump_clock: MockClock, world: World) -> None:
    """Nothing is read on the other side, so that what is sent stays in the socket's queue."""
    client = await world.sse()
    await client.message()
    assert await world.empty() <= 45


async def test_a_peer_that_reads_is_never_let_go(autojump_clock: MockClock, world: World) -> None:
    client = await world.sse()
    start = trio.current_time()
    while trio.current_time() < start + 600:
        await client.message(pings=True)
    assert len(world.lane.connections) == 1


# --- the wire -------------------------------------------------------------------------------------------


@given(st.text(max_size=50), st.none() | st.just("e1-7"))
def test_any_text_is_one_event_with_one_line_of_data(text: str, cursor: str | None) -> None:
    message = json.dumps({"m": text}, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass")
    lines = sse.event(cursor, message).split(b"\n")
    assert lines[-2:] == [b"", b""]
    assert [line for line in lines if line.startswith(b"id: ")] == ([b"id: e1-7"] if cursor else [])
    (data,) = (line for line in lines if line.startswith(b"data: "))
    assert json.loads(data.removeprefix(b"data: ").decode("utf-8", "surrogatepass")) == {"m": text}
    assert len(lines) == 3 + bool(cursor)


def test_framers_are_pure_and_differ_by_the_chunk_alone() -> None:
    plain = sse.frame_plain("e1-7", b"{}")
    assert plain == b"id: e1-7\ndata: {}\n\n"
    assert sse.frame_chunked("e1-7", b"{}") == b"13\r\n" + plain + b"\r\n"
    assert len(plain) == 0x13
