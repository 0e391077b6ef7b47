"""The proxy does each thing that it says, and nothing else, to what passes through it."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from notifyd.testing import Link, Proxy, open_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATIENCE_S = 10


@asynccontextmanager
async def echo_behind() -> AsyncIterator[tuple[Proxy, trio.SocketStream]]:
    """A server that sends back what it gets, a proxy before it, and a client of the proxy."""

    async def echo(stream: trio.SocketStream) -> None:
        try:
            async for data in stream:
                await stream.send_all(data)
            await stream.send_eof()
            await trio.sleep_forever()
        except trio.BrokenResourceError:
            pass

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery, open_proxy(url, rng=random.Random(1)) as proxy:
            nursery.start_soon(trio.serve_listeners, echo, [listener])
            client = await trio.open_tcp_stream(proxy.host, proxy.port)
            async with client:
                yield proxy, client
            nursery.cancel_scope.cancel()


async def exactly(stream: trio.SocketStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = await stream.receive_some(size - len(data))
        assert part, data
        data += part
    return data


async def test_without_a_fault_everything_passes() -> None:
    async with echo_behind() as (proxy, client):
        sent = bytes(range(256)) * 1000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_all, sent)
            assert await exactly(client, len(sent)) == sent
        assert proxy.connections == proxy.accepted == 1


async def test_latency_counts_both_ways() -> None:
    async with echo_behind() as (proxy, client):
        proxy.to_server.latency_s = proxy.to_client.latency_s = 0.1
        began = trio.current_time()
        await client.send_all(b"a")
        assert await exactly(client, 1) == b"a"
        assert trio.current_time() - began >= 0.2


async def test_a_slow_link_is_slow() -> None:
    async with echo_behind() as (proxy, client):
        proxy.to_client.bytes_per_s, proxy.to_client.slice_bytes = 10_000, 500
        began = trio.current_time()
        await client.send_all(b"a" * 2000)
        await exactly(client, 2000)
        assert trio.current_time() - began >= 0.15


async def test_slices_are_no_longer_than_asked_and_keep_their_order() -> None:
    async with echo_behind() as (proxy, client):
        proxy.to_client.slice_bytes, proxy.to_client.slice_pause_s = 3, 0.002
        await client.send_all(b"0123456789")
        assert await exactly(client, 10) == b"0123456789"


async def test_what_is_late_holds_back_what_is_behind() -> None:
    async with echo_behind() as (proxy, client):
        proxy.to_server.loss, proxy.to_server.resend_s, proxy.to_server.jitter_s = 0.5, 0.02, 0.01
        for number in range(40):
            await client.send_all(b"%02d" % number)
            await trio.sleep(0.002)
        assert await exactly(client, 80) == b"".join(b"%02d" % number for number in range(40))


async def test_a_reset_reaches_both_ends() -> None:
    async with echo_behind() as (proxy, client):
        await client.send_all(b"a")
        await exactly(client, 1)
        proxy.reset()
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
        assert proxy.connections == 0 or await _gone(proxy)


async def _gone(proxy: Proxy) -> bool:
    while proxy.connections:
        await trio.lowlevel.checkpoint()
    return True


async def test_a_reset_after_so_many_bytes() -> None:
    async with echo_behind() as (proxy, client):
        proxy.to_client.reset_after_bytes = 4
        await client.send_all(b"abcd")
        with pytest.raises(trio.BrokenResourceError):
            await exactly(client, 5)


async def test_silence_holds_everything_back_until_it_ends() -> None:
    async with echo_behind() as (proxy, client):
        proxy.silence()
        await client.send_all(b"abc")
        with trio.move_on_after(0.05) as scope:
            await client.receive_some()
        assert scope.cancelled_caught
        proxy.speak()
        assert await exactly(client, 3) == b"abc"


async def test_one_direction_can_end() -> None:
    async with echo_behind() as (proxy, client):
        await client.send_all(b"abc")
        await exactly(client, 3)
        proxy.end_writing()
        assert await client.receive_some() == b""
        await client.send_all(b"still heard")


async def test_the_ends_own_fin_passes() -> None:
    async with echo_behind() as (_proxy, client):
        await client.send_all(b"abc")
        await client.send_eof()
        assert await exactly(client, 3) == b"abc"
        assert await client.receive_some() == b""


async def test_whoever_connects_can_be_refused() -> None:
    async with echo_behind() as (proxy, _client):
        proxy.refuse()
        late = await trio.open_tcp_stream(proxy.host, proxy.port)
        with pytest.raises(trio.BrokenResourceError):
            await late.receive_some()
        await late.aclose()
        proxy.refuse(False)
        async with await trio.open_tcp_stream(proxy.host, proxy.port) as again:
            await again.send_all(b"a")
            assert await exactly(again, 1) == b"a"


async def test_nobody_behind_it_is_a_reset() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    async with (
        open_proxy(f"http://127.0.0.1:{port}") as proxy,
        await trio.open_tcp_stream(proxy.host, proxy.port) as client,
    ):
        with pytest.raises(trio.BrokenResourceError), trio.fail_after(PATIENCE_S):
            await client.receive_some()


def test_delays_are_those_of_the_given_random_numbers() -> None:
    link = Link(latency_s=1, jitter_s=1, loss=1, resend_s=5)
    assert link.delay_s(random.Random(3)) == link.delay_s(random.Random(3)) >= 6


HEAD = b"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\n\r\n"


async def test_a_refused_upgrade_is_answered_by_the_proxy_and_nothing_else_is() -> None:
    async with echo_behind() as (proxy, _):
        proxy.upgrades = "refuse"
        async with await trio.open_tcp_stream(proxy.host, proxy.port) as client:
            await client.send_all(HEAD[:20])
            await client.send_all(HEAD[20:])
            answer = b"".join([bytes(part) async for part in client])
            assert answer.startswith(b"HTTP/1.1 403 ")
        plain = b"GET /events HTTP/1.1\r\nHost: h\r\n\r\nand more"
        async with await trio.open_tcp_stream(proxy.host, proxy.port) as client:
            await client.send_all(plain)
            assert await exactly(client, len(plain)) == plain


async def test_a_swallowed_upgrade_is_answered_and_then_nothing_comes() -> None:
    async with echo_behind() as (proxy, _):
        proxy.upgrades = "swallow"
        async with await trio.open_tcp_stream(proxy.host, proxy.port) as client:
            await client.send_all(HEAD + b"x" * 200_000)
            assert await exactly(client, len(HEAD)) == HEAD
            with trio.move_on_after(0.2) as waited:
                await client.receive_some()
            assert waited.cancelled_caught


async def test_a_buffered_upgrade_comes_in_great_pieces() -> None:
    async with echo_behind() as (proxy, _):
        proxy.upgrades = "buffer"
        async with await trio.open_tcp_stream(proxy.host, proxy.port) as client:
            await client.send_all(HEAD + b"x" * 1000)
            assert await exactly(client, len(HEAD)) == HEAD
            with trio.move_on_after(0.2) as waited:
                await client.receive_some()
            assert waited.cancelled_caught
            await client.send_all(b"y" * 64 * 1024)
            assert await exactly(client, 64 * 1024) == b"x" * 1000 + b"y" * (64 * 1024 - 1000)
