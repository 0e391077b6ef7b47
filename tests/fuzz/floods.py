"""One flood after another against a server, each measured: when it was cut, what the server grew by, and how
long a victim's messages took meanwhile."""

from __future__ import annotations

import time
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

import httpx2
import trio

from tests.fuzz.campaign import PATIENCE_S, memory_of, told, victim
from tests.fuzz.inputs import frame, upgrade

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.fuzz.campaign import Target

    Flood = Callable[["Target"], Awaitable[float]]

#: Seconds after which a flood that goes on was not cut.
UNCUT_S = 20.0
RANDOM = Random(1)


@dataclass
class Flooded:
    """What one flood came to; `cut_s` is counted from its first byte."""

    name: str
    cut_s: float
    grown_mib: float
    victim_p99_ms: float


async def _open(target: Target, data: bytes) -> trio.SocketStream:
    stream = await trio.open_tcp_stream("127.0.0.1", target.port)
    await stream.send_all(data)
    return stream


async def _pour(target: Target, data: bytes, again: bytes, pause_s: float = 0.0) -> float:
    """Send `data`, then `again` and again, until the server ends the connection; the seconds that took."""
    begun = time.monotonic()
    stream = await _open(target, data)
    with trio.move_on_after(UNCUT_S):
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                try:
                    while await stream.receive_some():
                        pass
                except trio.BrokenResourceError:
                    pass
                nursery.cancel_scope.cancel()

            nursery.start_soon(listen)
            try:
                while again:
                    await stream.send_all(again)
                    await trio.sleep(pause_s)
                await trio.sleep_forever()
            except trio.BrokenResourceError:
                nursery.cancel_scope.cancel()
    await trio.aclose_forcefully(stream)
    return time.monotonic() - begun


async def bomb(target: Target) -> float:
    """A frame that says it is compressed: 60 MiB of zeros would be 61 KB."""
    return await _pour(target, upgrade(target.token) + b"\xc1" + frame(RANDOM, 1, b"\0" * 61_000)[1:], b"")


async def endless_message(target: Target) -> float:
    """An unfinished message of large fragments."""
    first = frame(RANDOM, 1, b"x" * 1000, fin=False)
    return await _pour(target, upgrade(target.token) + first, frame(RANDOM, 0, b"x" * 1_000_000, fin=False))


async def tiny_fragments(target: Target) -> float:
    """An unfinished message of one byte after another."""
    first = frame(RANDOM, 1, b"x", fin=False)
    return await _pour(target, upgrade(target.token) + first, frame(RANDOM, 0, b"x", fin=False) * 5000)


async def messages(target: Target) -> float:
    """Ten thousand messages a second."""
    one = frame(RANDOM, 1, b'{"type":"ping","data":{}}')
    return await _pour(target, upgrade(target.token), one * 100, 0.01)


async def pings(target: Target) -> float:
    """Ten thousand Ping frames a second."""
    return await _pour(target, upgrade(target.token), frame(RANDOM, 9, b"p" * 125) * 100, 0.01)


async def slow_head(target: Target) -> float:
    """A head of which a byte comes every 100 ms."""
    return await _pour(target, b"GET / HTTP/1.1\r\nHost: x\r\nA: ", b"a", 0.1)


async def silent(target: Target) -> float:
    """A WebSocket that never says who it is."""
    return await _pour(target, upgrade(None), b"")


async def half_handshakes(target: Target) -> float:
    """Two thousand heads without an end, at once; the last one's cut."""
    begun = time.monotonic()
    async with trio.open_nursery() as nursery:
        for _ in range(2000):
            nursery.start_soon(_pour, target, b"GET /ws HTTP/1.1\r\nHost: x\r\n", b"")
    return time.monotonic() - begun


FLOODS: dict[str, Flood] = {
    "compressed frame": bomb,
    "endless message": endless_message,
    "one-byte fragments": tiny_fragments,
    "10,000 messages/s": messages,
    "10,000 pings/s": pings,
    "slow head": slow_head,
    "silent WebSocket": silent,
    "2,000 half handshakes": half_handshakes,
}


async def measure(target: Target, name: str) -> Flooded:
    """One flood, with a victim that is told something every 50 ms."""
    took: list[float] = []
    headers = {"Authorization": f"Bearer {target.publish_key}"}
    async with (
        victim(target) as client,
        httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{target.port}", headers=headers, timeout=PATIENCE_S, trust_env=False
        ) as publisher,
        trio.open_nursery() as nursery,
    ):
        await _tell(publisher, client, "first")
        before, largest = memory_of(target.pid), 0

        async def watch() -> None:
            nonlocal largest
            while True:
                took.append(await _tell(publisher, client, f"{name} {len(took)}"))
                largest = max(largest, memory_of(target.pid))
                await trio.sleep(0.05)

        nursery.start_soon(watch)
        await trio.sleep(0.5)
        cut_s = await FLOODS[name](target)
        await trio.sleep(0.5)
        nursery.cancel_scope.cancel()
    slow = sorted(took)[int(len(took) * 0.99)]
    return Flooded(name, cut_s, (largest - before) / 2**20, slow * 1000)


async def _tell(publisher: httpx2.AsyncClient, client: Any, text: str) -> float:
    body = {"type": "system-message", "user_id": "victim", "data": {"message": text}}
    begun = time.monotonic()
    (await publisher.post("/v1/notifications", json=body)).raise_for_status()
    await told(client, text)
    return time.monotonic() - begun


async def run(target: Target) -> list[Flooded]:
    """All of them, one after another."""
    return [await measure(target, name) for name in FLOODS]
