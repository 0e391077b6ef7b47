"""Fetching an issuer's keys: when, how often, and what counts while it cannot be done."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx2
import pytest
import trio

from notifyd.config import load_config
from notifyd.errors import ConfigError
from notifyd.jwks import FETCH_S, FRESH_S, MAX_SET_BYTES, PAUSE_S, STALE_S, Jwks, fetch_set

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from trio.testing import MockClock

    from notifyd.signing import VerifyingKey

SET = json.dumps(
    {
        "keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "d", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
        ]
    }
).encode()


class Issuer:
    """Answers fetches, and notes when."""

    def __init__(self) -> None:
        self.fetched_at: list[float] = []
        self.kids: list[list[str | None]] = []
        self.answer: Callable[[], bytes] = lambda: SET
        self.seconds = 0.0

    async def fetch(self, url: str) -> bytes:
        self.fetched_at.append(trio.current_time())
        await trio.sleep(self.seconds)
        return self.answer()

    def adopt(self, keys: Sequence[VerifyingKey]) -> None:
        self.kids.append([key.kid for key in keys])

    @asynccontextmanager
    async def job(self) -> AsyncIterator[Jwks]:
        jwks = Jwks("https://id.example/keys", self.adopt, self.fetch)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(jwks.run)
            await trio.testing.wait_all_tasks_blocked()
            yield jwks
            nursery.cancel_scope.cancel()


def fail() -> bytes:
    raise OSError("no route")


async def test_keys_are_fetched_at_once_and_again_every_so_often(autojump_clock: MockClock) -> None:
    issuer = Issuer()
    async with issuer.job():
        await trio.sleep(2 * FRESH_S + 1)
    assert issuer.fetched_at == [0, FRESH_S, 2 * FRESH_S]
    assert issuer.kids == [["d"]] * 3


async def test_a_thousand_unknown_names_are_one_fetch_a_minute(autojump_clock: MockClock) -> None:
    issuer = Issuer()
    async with issuer.job() as jwks:
        assert not any(jwks.want() for _ in range(1000))
        await trio.sleep(PAUSE_S)
        assert all(jwks.want() for _ in range(1000))
        await trio.sleep(1)
        assert not any(jwks.want() for _ in range(1000))
    assert issuer.fetched_at == [0, PAUSE_S]


async def test_while_a_fetch_is_under_way_asking_again_may_help(autojump_clock: MockClock) -> None:
    issuer = Issuer()
    issuer.seconds = 2
    async with issuer.job() as jwks:
        assert jwks.want()
        await trio.sleep(3)
        assert not jwks.want()
    assert issuer.fetched_at == [0]


async def test_an_issuer_that_cannot_be_reached_is_asked_every_minute_and_its_keys_count_for_a_day(
    autojump_clock: MockClock,
) -> None:
    issuer = Issuer()
    async with issuer.job() as jwks:
        issuer.answer = fail
        await trio.sleep(FRESH_S + 1)
        assert not jwks.want()
        await trio.sleep(STALE_S - FRESH_S - 2)
        assert issuer.kids == [["d"]]
        await trio.sleep(PAUSE_S + 1)
        assert issuer.kids[1:] == [[]]
        issuer.answer = lambda: SET
        await trio.sleep(PAUSE_S)
        assert issuer.kids[-1] == ["d"]
    assert min(b - a for a, b in zip(issuer.fetched_at, issuer.fetched_at[1:], strict=False)) == PAUSE_S


@pytest.mark.parametrize("answer", [b"", b"<html>", b'{"keys": []}', b"\xff"])
async def test_an_answer_that_is_no_set_changes_nothing(autojump_clock: MockClock, answer: bytes) -> None:
    issuer = Issuer()
    async with issuer.job():
        issuer.answer = lambda: answer
        await trio.sleep(FRESH_S + 1)
    assert issuer.kids == [["d"]]


async def test_an_issuer_that_does_not_answer_is_given_up(autojump_clock: MockClock) -> None:
    issuer = Issuer()
    issuer.seconds = 3600
    async with issuer.job() as jwks:
        await trio.sleep(FETCH_S + 1)
        assert not jwks.want()
        await trio.sleep(PAUSE_S)
    assert issuer.fetched_at == [0, PAUSE_S]


# --- over a real socket ---------------------------------------------------------------------------------


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(trio.serve_tcp, serve, 0)
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/keys"
        nursery.cancel_scope.cancel()


def http(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


async def test_the_bytes_of_a_set() -> None:
    async with answering(http(SET)) as url:
        assert await fetch_set(url) == SET


@pytest.mark.parametrize(
    "answer",
    [
        http(b"", "302 Found", "Location: file:///etc/passwd\r\n"),
        http(SET, "500 Oops"),
        http(b"x" * (MAX_SET_BYTES + 1)),
        b"nonsense\r\n\r\n",
        b"",
    ],
)
async def test_anything_but_a_plain_answer_raises(answer: bytes) -> None:
    async with answering(answer) as url:
        with pytest.raises((httpx2.HTTPError, ValueError, OSError)):
            await fetch_set(url)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "http://id.example/keys", "ftp://x/y", "https://", "https://u:p@x/y", "x"]
)
def test_only_https_or_this_machine(url: str) -> None:
    with pytest.raises(ConfigError, match="jwks_url"):
        load_config(jwks_url=url)


@pytest.mark.parametrize("url", ["https://id.example/keys", "http://127.0.0.1:1/k", "http://[::1]/k"])
def test_addresses_that_are_taken(url: str) -> None:
    assert load_config(jwks_url=url).jwks_url == url
