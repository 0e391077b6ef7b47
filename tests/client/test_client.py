"""The client against a server that misbehaves in every way; all times are virtual."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import trio

from notifyd.client import Client, ServerRefused, Status, open_client
from notifyd.client.talk import OPEN_SECONDS
from notifyd.errors import Unavailable
from notifyd.messages import ConnectionEstablished, ErrorData, Message, SystemMessage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio.testing import MockClock

    from .conftest import Harness, Peer


async def take(client: Client, count: int) -> list[Message]:
    return [await client.__anext__() for _ in range(count)]


def ids(messages: list[Message]) -> list[Any]:
    return [message.id for message in messages]


async def live(peer: Peer) -> None:
    """Accept, start at e1-10, then hear the client out."""
    await peer.accept()
    await peer.hello("e1-10", recovered=False, reason="no-cursor")
    await peer.listen()


async def test_messages_are_typed_and_come_in_order(autojump_clock: MockClock, harness: Harness) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.hello("e1-10", recovered=False, reason="no-cursor")
        await peer.say("system-message", {"notification_id": "n", "message": "hi"}, 11)
        await peer.entry(12)
        await peer.listen()

    async with harness.client(script) as (client, server):
        first, second = await take(client, 2)
        assert first.data == SystemMessage("n", "hi")
        assert second.data == {"n": 12}
        assert (client.state, client.recovered, client.reason) == ("connected", False, "no-cursor")
        assert client.cursor == "e1-12"
    peer = server.peers[0]
    assert peer.path == "/ws"
    assert peer.headers["authorization"] == "Bearer t"


async def test_it_resumes_after_the_last_entry_and_drops_repeats(
    autojump_clock: MockClock, harness: Harness
) -> None:
    async def first(peer: Peer) -> None:
        await peer.accept()
        await peer.hello("e1-10")
        for seq in (11, 12, 12, 11):
            await peer.entry(seq)

    async def second(peer: Peer) -> None:
        await peer.accept()
        await peer.hello("e1-12")
        for seq in (11, 12, 13):
            await peer.entry(seq)
        await peer.listen()

    async with harness.client(first, second) as (client, server):
        assert ids(await take(client, 3)) == ["e1-11", "e1-12", "e1-13"]
        assert client.recovered is True
    assert [peer.path for peer in server.peers] == ["/ws", "/ws?last_event_id=e1-12"]
    assert server.dialled_at[1] - server.dialled_at[0] == 0.5


async def test_a_ping_moves_the_place_to_resume_from(autojump_clock: MockClock, harness: Harness) -> None:
    async def first(peer: Peer) -> None:
        await peer.accept()
        await peer.hello("e1-10")
        await peer.say("ping", {"cursor": "e1-40"})
        await peer.say("ping", {"cursor": "nonsense!"})
        await peer.say("pong", {})

    async with harness.client(first, live, cursor="e1-3") as (client, server):
        await server.wait_peers(2)
        await client.wait_connected()
    assert [peer.path for peer in server.peers] == ["/ws?last_event_id=e1-3", "/ws?last_event_id=e1-40"]


async def test_a_gap_is_told_and_the_new_place_taken(autojump_clock: MockClock, harness: Harness) -> None:
    statuses: list[Status] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.hello("e2-4", recovered=False, reason="other-epoch")
        await peer.entry(5, "e2")
        await peer.listen()

    options: dict[str, Any] = {"cursor": "e1-900", "established": True, "on_state": statuses.append}
    async with harness.client(script, **options) as (client, _):
        hello, entry = await take(client, 2)
        assert isinstance(hello.data, ConnectionEstablished)
        assert entry.id == "e2-5"
    assert [status.state for status in statuses] == ["connecting", "connected", "closed"]
    assert statuses[1] == Status(
        "connected", recovered=False, reason="other-epoch", cursor="e2-4", transport="websocket"
    )


async def test_waits_grow_until_a_connection_lasts(autojump_clock: MockClock, harness: Harness) -> None:
    async def drop(peer: Peer) -> None:
        await peer.accept()
        await peer.hello("e1-1")

    async def last_a_while(peer: Peer) -> None:
        await drop(peer)
        await trio.sleep(10)

    async with harness.client(drop, drop, drop, last_a_while, drop, live) as (client, server):
        await server.wait_peers(6)
        await client.wait_connected()
    at = server.dialled_at
    assert [after - before for before, after in pairwise(at)] == [0.5, 1, 2, 10.5, 1]


async def test_a_server_that_is_not_there_is_tried_again(autojump_clock: MockClock, harness: Harness) -> None:
    tries = 0
    statuses: list[Status] = []
    async with harness.client(live) as (_, server):

        async def dial() -> trio.abc.Stream:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise ConnectionRefusedError("refused")
            if tries == 2:
                await trio.sleep_forever()
            return await server.dial()

        async with open_client(
            "http://s", "t", dial=dial, draw=lambda: 0.5, on_state=statuses.append
        ) as client:
            await client.wait_connected()
    assert tries == 3
    waits = [(status.detail, status.retry_in_s) for status in statuses if status.state == "waiting"]
    assert waits == [("cannot connect: refused", 0.5), ("cannot connect within 10 s", 1.0)]


@pytest.mark.parametrize("code", [4501, 4503, 4504, 1008, 1002])
async def test_told_to_stay_away_it_raises(autojump_clock: MockClock, harness: Harness, code: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.ws.aclose(code, "because")

    async with harness.client(script) as (client, server):
        with pytest.raises(ServerRefused, match="because") as caught:
            await take(client, 1)
        assert caught.value.code == code
        assert client.state == "closed"
        with pytest.raises(ServerRefused):
            await client.wait_connected()
        with pytest.raises(ServerRefused):
            await client.mark("read", up_to="e1-1")
    assert len(server.peers) == 1


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013, 4001, 4012])
async def test_told_to_come_back_it_does(autojump_clock: MockClock, harness: Harness, code: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.hello("e1-10")
        await peer.ws.aclose(code)

    async with harness.client(script, live) as (client, server):
        await trio.sleep(1)
        await client.wait_connected()
    assert len(server.peers) == 2


async def test_a_normal_close_ends_the_iteration(autojump_clock: MockClock, harness: Harness) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.hello("e1-10")
        await peer.entry(11)
        await peer.ws.aclose(1000)

    async with harness.client(script) as (client, _):
        assert ids([message async for message in client]) == ["e1-11"]
        with pytest.raises(trio.ClosedResourceError):
            await client.wait_connected()
        with pytest.raises(trio.BrokenResourceError):
            await client.mark("read", up_to="e1-1")


async def test_an_http_refusal_is_told(autojump_clock: MockClock, harness: Harness) -> None:
    async def script(peer: Peer) -> None:
        await peer.reject(403, {"content-type": "application/problem+json"}, b'{"detail": "Origin"}')

    async with harness.client(script) as (client, _):
        with pytest.raises(ServerRefused, match="HTTP 403: Origin") as caught:
            await take(client, 1)
    assert caught.value.code == 403


async def test_an_overloaded_server_is_left_alone_as_long_as_it_wants(
    autojump_clock: MockClock, harness: Harness
) -> None:
    async def script(peer: Peer) -> None:
        await peer.reject(503, {"retry-after": "20"}, b"")

    async with harness.client(script, live) as (client, server):
        await client.wait_connected()
    assert server.dialled_at[1] - server.dialled_at[0] == 20.5


async def test_its_slot_after_a_drain_is_kept(autojump_clock: MockClock, harness: Harness) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.hello("e1-10")
        await peer.say("reconnect", {"after_ms": 7250, "reason": "drain"})
        await peer.ws.aclose(1001)

    async with harness.client(script, live) as (client, server):
        await trio.sleep(1)
        await client.wait_connected()
    assert server.dialled_at[1] - server.dialled_at[0] == 7.25


async def test_a_silent_server_is_left(autojump_clock: MockClock, harness: Harness) -> None:
    statuses: list[Status] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.hello("e1-10")
        await trio.sleep(30)
        await peer.say("ping", {"cursor": "e1-10"})
        await trio.sleep_forever()

    async with harness.client(script, live, on_state=statuses.append) as (_, server):
        await trio.sleep(96)
    assert server.dialled_at[1] == server.dialled_at[0] + 30 + 65 + 0.5
    assert "nothing heard for 65 s" in [status.detail for status in statuses]


async def _mute(peer: Peer) -> None:
    await trio.sleep_forever()


async def _half_open(peer: Peer) -> None:
    await peer.accept()
    await trio.sleep_forever()


@pytest.mark.parametrize("script", [_mute, _half_open])
async def test_a_server_that_never_answers_is_left(
    autojump_clock: MockClock, harness: Harness, script: Any
) -> None:
    async with harness.client(script, live) as (client, server):
        await client.wait_connected()
    assert server.dialled_at[1] - server.dialled_at[0] == OPEN_SECONDS + 0.5


async def _hang_up(peer: Peer) -> None:
    await peer.stream.receive_some()


async def _garbage(peer: Peer) -> None:
    await peer.stream.send_all(b"\x00\xff garbage\r\n\r\n")
    await peer.stream.receive_some()


async def _bad_frames(peer: Peer) -> None:
    await peer.accept()
    await peer.hello("e1-10")
    await peer.stream.send_all(b"\xff\xff\xff")
    await peer.listen()


@pytest.mark.parametrize("script", [_hang_up, _garbage])
async def test_a_broken_server_is_tried_again(
    autojump_clock: MockClock, harness: Harness, script: Any
) -> None:
    async with harness.client(script, live) as (client, server):
        await trio.sleep(1)
        await client.wait_connected()
    assert server.dialled_at[1] - server.dialled_at[0] == 0.5


async def test_a_server_that_breaks_the_protocol_is_left_for_good(
    autojump_clock: MockClock, harness: Harness
) -> None:
    async with harness.client(_bad_frames) as (client, _):
        with pytest.raises(ServerRefused, match="1002"):
            await take(client, 1)


async def test_a_message_beyond_all_bounds_ends_it(autojump_clock: MockClock, harness: Harness) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.hello("e1-10")
        await peer.say("x-big", {"text": "x" * (4 * 1024 * 1024)}, 11)
        await peer.listen()

    async with harness.client(script) as (client, _):
        with pytest.raises(ServerRefused, match="1009"):
            await take(client, 1)


async def test_acks_come_late_and_together(autojump_clock: MockClock, harness: Harness) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.hello("e1-10")
        for seq in range(11, 16):
            await peer.entry(seq)
        await peer.listen()

    async with harness.client(script) as (client, server):
        await take(client, 3)
        await trio.sleep(0.49)
        heard = server.peers[0].heard
        assert heard == []
        await trio.sleep(0.02)
        assert heard == [{"type": "ack", "data": {"up_to": "e1-13"}}]
        await take(client, 2)
    assert [message["data"] for message in heard] == [{"up_to": "e1-13"}, {"up_to": "e1-15"}]


async def test_nothing_given_nothing_acknowledged(autojump_clock: MockClock, harness: Harness) -> None:
    async with harness.client(live) as (client, server):
        await client.wait_connected()
        await trio.sleep(5)
    assert server.peers[0].heard == []


async def test_marks_are_sent_on_this_connection_or_the_next(
    autojump_clock: MockClock, harness: Harness
) -> None:
    async def drop(peer: Peer) -> None:
        await peer.accept()

    async with harness.client(drop, live) as (client, server):
        await client.mark("read", notification_ids=["a"])
        await client.mark("archived", up_to="e1-5")
        await client.wait_connected()
    assert server.peers[1].heard == [
        {"type": "mark", "data": {"notification_ids": ["a"], "state": "read"}},
        {"type": "mark", "data": {"up_to": "e1-5", "state": "archived"}},
    ]


async def test_many_marks_fit_the_servers_limits(autojump_clock: MockClock, harness: Harness) -> None:
    async with harness.client(live) as (client, server):
        await client.wait_connected()
        started = trio.current_time()
        await client.mark("seen", notification_ids=[f"n{number}" for number in range(250)])
    assert [len(message["data"]["notification_ids"]) for message in server.peers[0].heard] == [100, 100, 50]
    assert trio.current_time() - started >= 0.12


@pytest.mark.parametrize("options", [{}, {"notification_ids": ["a"], "up_to": "e1-1"}])
async def test_a_mark_says_what_it_marks(autojump_clock: MockClock, harness: Harness, options: Any) -> None:
    async with harness.client(live) as (client, _):
        with pytest.raises(ValueError, match="either"):
            await client.mark("read", **options)


async def test_errors_of_the_server_reach_the_application(
    autojump_clock: MockClock, harness: Harness
) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.hello("e1-10")
        await peer.say("error", {"code": "not_found", "message": "no such"})
        await peer.listen()

    async with harness.client(script) as (client, _):
        (message,) = await take(client, 1)
    assert message.data == ErrorData("not_found", "no such")


async def test_what_cannot_be_read_is_left_out(
    autojump_clock: MockClock, harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.hello("e1-10")
        await peer.ws.send_message("[]")
        await peer.entry(11)
        await peer.listen()

    async with harness.client(script) as (client, _):
        assert ids(await take(client, 1)) == ["e1-11"]
    assert "left out" in caplog.text


async def test_a_slow_application_loses_nothing(autojump_clock: MockClock, harness: Harness) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.hello("e1-10")
        for seq in range(11, 31):
            await peer.entry(seq)
        await peer.listen()

    async with harness.client(script, buffer_size=2) as (client, server):
        await client.wait_connected()
        await trio.sleep(200)
        assert client.cursor == "e1-10"
        assert ids(await take(client, 20)) == [f"e1-{seq}" for seq in range(11, 31)]
        assert client.cursor == "e1-30"
    assert len(server.peers) == 1, "not reading is no silence of the server"


async def test_what_did_not_fit_is_asked_for_again(autojump_clock: MockClock, harness: Harness) -> None:
    async def first(peer: Peer) -> None:
        await peer.accept()
        await peer.hello("e1-10")
        for seq in range(11, 15):
            await peer.entry(seq)
        await peer.ws.aclose(4012)

    async def second(peer: Peer) -> None:
        await peer.accept()
        start = int(peer.path.rpartition("-")[2])
        await peer.hello(f"e1-{start}")
        for seq in range(start + 1, 15):
            await peer.entry(seq)
        await peer.listen()

    async with harness.client(first, second, buffer_size=1) as (client, _):
        await trio.sleep(5)
        assert ids(await take(client, 4)) == ["e1-11", "e1-12", "e1-13", "e1-14"]


async def test_leaving_while_not_reading_is_quick(autojump_clock: MockClock, harness: Harness) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.hello("e1-10")
        for seq in range(11, 31):
            await peer.entry(seq)
        await peer.listen()

    async with harness.client(script, buffer_size=1) as (client, _):
        await client.wait_connected()
        await trio.sleep(1)
        started = trio.current_time()
    assert trio.current_time() - started <= 2


async def test_leaving_says_goodbye(autojump_clock: MockClock, harness: Harness) -> None:
    codes = []

    async def script(peer: Peer) -> None:
        await live(peer)
        codes.append(peer.ws.closed.code if peer.ws.closed else None)

    async with harness.client(script) as (client, _):
        await client.wait_connected()
        await client.mark("read", up_to="e1-1")
    await trio.sleep(1)
    assert codes == [1000]


async def test_leaving_never_hangs(autojump_clock: MockClock, harness: Harness) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.hello("e1-10")
        await trio.sleep_forever()

    async with harness.client(script) as (client, _):
        await client.wait_connected()
        started = trio.current_time()
    assert trio.current_time() - started <= 5


async def test_leaving_while_waiting_is_at_once(autojump_clock: MockClock, harness: Harness) -> None:
    async def script(peer: Peer) -> None:
        await peer.reject(503, {"retry-after": "100"}, b"")

    async with harness.client(script) as (client, server):
        await server.wait_peers(1)
        await trio.sleep(1)
        assert client.state == "waiting"
        started = trio.current_time()
    assert trio.current_time() == started


async def test_an_error_of_the_application_comes_out_bare(
    autojump_clock: MockClock, harness: Harness
) -> None:
    async def application() -> None:
        async with harness.client(live) as (client, _):
            await client.wait_connected()
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await application()


async def test_a_cancelled_block_ends_at_once(autojump_clock: MockClock, harness: Harness) -> None:
    with trio.move_on_after(3) as scope:
        async with harness.client(live) as (client, _):
            await take(client, 1)
    assert scope.cancelled_caught
    assert trio.current_time() == scope.deadline


async def test_a_token_function_is_asked_for_each_connection(
    autojump_clock: MockClock, harness: Harness
) -> None:
    given: Iterator[str | Exception] = iter([OSError("identity server is away"), "one", Unavailable(), "two"])

    def token() -> str:
        value = next(given)
        if isinstance(value, Exception):
            raise value
        return value

    async def expire(peer: Peer) -> None:
        await peer.accept()
        await peer.hello("e1-10")
        await peer.ws.aclose(4001)

    async with harness.client(expire, live, token=token) as (client, server):
        await trio.sleep(5)
        await client.wait_connected()
    assert [peer.headers["authorization"] for peer in server.peers] == ["Bearer one", "Bearer two"]


async def test_a_token_function_may_be_async(autojump_clock: MockClock, harness: Harness) -> None:
    async def token() -> str:
        await trio.sleep(1)
        return "late"

    async with harness.client(live, token=token) as (client, server):
        await client.wait_connected()
    assert server.peers[0].headers["authorization"] == "Bearer late"


@pytest.mark.parametrize("token", ["", "a\r\nX: y", "é"])
async def test_a_token_that_is_none_is_refused_at_once(token: str) -> None:
    with pytest.raises(ValueError, match="token"):
        async with open_client("http://h", token):
            pass


async def test_a_cursor_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="cursor"):
        async with open_client("http://h", "t", cursor="nonsense!"):
            pass
