"""A webhook's calls, over a real socket."""

from __future__ import annotations

import hmac
import json
import threading
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import trio

from notifyd.mail import webhooks
from notifyd.mail.carrying import Parcel, Permanent, Sent, Temporary
from notifyd.mail.webhooks import WebhookCarrier, judged, sign
from notifyd.store.outbox import Addressee, Claimed, Item
from notifyd.store.webhooks import Webhook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

PATIENCE_S = 20
SECRET = "a-secret-of-both-sides"
PARCEL = Parcel(
    Claimed("m1", "webhook:p", "ann", 1, 2, 1, 1),
    Addressee(None, None, None, None),
    [Item(7, "n7", "x-a", 1_780_000_000_000, None, 0, b'{"notification_id":"n7","a":"\\u00fc"}')],
)


def carrier(url: str, **more: Any) -> WebhookCarrier:
    webhook = Webhook("p", url, SECRET, **({"every": False} | more))
    return WebhookCarrier({"p": webhook}.get, "epoch", lambda: 1_780_000_012_345)


@asynccontextmanager
async def hook(
    serve: Callable[[trio.SocketStream], Awaitable[None]], **more: Any
) -> AsyncIterator[WebhookCarrier]:
    """A carrier to a server that does what `serve` does with each connection."""

    async def one(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            await serve(stream)

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, one, 0, host="127.0.0.1"))
        made = carrier(f"http://127.0.0.1:{listener.socket.getsockname()[1]}/hook", **more)
        yield made
        await made.aclose()
        nursery.cancel_scope.cancel()


async def test_nothing_is_read_of_a_body_without_an_end() -> None:
    left = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
        try:
            while True:
                await stream.send_all(b"x" * 65536)
        finally:
            left.set()

    async with hook(serve) as made:
        with trio.fail_after(PATIENCE_S):
            assert await made.carry(PARCEL) == Sent()
            await left.wait()


async def test_a_server_that_answers_byte_by_byte_has_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "CALL_S", 0.3)

    async def serve(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\n")
        while True:
            await stream.send_all(b"X: y\r\n")
            await trio.sleep(0.05)

    async with hook(serve) as made:
        with trio.fail_after(PATIENCE_S):
            assert await made.carry(PARCEL) == Temporary("no answer within 0.3 s")


async def test_one_client_is_made_in_a_thread_for_all_calls_and_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made_in: list[int] = []
    clients: list[httpx2.AsyncClient] = []

    def make(**more: Any) -> httpx2.AsyncClient:
        made_in.append(threading.get_ident())
        clients.append(client_class(**more))
        return clients[-1]

    client_class = httpx2.AsyncClient
    monkeypatch.setattr(httpx2, "AsyncClient", make)

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with hook(serve) as made, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(made.carry, PARCEL)
    assert len(made_in) == 1
    assert threading.get_ident() not in made_in
    assert clients[0].is_closed


async def test_a_call_is_signed_and_named() -> None:
    got = b""

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal got
        while b"\r\n\r\n" not in got or not got.endswith(b"}}"):
            got += await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with hook(serve) as made:
        assert await made.carry(PARCEL) == Sent()
    head, _, body = got.partition(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode().lower().splitlines()[1:])
    assert head.startswith(b"POST /hook HTTP/1.1")
    assert fields["idempotency-key"] == "m1"
    seconds, _, digest = fields["notifyd-signature"].partition(",v1=")
    assert seconds == "t=1780000012"
    assert digest == hmac.digest(SECRET.encode(), b"1780000012." + body, "sha256").hex()
    told = json.loads(body)
    assert told["event"] == "user-not-reached"
    assert told["user_id"] == "ann"
    assert told["notification"]["id"] == "epoch-7"
    assert told["notification"]["data"]["a"] == "ü"


@pytest.mark.parametrize("status", [200, 204, 299])
def test_what_was_taken_over(status: int) -> None:
    assert judged(status) == Sent()


@pytest.mark.parametrize("status", [301, 408, 429, 500, 503])
def test_what_is_tried_again(status: int) -> None:
    assert isinstance(judged(status), Temporary)


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_what_is_refused_for_ever(status: int) -> None:
    assert isinstance(judged(status), Permanent)


async def test_nobody_there_is_temporary_and_nowhere_is_permanent() -> None:
    assert isinstance(await carrier("http://127.0.0.1:1/").carry(PARCEL), Temporary)
    nowhere = WebhookCarrier(lambda _publisher: None, "epoch", lambda: 0)
    assert isinstance(await nowhere.carry(PARCEL), Permanent)


def test_a_signature_depends_on_everything() -> None:
    assert (
        len(
            {
                sign("a" * 16, b"x", 1),
                sign("b" * 16, b"x", 1),
                sign("a" * 16, b"y", 1),
                sign("a" * 16, b"x", 2),
            }
        )
        == 4
    )
