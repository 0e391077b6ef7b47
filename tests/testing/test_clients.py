"""The fake clients: one contract over both transports, over sockets of memory and over real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from wsproto.events import Ping

from notifyd.testing import (
    Answer,
    Ended,
    FakeSse,
    FakeWebSocket,
    Refused,
    Simulation,
    call,
    connect_fake,
    dial_url,
    open_fake,
    open_test_server,
    run_simulation,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from notifyd.testing.http import Dial


class Place:
    """A server, simulated or real."""

    def __init__(self, dial: Dial, token: Callable[..., str], publish_key: str) -> None:
        self.dial, self.token, self.publish_key = dial, token, publish_key

    async def publish(self, user: str, **data: Any) -> Answer:
        body = {"user_id": user, "type": "x-a", "data": data}
        return await call(self.dial, "POST", "/v1/notifications", bearer=self.publish_key, body=body)


def in_simulation(story: Callable[[Place], Awaitable[None]]) -> None:
    async def run(sim: Simulation) -> None:
        await sim.start()
        await story(Place(sim.dial, sim.token, sim.publish_key))

    run_simulation(run, seed=1)


def on_sockets(story: Callable[[Place], Awaitable[None]]) -> None:
    async def run() -> None:
        async with open_test_server() as server:
            with trio.fail_after(20):
                await story(Place(dial_url(server.url), server.token, server.publish_key))

    trio.run(run)


@pytest.fixture(params=[in_simulation, on_sockets])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[Place], Awaitable[None]]], None]:
    """Runs a story at either place."""
    found: Callable[[Callable[[Place], Awaitable[None]]], None] = request.param
    return found


@pytest.fixture(params=["websocket", "sse"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_messages_come_as_they_are_with_their_ids(run: Any, transport: str) -> None:
    async def story(place: Place) -> None:
        async with open_fake(transport, place.dial, place.token("ann")) as client:
            assert client.transport == transport
            assert client.hello["user_id"] == "ann"
            assert (client.hello["recovered"], client.hello["reason"]) == (False, "no-cursor")
            receipt = (await place.publish("ann", n=1, text="é\u2028")).json()
            received = await client.receive_entry()
            assert received.message["data"] == {
                "notification_id": receipt["notification_id"],
                "n": 1,
                "text": "é\u2028",
            }
            assert received.id == received.message["id"] == receipt["id"]
            assert '"n":1' in received.text
            assert [each.message["type"] for each in client.received] == ["connection-established", "x-a"]

    run(story)


def test_a_client_resumes_where_it_was(run: Any, transport: str) -> None:
    async def story(place: Place) -> None:
        cursor = (await place.publish("ann", n=0)).json()["id"]
        for n in (1, 2):
            await place.publish("ann", n=n)
        async with open_fake(transport, place.dial, place.token("ann"), cursor) as client:
            assert client.hello["recovered"]
            assert [(await client.receive_entry()).message["data"]["n"] for _ in range(2)] == [1, 2]

    run(story)


def test_a_bad_token_is_told(run: Any, transport: str) -> None:
    async def story(place: Place) -> None:
        with pytest.raises((Ended, Refused)) as told:
            await connect_fake(transport, place.dial, "garbage")
        if isinstance(told.value, Refused):
            assert transport == "sse"
            assert told.value.status == 401
            assert b"unauthorized" in told.value.body
        else:
            assert str(told.value) == "4501 bad token"

    run(story)


def test_a_refusal_has_its_body(run: Any) -> None:
    async def story(place: Place) -> None:
        async def with_an_old_version() -> Any:
            stream = await place.dial()
            send = stream.send_all

            async def send_all(data: Any) -> None:
                await send(bytes(data).replace(b"Version: 13", b"Version: 12"))

            stream.send_all = send_all  # type: ignore[method-assign]
            return stream

        with pytest.raises(Refused) as refused:
            await connect_fake("websocket", with_an_old_version, place.token("ann"))
        assert refused.value.status == 426
        assert b"upgrade-required" in refused.value.body

    run(story)


def test_what_a_websocket_says_is_heard(run: Any) -> None:
    async def story(place: Place) -> None:
        async with open_fake("websocket", place.dial, place.token("ann")) as client:
            assert isinstance(client, FakeWebSocket)
            await client.say("ping")
            assert (await client.receive()).message["type"] == "pong"
            await client.send_text("{")
            assert (await client.receive()).message["data"]["code"] == "bad_message"
            await client.say_goodbye()
            with pytest.raises(Ended, match="1000"):
                await client.receive()

    run(story)


def test_one_way_streams_have_their_comment_and_retry(run: Any) -> None:
    async def story(place: Place) -> None:
        async with open_fake("sse", place.dial, place.token("ann")) as client:
            assert isinstance(client, FakeSse)
            assert client.retry_ms == 2000
            assert client.comments

    run(story)


def test_other_calls_are_made_too(run: Any) -> None:
    async def story(place: Place) -> None:
        published = await place.publish("ann", n=1)
        assert published.headers["content-type"] == "application/json"
        listing = await call(place.dial, "GET", "/v1/notifications", bearer=place.token("ann"))
        assert listing.status == 200
        assert [each["state"] for each in listing.json()["notifications"]] == ["unread"]
        assert (await call(place.dial, "GET", "/v1/notifications")).status == 401

    run(story)


# --- in virtual time only -------------------------------------------------------------------------------


@pytest.mark.parametrize("answers_pings", [True, False])
def test_pings_are_seen_and_answered_unless_told_otherwise(answers_pings: bool) -> None:
    async def story(sim: Simulation) -> str:
        await sim.start()
        client = await connect_fake("websocket", sim.dial, sim.token("ann"), answers_pings=answers_pings)
        assert isinstance(client, FakeWebSocket)
        outcome = "lives"
        with trio.move_on_after(100):
            outcome = str((await client.receive_to_end()).code)
        assert any(isinstance(frame, Ping) for frame in client.frames)
        assert client.received[1].message["type"] == "ping"
        return outcome

    assert run_simulation(story, seed=1) == ("lives" if answers_pings else "4012")


def test_a_client_that_does_not_receive_is_a_slow_reader(transport: str) -> None:
    async def story(sim: Simulation) -> int:
        await sim.start()
        place = Place(sim.dial, sim.token, sim.publish_key)
        async with open_fake(transport, sim.dial, sim.token("ann")) as client:
            for n in range(30):
                await place.publish("ann", n=n, text="x" * 5000)
            catching_up = sim.service.connections.statistics().catching_up
            assert [(await client.receive_entry()).message["data"]["n"] for _ in range(30)] == list(range(30))
        return catching_up

    assert run_simulation(story, seed=1, window_entries=5) == 1


def test_a_killed_server_breaks_calls_and_streams(transport: str) -> None:
    async def story(sim: Simulation) -> None:
        await sim.start()
        place = Place(sim.dial, sim.token, sim.publish_key)
        client = await connect_fake(transport, sim.dial, sim.token("ann"))
        sim.kill_at("before", of="run_group")
        with pytest.raises(Ended, match="1006"):
            await place.publish("ann", n=1)
        with pytest.raises(Ended, match="1006"):
            await client.receive()
        await client.aclose()

    run_simulation(story, seed=1)


def test_a_stream_that_ends_says_so_each_time(transport: str) -> None:
    async def story(sim: Simulation) -> None:
        await sim.start()
        client = await connect_fake(transport, sim.dial, sim.token("ann", ttl_s=5))
        for _ in range(2):
            with pytest.raises(Ended) as ended:
                await client.receive_entry()
            assert ended.value.code == (4001 if transport == "websocket" else 1006)
        assert client.received[-1].message["data"]["code"] == "token_expired"
        await client.aclose()

    run_simulation(story, seed=1)
