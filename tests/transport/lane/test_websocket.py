"""One WebSocket over a real socket, with wsproto as the client."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
import trio
from structlog.testing import capture_logs
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from notifyd.errors import CloseCode, Forbidden, NotFound, Unavailable, Unprocessable
from notifyd.limits import Limits
from notifyd.messages import iso
from notifyd.transport import websocket

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from trio.testing import MockClock

    from tests.transport.lane.conftest import World

MASK = b"\0\0\0\0"


def frame(first: int, payload: bytes, *, masked: bool = True) -> bytes:
    """A client's frame by hand, to say what wsproto refuses to."""
    size = len(payload)
    assert size < 65536
    bit = 0x80 if masked else 0
    length = bytes((bit | size,)) if size < 126 else struct.pack("!BH", bit | 126, size)
    return bytes((first,)) + length + (MASK if masked else b"") + payload


# --- the stream ---------------------------------------------------------------------------------------


async def test_tells_who_and_where_then_what_is_published(autojump_clock: MockClock, world: World) -> None:
    world.publish()
    client = await world.websocket()
    hello = await client.message()
    assert hello["type"] == "connection-established"
    assert hello["data"] == {
        "user_id": "ann",
        "connection_id": hello["data"]["connection_id"],
        "protocol_version": 1,
        "cursor": "e1-1",
        "recovered": False,
        "reason": "no-cursor",
        "heartbeat_interval_ms": 30_000,
        "token_expires_at": iso((world.lane.clock() // 1000 + 3600) * 1000),
    }
    world.publish("ben")
    cursor = world.publish()[0]
    message = await client.message()
    assert (message["id"], message["data"]["message"]) == (cursor, "m3")


async def test_resumes_after_the_cursor_from_the_query(autojump_clock: MockClock, world: World) -> None:
    cursors = world.publish(count=3)
    for name in ("last_event_id", "cursor"):
        client = await world.raw_websocket(f"/ws?token={world.token()}&{name}={cursors[0]}")
        hello = await client.message()
        assert (hello["data"]["recovered"], hello["data"]["cursor"]) == (True, cursors[0])
        assert [(await client.message())["id"] for _ in range(2)] == cursors[1:]


async def test_a_backlog_comes_joined_and_in_order(autojump_clock: MockClock, world: World) -> None:
    cursors = world.publish(count=300, size=500)
    client = await world.websocket(cursor="e1-0")
    await client.message()
    assert [(await client.message())["id"] for _ in cursors] == cursors


async def test_a_client_that_leaves_is_forgotten(autojump_clock: MockClock, world: World) -> None:
    client = await world.websocket()
    await client.message()
    assert world.lane.connections.statistics().websocket == 1
    client.close()
    await trio.testing.wait_all_tasks_blocked()
    assert len(world.lane.connections) == 0
    assert len(world.done) == 1


async def test_a_store_that_cannot_answer_is_try_again_later(autojump_clock: MockClock, world: World) -> None:
    async def fail() -> None:
        raise Unavailable("locked")

    world.inbox.before_answer = fail
    client = await world.websocket()
    assert (await client.message())["data"]["code"] == "unavailable"
    assert await client.closed() == 1013


# --- who it is ----------------------------------------------------------------------------------------


async def test_a_bad_token_is_accepted_and_closed_with_4501(autojump_clock: MockClock, world: World) -> None:
    client = await world.raw_websocket("/ws?token=nonsense")
    assert client.answer.startswith(b"HTTP/1.1 101 ")
    assert (await client.message())["data"]["code"] == "unauthorized"
    assert await client.closed() == 4501


async def test_a_foreign_page_is_refused_before_the_upgrade(autojump_clock: MockClock, world: World) -> None:
    fields = [("Cookie", f"accessToken={world.token()}"), ("Origin", "https://evil.example")]
    client = await world.raw_websocket("/ws", fields)
    assert client.answer.startswith(b"HTTP/1.1 403 ")
    assert b'"status":403' in await client.rest()


async def test_the_bearer_subprotocol_is_chosen(autojump_clock: MockClock, world: World) -> None:
    protocol = f"bearer.{world.token()}"
    client = await world.raw_websocket("/ws", [("Sec-WebSocket-Protocol", f"other, {protocol}")])
    assert f"\r\nSec-WebSocket-Protocol: {protocol}\r\n".encode() in client.answer
    assert (await client.message())["data"]["user_id"] == "ann"


async def test_the_first_frame_may_be_the_token(autojump_clock: MockClock, world: World) -> None:
    cursors = world.publish(count=2)
    client = await world.websocket(None, cursor=cursors[0])
    await trio.sleep(4)
    token = world.token()
    both = [f'{{"type":"auth","data":{{"token":"{token}"}}}}', '{"type":"ping"}']
    await client.send(b"".join(client.frames.send(TextMessage(text)) for text in both))
    types = [(await client.message())["type"] for _ in range(3)]
    assert types == ["connection-established", "system-message", "pong"]


@pytest.mark.parametrize("text", ['{"type":"ping"}', "nonsense", '{"type":"auth","data":{"token":"x"}}'])
async def test_a_first_frame_that_proves_nothing_is_4501(
    autojump_clock: MockClock, world: World, text: str
) -> None:
    client = await world.websocket(None)
    await client.send_text(text)
    assert (await client.message())["data"]["code"] == "unauthorized"
    assert await client.closed() == 4501


async def test_five_seconds_for_the_first_frame(autojump_clock: MockClock, world: World) -> None:
    client = await world.websocket(None)
    start = trio.current_time()
    assert await client.closed() == 4501
    assert 5 <= trio.current_time() - start <= 6.5


async def test_a_refresh_keeps_the_connection_past_its_first_token(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.websocket(ttl_s=60)
    await client.message()
    await client.say("auth", token=world.token(ttl_s=200))
    start = trio.current_time()
    assert (await client.message())["data"]["code"] == "token_expired"
    assert 229 <= trio.current_time() - start <= 232
    assert await client.closed() == 4001


async def test_an_expired_token_ends_it_after_thirty_seconds_of_grace(
    autojump_clock: MockClock, world: World
) -> None:
    start = trio.current_time()
    client = await world.websocket(ttl_s=60)
    assert await client.closed() == 4001
    assert 89 <= trio.current_time() - start <= 92


async def test_a_refresh_by_another_user_is_4501(autojump_clock: MockClock, world: World) -> None:
    client = await world.websocket()
    await client.say("auth", token=world.token("ben"))
    assert await client.closed() == 4501


async def test_a_refresh_with_a_bad_token_is_an_error_only(autojump_clock: MockClock, world: World) -> None:
    client = await world.websocket()
    await client.message()
    await client.say("auth", token="x")
    assert (await client.message())["data"]["code"] == "unauthorized"
    await client.say("ping")
    assert (await client.message())["type"] == "pong"


async def test_the_eleventh_connection_of_a_user_gets_4504(autojump_clock: MockClock, world: World) -> None:
    for _ in range(10):
        await world.websocket()
    assert await (await world.websocket()).closed() == 4504
    late = await world.websocket(None)
    await late.say("auth", token=world.token())
    assert await late.closed() == 4504
    assert (await (await world.websocket("ben")).message())["data"]["user_id"] == "ben"


# --- what the client says -----------------------------------------------------------------------------


async def test_what_is_not_understood_is_answered_and_the_connection_goes_on(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.websocket()
    await client.message()
    for text, code in (("{", "bad_message"), ('{"type":"huh"}', "unknown_type")):
        await client.send_text(text)
        assert (await client.message())["data"]["code"] == code
    await client.say("ping")
    assert (await client.message())["type"] == "pong"


async def test_acks_reach_the_inbox(autojump_clock: MockClock, world: World) -> None:
    cursor = world.publish()[0]
    client = await world.websocket()
    await client.message()
    await client.say("ack", up_to=cursor)
    for bad in ("e1-2", "e2-1", "1"):
        await client.say("ack", up_to=bad)
        assert (await client.message())["data"]["code"] == "bad_message"
    assert world.inbox.acks == [("ann", 1)]


async def test_a_pong_acknowledges_for_a_client_that_never_does(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.websocket()
    await client.message()
    world.publish()
    await client.message()
    assert (await client.message(pings=True))["data"] == {"cursor": "e1-1"}
    await client.say("pong")
    await client.say("ping")
    await client.message()
    assert world.inbox.acks == [("ann", 1)]
    await client.say("ack", up_to="e1-1")
    world.publish()
    for _ in range(2):
        await client.message(pings=True)
    await trio.testing.wait_all_tasks_blocked()
    assert world.inbox.acks == [("ann", 1), ("ann", 1)]


async def test_marks_run_apart_and_their_faults_are_told(autojump_clock: MockClock, world: World) -> None:
    world.publish()
    client = await world.websocket()
    await client.message()
    await client.say("mark", notification_ids=["n1"], state="read")
    await client.say("mark", up_to="e1-1", state="seen")
    await client.say("mark", up_to="e1-9", state="seen")
    assert (await client.message())["data"]["code"] == "bad_message"
    await trio.testing.wait_all_tasks_blocked()
    assert sorted(world.inbox.marks, key=str) == [
        ("ann", "read", ["n1"], None),
        ("ann", "seen", None, 1),
    ]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (NotFound("n1"), "not_found"),
        (Unprocessable("no"), "bad_message"),
        (Unavailable("locked"), "unavailable"),
        (Forbidden("no"), "internal"),
    ],
)
async def test_a_mark_that_fails_is_told(
    autojump_clock: MockClock, world: World, fault: Exception, code: str
) -> None:
    async def fail() -> None:
        raise fault

    world.inbox.before_mark = fail
    client = await world.websocket()
    await client.message()
    for _ in range(2):
        await client.say("mark", notification_ids=["n1"], state="read")
        assert (await client.message())["data"]["code"] == code


async def test_a_defect_in_a_mark_ends_this_connection_alone(autojump_clock: MockClock, world: World) -> None:
    async def fail() -> None:
        raise RuntimeError("boom")

    world.inbox.before_mark = fail
    client = await world.websocket()
    await client.message()
    await client.say("mark", notification_ids=["n1"], state="read")
    assert await client.closed() == 1011


async def test_sixteen_marks_may_wait_while_the_reader_goes_on(
    autojump_clock: MockClock, world: World
) -> None:
    world.inbox.before_mark = trio.sleep_forever
    client = await world.websocket()
    await client.message()
    for _ in range(17):
        await client.say("mark", notification_ids=["n1"], state="read")
    assert (await client.message())["data"]["code"] == "rate_limited"
    await client.say("ping")
    assert (await client.message())["type"] == "pong"


async def test_too_many_messages_end_in_4029(autojump_clock: MockClock, world: World) -> None:
    client = await world.websocket()
    await client.message()
    await client.send(b"".join(client.frames.send(TextMessage('{"type":"pong"}')) for _ in range(60)))
    assert (await client.message())["data"]["code"] == "rate_limited"
    assert await client.closed() == 4029


async def test_too_many_pings_end_in_4029(autojump_clock: MockClock, world: World) -> None:
    client = await world.websocket()
    await client.message()
    await client.send(b"".join(client.frames.send(Ping(b"x" * 125)) for _ in range(60)))
    assert await client.closed() == 4029


async def test_a_ping_is_answered_with_its_payload(autojump_clock: MockClock, world: World) -> None:
    client = await world.websocket()
    await client.message()
    await client.send(client.frames.send(Ping(b"are you there")))
    event = await client.event()
    assert isinstance(event, Pong)
    assert event.payload == b"are you there"


# --- limits and faults of the frames --------------------------------------------------------------------


async def test_a_message_of_exactly_the_limit_is_read_and_one_byte_more_is_1009(
    autojump_clock: MockClock, world: World
) -> None:
    for text in ("x" * Limits().max_message_bytes, "é" * (Limits().max_message_bytes // 2)):
        client = await world.websocket()
        await client.message()
        await client.send_text(text)
        assert (await client.message())["data"]["code"] == "bad_message"
        await client.send_text(text + "x")
        assert await client.closed() == 1009


async def test_an_endless_message_is_1009_and_the_socket_closes_within_a_second(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.websocket()
    await client.message()
    await client.send(frame(0x01, b"x" * 10_000) + frame(0x00, b"x" * 10_000))
    start = trio.current_time()
    while not isinstance(event := await client.event(), CloseConnection):
        pass
    assert event.code == 1009
    assert await client.flood(frame(0x00, b"x" * 60_000), times=50, every=0.1)
    assert trio.current_time() - start <= 1.1


@pytest.mark.parametrize("count", [64, 65])
async def test_at_most_64_fragments(autojump_clock: MockClock, world: World, count: int) -> None:
    client = await world.websocket()
    await client.message()
    frames = [frame(0x01, b"x"), *[frame(0x00, b"x")] * (count - 2), frame(0x80, b"x")]
    await client.send(b"".join(frames))
    if count == 64:
        assert (await client.message())["data"]["code"] == "bad_message"
    else:
        assert await client.closed() == 1009


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(0x82, b"x"), 1003),
        (frame(0x02, b"x"), 1003),
        (frame(0x81, b"\xff"), 1007),
        (frame(0x88, struct.pack("!H", 1000) + b"\xff"), 1007),
        (frame(0x81, b"x", masked=False), 1002),
        (frame(0xC1, b"x"), 1002),  # RSV1, as a compressed message has it
        (frame(0x83, b""), 1002),  # a reserved opcode
        (frame(0x80, b"x"), 1002),  # a continuation of nothing
        (frame(0x89, b"x" * 126), 1002),
        (frame(0x09, b"x"), 1002),  # a fragmented control frame
        (frame(0x88, b"x"), 1002),
        (frame(0x88, struct.pack("!H", 1005)), 1002),
        (b"GET / HTTP/1.1\r\n\r\n", 1002),
    ],
)
async def test_broken_frames_get_their_code_and_end_the_connection_alone(
    autojump_clock: MockClock, world: World, data: bytes, code: int
) -> None:
    victim = await world.websocket("ben")
    await victim.message()
    client = await world.websocket()
    await client.message()
    await client.send(data)
    assert await client.closed() == code
    cursor = world.publish(None)[0]
    assert (await victim.message())["id"] == cursor


async def test_bytes_right_behind_the_handshake_are_frames(autojump_clock: MockClock, world: World) -> None:
    client = await world.raw_websocket(f"/ws?token={world.token()}", rest=frame(0x81, b'{"type":"ping"}'))
    await client.message()
    assert (await client.message())["type"] == "pong"
    broken = await world.raw_websocket(f"/ws?token={world.token()}", rest=b"\n")
    await broken.message()
    await broken.send(b"\n")
    assert await broken.closed() == 1002


# --- closing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"", struct.pack("!H", 1001) + b"bye", struct.pack("!H", 4999)])
async def test_the_clients_close_is_answered_with_its_code_and_eof(
    autojump_clock: MockClock, world: World, payload: bytes
) -> None:
    client = await world.websocket()
    await client.message()
    await client.send(frame(0x88, payload))
    reply = await client.rest()
    assert reply == bytes((0x88, len(payload[:2]))) + payload[:2]
    client.close()
    await trio.testing.wait_all_tasks_blocked()
    assert len(world.done) == 1


async def test_a_client_that_ignores_our_close_is_cut_within_a_second(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.websocket()
    await client.message()
    start = trio.current_time()
    assert world.lane.connections.close_user("ann", CloseCode.REVOKED) == 1
    assert isinstance(await client.event(), CloseConnection)
    assert await client.rest() == b""
    assert trio.current_time() - start <= 1.0


async def test_after_a_close_nothing_is_sent(autojump_clock: MockClock, world: World) -> None:
    client = await world.websocket()
    await client.message()
    world.lane.connections.close_user("ann", CloseCode.REVOKED)
    world.publish()
    await client.send(client.frames.send(Ping(b"x")))
    await client.say("ping")
    assert await client.closed() == 4503


async def test_a_defect_ends_this_connection_alone(
    autojump_clock: MockClock,
    world: World,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def explode(*_: Any) -> None:
        raise RuntimeError("boom")

    victim = await world.websocket("ben")
    client = await world.websocket()
    await client.message()
    monkeypatch.setattr(websocket.WebSocketConnection, "_read_text", explode)
    with capture_logs() as lines:
        await client.send_text("a payload")
        assert await client.closed() == 1011
    monkeypatch.undo()
    faults = [line for line in lines if line["event"] == "connection.fault"]
    assert [line["user"] for line in faults] == ["ann"]
    assert faults[0].keys() == {"event", "log_level", "connection", "user", "exc_info"}
    await victim.message()
    cursor = world.publish(None)[0]
    assert (await victim.message())["id"] == cursor


async def test_binary_by_the_other_side_of_wsproto_too(autojump_clock: MockClock, world: World) -> None:
    client = await world.websocket()
    await client.send(client.frames.send(BytesMessage(b"")))
    assert await client.closed() == 1003


async def test_limits_of_another_number_of_connections(
    autojump_clock: MockClock,
    open_world: Callable[..., AbstractAsyncContextManager[World]],
) -> None:
    async with open_world(max_connections_per_user=1) as world:
        first = await world.websocket()
        await first.message()
        assert await (await world.websocket()).closed() == 4504
        first.close()
        await trio.testing.wait_all_tasks_blocked()
        assert (await (await world.websocket()).message())["type"] == "connection-established"
