"""`POST /v1/notifications` means the same on the direct lane as through the HTTP server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from notifyd.service import Service

    Connect = Callable[[str], AbstractAsyncContextManager[Any]]

KEY = "publish-key-of-the-tests"
JSON = [("Content-Type", "application/json")]
AUTHORIZED = [("Authorization", f"Bearer {KEY}"), *JSON]


def one(**members: Any) -> bytes:
    return json.dumps({"user_id": "ann", "type": "x-test", "data": {"n": 1}} | members).encode()


def head(fields: list[tuple[str, str]], *framing: str, path: str = "/v1/notifications") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: h", *(f"{name}: {value}" for name, value in fields), *framing]
    return "\r\n".join([*lines, "", ""]).encode()


def direct(fields: list[tuple[str, str]], body: bytes) -> bytes:
    return head(fields, f"Content-Length: {len(body)}") + body


def through_http(fields: list[tuple[str, str]], body: bytes) -> bytes:
    """The same in chunks, which the direct lane does not take."""
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    return head(fields, "Transfer-Encoding: chunked") + chunks


CALLS = {
    "one": (AUTHORIZED, one()),
    "many": (AUTHORIZED, json.dumps({"notifications": [json.loads(one()), {"type": 1}]}).encode()),
    "charset": ([AUTHORIZED[0], ("Content-Type", "Application/JSON; charset=utf-8")], one()),
    "no key": (JSON, one()),
    "wrong key": ([("Authorization", "Bearer nobody"), *JSON], one()),
    "no type": (AUTHORIZED[:1], one()),
    "wrong type": ([AUTHORIZED[0], ("Content-Type", "text/plain")], one()),
    "empty": (AUTHORIZED, b""),
    "no JSON": (AUTHORIZED, b"{"),
    "unknown field": (AUTHORIZED, one(more=1)),
    "nobody": (AUTHORIZED, one(user_id="")),
    "large": (AUTHORIZED, one(data={"text": "x" * 70_000})),
    "key for many": ([*AUTHORIZED, ("Idempotency-Key", "k")], b'{"notifications": [{}]}'),
    "bad key": ([*AUTHORIZED, ("Idempotency-Key", "\xe9")], one()),
}


@pytest.mark.parametrize("name", CALLS)
async def test_the_answer_is_the_same(service: Service, raw_client: Connect, name: str) -> None:
    fields, body = CALLS[name]
    async with raw_client(service.url) as client:
        answers = []
        for request in (direct, through_http, direct):
            await client.send(request(fields, body))
            answers.append(await client.response())
    assert len({answer.status for answer in answers}) == 1
    assert len({tuple(sorted(set(answer.headers) - {"content-length"})) for answer in answers}) == 1
    assert len({answer.headers["content-type"] for answer in answers}) == 1
    contents = [json.loads(answer.body) for answer in answers]
    if answers[0].status >= 400:
        assert contents[0] == contents[1] == contents[2]
    else:
        assert [content.keys() for content in contents] == [contents[0].keys()] * 3


async def test_a_repeated_key_gets_the_first_answer_by_either_way(
    service: Service, raw_client: Connect
) -> None:
    fields = [*AUTHORIZED, ("Idempotency-Key", "job-1")]
    async with raw_client(service.url) as client:
        await client.send(direct(fields, one()) + through_http(fields, one()))
        first, again = await client.response(), await client.response()
    assert (first.status, again.status) == (201, 200)
    assert first.body == again.body


async def test_what_is_answered_201_is_in_the_log(
    service: Service, raw_client: Connect, openers: dict[str, Any]
) -> None:
    async with openers["websocket"](service.url, "ann") as stream, raw_client(service.url) as client:
        await client.send(b"".join(direct(AUTHORIZED, one(data={"n": n})) for n in range(20)))
        ids = [json.loads((await client.response()).body)["id"] for _ in range(20)]
        entries = await stream.entries_to(ids[-1])
    assert [entry["id"] for entry in entries] == ids
    assert [entry["data"]["n"] for entry in entries] == list(range(20))


async def test_a_body_that_comes_in_pieces(service: Service, raw_client: Connect) -> None:
    request = direct(AUTHORIZED, one())
    async with raw_client(service.url) as client:
        for start in range(0, len(request), 40):
            await client.send(request[start : start + 40])
            await trio.testing.wait_all_tasks_blocked()
        assert (await client.response()).status == 201


async def test_a_body_that_is_too_large_is_not_read(service: Service, raw_client: Connect) -> None:
    async with raw_client(service.url) as client:
        await client.send(head(AUTHORIZED, f"Content-Length: {5 * 2**20}"))
        answer = await client.response()
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert await client.rest() == b""


async def test_a_body_that_never_ends_is_answered(
    service: Service, raw_client: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifyd.transport.direct.BODY_S", 0.05)
    async with raw_client(service.url) as client:
        await client.send(head(AUTHORIZED, "Content-Length: 100") + b'{"user_id"')
        answer = await client.response()
    assert (answer.status, answer.headers["connection"]) == (408, "close")


async def test_the_client_says_that_it_is_the_last(service: Service, raw_client: Connect) -> None:
    async with raw_client(service.url) as client:
        await client.send(direct([*AUTHORIZED, ("Connection", "close")], one()))
        answer = await client.response()
        assert (answer.status, answer.headers["connection"]) == (201, "close")
        assert await client.rest() == b""


async def test_a_client_that_waits_for_100_gets_it(service: Service, raw_client: Connect) -> None:
    body = one()
    async with raw_client(service.url) as client:
        await client.send(head([*AUTHORIZED, ("Expect", "100-continue")], f"Content-Length: {len(body)}"))
        assert (await client.response()).status == 100
        await client.send(body)
        assert (await client.response()).status == 201


async def test_leaving_in_the_middle_harms_nobody(service: Service, raw_client: Connect) -> None:
    async with raw_client(service.url) as client:
        await client.send(head(AUTHORIZED, "Content-Length: 100") + b"{")
        await client.reset()
    async with raw_client(service.url) as client:
        await client.send(direct(AUTHORIZED, one())[:-5])
        await client.stream.send_eof()
        assert await client.rest() == b""
    async with raw_client(service.url) as client:
        await client.send(direct(AUTHORIZED, one()))
        assert (await client.response()).status == 201


async def test_a_defect_of_ours_is_a_500_and_a_line_in_the_log(
    service: Service, raw_client: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(publication: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(service.inbox, "append", broken)
    async with raw_client(service.url) as client:
        await client.send(direct(AUTHORIZED, one()) + direct(JSON, one()))
        assert (await client.response()).status == 500
        assert (await client.response()).status == 401


async def test_every_answer_is_counted(service: Service, raw_client: Connect) -> None:
    async with raw_client(service.url) as client:
        await client.send(direct(AUTHORIZED, one()) + direct(JSON, one()))
        await client.response()
        await client.response()
        await client.send(
            b"GET /metrics HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer admin-key-of-the-tests\r\n\r\n"
        )
        metrics = (await client.response()).body.decode()
    for status in (201, 401):
        labels = f'method="POST",route="/v1/notifications",status="{status}"'
        assert f"notifyd_http_requests_total{{{labels}}} 1.0" in metrics
