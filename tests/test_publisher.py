"""Publishing over HTTP: the same key for every try, and the server's errors under their own names."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import trio

from notifyd import errors
from notifyd.messages import Draft, custom, system_message
from notifyd.publisher import Outgoing, Published, Publisher, UnexpectedAnswer, open_publisher

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from trio.testing import MockClock

Answer = httpx2.Response | Exception
STORED = {"id": "e-7", "notification_id": "n1", "live_connections": 3}


class FakeServer:
    """Answers requests with `answers` in turn, the last one for all that follow."""

    def __init__(self, *answers: Answer | Callable[[httpx2.Request], Answer]) -> None:
        self._answers = list(answers)
        self.requests: list[httpx2.Request] = []
        self.at: list[float] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        answer = self._answers[min(len(self.requests), len(self._answers) - 1)]
        self.requests.append(request)
        self.at.append(trio.current_time())
        if callable(answer) and not isinstance(answer, httpx2.Response | Exception):
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(request.content) for request in self.requests]

    @property
    def keys(self) -> list[str | None]:
        return [request.headers.get("idempotency-key") for request in self.requests]

    @asynccontextmanager
    async def publisher(self, **options: Any) -> AsyncGenerator[Publisher, None]:
        chosen: dict[str, Any] = {"draw": lambda: 0.5, "transport": httpx2.MockTransport(self)} | options
        async with open_publisher("http://server.example", "the-key", **chosen) as publisher:
            yield publisher


def problem(error: errors.HttpError, headers: dict[str, str] | None = None) -> httpx2.Response:
    body = {
        "type": f"urn:notifyd:problem:{error.slug}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
    }
    return httpx2.Response(error.status, json=body, headers=headers)


def stored(status: int = 201) -> httpx2.Response:
    return httpx2.Response(status, json=STORED)


async def test_one_notification() -> None:
    server = FakeServer(stored())
    async with server.publisher() as publisher:
        published = await publisher.publish(system_message("hi"), user_id="ann", expires_in_s=60)
    assert published == Published("e-7", "n1", 3, repeated=False)
    (request,) = server.requests
    assert str(request.url) == "http://server.example/v1/notifications"
    assert request.headers["authorization"] == "Bearer the-key"
    assert request.headers["content-type"] == "application/json"
    assert server.bodies == [
        {
            "type": "system-message",
            "data": {"message": "hi", "severity": "info", "critical": False},
            "user_id": "ann",
            "expires_in_s": 60,
        }
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"broadcast": True}, {"broadcast": True}),
        ({"user_ids": ("a", "b")}, {"user_ids": ["a", "b"]}),
        ({"user_id": "a"}, {"user_id": "a"}),
    ],
)
async def test_addressees(options: Any, expected: Any) -> None:
    server = FakeServer(stored())
    async with server.publisher() as publisher:
        await publisher.publish(custom("x-a", {}), **options)
    assert server.bodies == [{"type": "x-a", "data": {}} | expected]


@pytest.mark.parametrize(
    "options", [{}, {"user_id": "a", "broadcast": True}, {"user_id": "a", "user_ids": []}]
)
async def test_exactly_one_kind_of_addressee(options: Any) -> None:
    server = FakeServer(stored())
    async with server.publisher() as publisher:
        with pytest.raises(ValueError, match="exactly one"):
            await publisher.publish(custom("x-a", {}), **options)
        with pytest.raises(ValueError, match="exactly one"):
            await publisher.publish_many([Outgoing(custom("x-a", {}), **options)])
    assert server.requests == []


async def test_every_call_has_a_key_of_its_own() -> None:
    server = FakeServer(stored())
    async with server.publisher() as publisher:
        await publisher.publish(custom("x-a", {}), broadcast=True)
        await publisher.publish(custom("x-a", {}), broadcast=True)
        await publisher.publish(custom("x-a", {}), broadcast=True, idempotency_key="mine")
    first, second, third = server.keys
    assert first
    assert second
    assert first != second
    assert third == "mine"


async def test_a_repetition_is_told() -> None:
    server = FakeServer(stored(200))
    async with server.publisher() as publisher:
        assert (await publisher.publish(custom("x-a", {}), broadcast=True)).repeated


async def test_what_passes_is_tried_again_with_the_same_key(autojump_clock: MockClock) -> None:
    told: list[str] = []
    server = FakeServer(
        httpx2.ConnectError("refused"),
        problem(errors.Unavailable("busy"), {"retry-after": "3"}),
        httpx2.ReadError("reset"),
        httpx2.Response(502, text="bad gateway"),
        stored(),
    )
    async with server.publisher(on_retry=told.append) as publisher:
        assert (await publisher.publish(custom("x-a", {}), broadcast=True)).id == "e-7"
    assert len(set(server.keys)) == 1
    waits = [after - before for before, after in zip(server.at, server.at[1:], strict=False)]
    assert waits == pytest.approx([0.1, 3.2, 0.4, 0.8])
    assert [text.partition(":")[0] for text in told] == [
        "cannot reach http",
        "busy; trying again",
        "cannot reach http",
        "HTTP 502; trying again",
    ]


async def test_waits_are_bounded(autojump_clock: MockClock) -> None:
    server = FakeServer(httpx2.ConnectError("refused"))
    async with server.publisher(give_up_s=60, draw=lambda: 1.0) as publisher:
        with pytest.raises(errors.Unavailable, match="cannot reach"):
            await publisher.publish(custom("x-a", {}), broadcast=True)
    waits = [after - before for before, after in zip(server.at, server.at[1:], strict=False)]
    assert max(waits) == pytest.approx(5)
    assert server.at[-1] - server.at[0] <= 60


@pytest.mark.parametrize(
    "answer", [httpx2.ReadTimeout(""), problem(errors.OutcomeUnknown()), httpx2.Response(504)]
)
async def test_what_may_have_been_stored_is_said_to_be_unknown(
    autojump_clock: MockClock, answer: Answer
) -> None:
    server = FakeServer(answer, httpx2.ConnectError("refused"))
    async with server.publisher(give_up_s=5) as publisher:
        with pytest.raises(errors.OutcomeUnknown):
            await publisher.publish(custom("x-a", {}), broadcast=True)


@pytest.mark.parametrize(
    "error",
    [
        errors.BadRequest("b"),
        errors.Unauthorized("u"),
        errors.Forbidden("f"),
        errors.NotFound("n"),
        errors.TooLarge("t"),
        errors.Unprocessable("p"),
        errors.IdempotencyConflict("i"),
        errors.DiskFull("d"),
        errors.HttpError("h"),
    ],
)
async def test_the_servers_errors_come_under_their_names(error: errors.HttpError) -> None:
    server = FakeServer(problem(error))
    async with server.publisher() as publisher:
        with pytest.raises(type(error)) as caught:
            await publisher.publish(custom("x-a", {}), broadcast=True)
    assert type(caught.value) is type(error)
    assert caught.value.detail == error.detail
    assert len(server.requests) == 1


@pytest.mark.parametrize(("path", "end"), [("$", "no."), ("$.rule.percent", "no. - at `$.rule.percent`")])
async def test_an_error_says_where_in_the_body(path: str, end: str) -> None:
    body = {"type": "urn:notifyd:problem:unprocessable", "status": 422, "detail": "no.", "path": path}
    async with FakeServer(httpx2.Response(422, json=body)).publisher() as publisher:
        with pytest.raises(errors.Unprocessable) as caught:
            await publisher.backtest(b"{}")
    assert caught.value.detail == end


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(418, text="<html>"),
        httpx2.Response(404, json={"title": "nginx"}),
        httpx2.Response(201, text="<html>"),
        httpx2.Response(201, json={"id": 1}),
        httpx2.Response(415, json={"type": "urn:notifyd:problem:other", "title": "O"}),
    ],
)
async def test_answers_that_are_none(answer: httpx2.Response) -> None:
    async with FakeServer(answer).publisher() as publisher:
        with pytest.raises(UnexpectedAnswer, match=str(answer.status_code)):
            await publisher.publish(custom("x-a", {}), broadcast=True)


async def test_an_unknown_slug_falls_back_on_the_status() -> None:
    body = {"type": "urn:notifyd:problem:other", "title": "Other", "status": 422}
    async with FakeServer(httpx2.Response(422, json=body)).publisher() as publisher:
        with pytest.raises(errors.Unprocessable, match="Other"):
            await publisher.publish(custom("x-a", {}), broadcast=True)


# --- many --------------------------------------------------------------------------------------------


def results(request: httpx2.Request) -> httpx2.Response:
    """Store each; the id is the body's own number."""
    sent = json.loads(request.content)["notifications"]
    told = [{"status": 201, "id": f"e-{one['data']['n']}", "notification_id": "n"} for one in sent]
    return httpx2.Response(201, json={"results": told})


def items(count: int, **options: Any) -> list[Outgoing]:
    return [Outgoing(Draft("x-n", {"n": number}), user_id="a")._replace(**options) for number in range(count)]


async def test_many_go_in_batches_and_come_back_in_order() -> None:
    server = FakeServer(results)
    async with server.publisher() as publisher:
        outcomes = await publisher.publish_many(items(2500))
    assert [outcome.id for outcome in outcomes if isinstance(outcome, Published)] == [
        f"e-{n}" for n in range(2500)
    ]
    assert [len(body["notifications"]) for body in server.bodies] == [1000, 1000, 500]
    assert server.keys == [None] * 3
    sent = [one["idempotency_key"] for body in server.bodies for one in body["notifications"]]
    assert len(set(sent)) == 2500


async def test_batches_keep_to_the_servers_limits() -> None:
    server = FakeServer(results)
    big = [Outgoing(Draft("x-n", {"n": n, "text": "x" * 1_000_000}), broadcast=True) for n in range(4)]
    wide = items(3, user_id=None, user_ids=["u"] * 6000)
    async with server.publisher() as publisher:
        await publisher.publish_many(big)
        await publisher.publish_many(wide)
        assert await publisher.publish_many([]) == []
    assert [len(body["notifications"]) for body in server.bodies] == [3, 1, 1, 1, 1]


async def test_only_what_may_pass_is_sent_again(autojump_clock: MockClock) -> None:
    def first(request: httpx2.Request) -> httpx2.Response:
        told: list[Any] = json.loads(results(request).content)["results"]
        told[1] = json.loads(problem(errors.Unavailable("later")).content)
        told[2] = json.loads(problem(errors.Unprocessable("never")).content)
        return httpx2.Response(201, json={"results": told})

    server = FakeServer(first, results)
    async with server.publisher() as publisher:
        one, two, three = await publisher.publish_many(items(3))
    assert isinstance(one, Published)
    assert isinstance(two, Published)
    assert isinstance(three, errors.Unprocessable)
    again = server.bodies[1]["notifications"]
    assert again == [server.bodies[0]["notifications"][1]]


async def test_a_batch_that_cannot_be_sent_fails_alone(autojump_clock: MockClock) -> None:
    server = FakeServer(results, httpx2.ConnectError("refused"))
    async with server.publisher(give_up_s=3) as publisher:
        outcomes = await publisher.publish_many(items(1001))
    assert isinstance(outcomes[0], Published)
    assert isinstance(outcomes[1000], errors.Unavailable)


async def test_all_batches_together_give_up_in_time(autojump_clock: MockClock) -> None:
    server = FakeServer(httpx2.ConnectError("refused"))
    async with server.publisher(give_up_s=30, draw=lambda: 1.0) as publisher:
        outcomes = await publisher.publish_many(items(3001))
    assert all(isinstance(outcome, errors.Unavailable) for outcome in outcomes)
    assert trio.current_time() - server.at[0] <= 30


async def test_batches_after_the_time_are_sent_while_the_server_takes_them(autojump_clock: MockClock) -> None:
    server = FakeServer(results)
    async with server.publisher(give_up_s=-1) as publisher:
        outcomes = await publisher.publish_many(items(2001))
    assert all(isinstance(outcome, Published) for outcome in outcomes)
    assert len(server.requests) == 3


async def test_batches_after_one_that_came_to_nothing_in_the_time_are_not_sent(
    autojump_clock: MockClock,
) -> None:
    server = FakeServer(httpx2.ReadTimeout(""))
    async with server.publisher(give_up_s=-1) as publisher:
        outcomes = await publisher.publish_many(items(1001))
    assert isinstance(outcomes[0], errors.OutcomeUnknown)
    assert isinstance(outcomes[1000], errors.Unavailable)
    assert len(server.requests) == 1


async def test_results_that_do_not_fit_the_request() -> None:
    async with FakeServer(httpx2.Response(201, json={"results": []})).publisher() as publisher:
        with pytest.raises(UnexpectedAnswer, match="0 results for 1"):
            await publisher.publish_many(items(1))


# --- prices and opening --------------------------------------------------------------------------------


async def test_prices_are_passed_on() -> None:
    server = FakeServer(httpx2.Response(202, json={"added": 1}))
    async with server.publisher() as publisher:
        assert await publisher.post_prices(b'{"prices":[]}') == {"added": 1}
    (request,) = server.requests
    assert request.url.path == "/v1/prices"
    assert request.content == b'{"prices":[]}'


@pytest.mark.parametrize("key", ["", "a\nb", "é"])
async def test_a_key_that_is_none(key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        async with open_publisher("http://h", key):
            pass


async def test_a_url_that_is_none() -> None:
    with pytest.raises(ValueError, match="address of a server"):
        async with open_publisher("ws://h", "k"):
            pass


async def test_a_unix_socket(tmp_path: Any) -> None:
    path = tmp_path / "s"
    answer = json.dumps(STORED).encode()

    async def serve(listening: trio.socket.SocketType) -> None:
        peer, _ = await listening.accept()
        with peer:
            await peer.recv(65536)
            await peer.send(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))

    with trio.socket.socket(trio.socket.AF_UNIX) as listening:
        await listening.bind(str(path))
        listening.listen(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, listening)
            async with open_publisher(f"unix:{path}", "k") as publisher:
                assert (await publisher.publish(custom("x-a", {}), broadcast=True)).id == "e-7"


async def test_one_that_spoils_a_request_is_found_and_the_others_are_stored() -> None:
    def spoilt(request: httpx2.Request) -> httpx2.Response:
        sent = json.loads(request.content)["notifications"]
        bad = any(one["data"]["n"] == 5 for one in sent)
        return problem(errors.Unprocessable("at most so many addressees")) if bad else results(request)

    server = FakeServer(spoilt)
    async with server.publisher() as publisher:
        outcomes = await publisher.publish_many(items(8))
    assert [number for number, each in enumerate(outcomes) if isinstance(each, errors.Unprocessable)] == [5]
    assert sum(isinstance(each, Published) for each in outcomes) == 7
