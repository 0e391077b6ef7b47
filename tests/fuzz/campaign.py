"""Hostile connections by the thousand against a server of its own, and clients of it that must not notice."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import httpx2
import trio
from trio_websocket import wrap_client_stream

from tests.fuzz.inputs import attack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Connections at once.
WIDTH = 24
#: Seconds that an attacker listens for what comes back.
LISTEN_S = 0.15
#: Attacks between two looks at the victims.
ROUND = 500
#: Attacks after which memory is what it will be: every code path has run, every cache is full.
WARM_UP = 2000
#: Bytes by which the server may have grown since then.
GROWTH = 20 * 2**20
PATIENCE_S = 30.0
SETTLE_S = 9.0
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Outcome:
    """What came of it; `faults` says what was wrong, in words."""

    attacks: int = 0
    seconds: float = 0.0
    rss_before: int = 0
    rss_half_way: int = 0
    rss_after: int = 0
    descriptors_before: int = 0
    descriptors_after: int = 0
    told: int = 0
    slowest_s: float = 0.0
    faults: list[str] = field(default_factory=list)


@dataclass
class Target:
    """Where the server is, and how to be somebody there."""

    port: int
    pid: int
    token: str
    publish_key: str
    log: Path


def memory_of(pid: int) -> int:
    """Bytes that the process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def descriptors_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@asynccontextmanager
async def victim(target: Target) -> AsyncIterator[Any]:
    """A WebSocket that says nothing and wants to hear everything."""
    async with await trio.open_tcp_stream("127.0.0.1", target.port) as tcp, trio.open_nursery() as nursery:
        path = f"/ws?token={target.token}"
        yield await wrap_client_stream(nursery, tcp, "127.0.0.1", path, message_queue_size=1000)
        nursery.cancel_scope.cancel()


async def told(client: Any, text: str) -> None:
    """Wait for a message with this text; what else is broadcast is passed over."""
    with trio.fail_after(PATIENCE_S):
        while True:
            message = json.loads(await client.get_message())
            if message["data"].get("message") == text:
                return


async def run(target: Target, count: int, seed: int) -> Outcome:
    """`count` attacks. Whatever the victims or the server suffer is in the outcome."""
    outcome = Outcome()
    begun = time.monotonic()
    headers = {"Authorization": f"Bearer {target.publish_key}"}
    async with (
        victim(target) as client,
        httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{target.port}", headers=headers, timeout=PATIENCE_S, trust_env=False
        ) as publisher,
    ):
        warm = min(WARM_UP, count // 2)
        while outcome.attacks < count and not outcome.faults:
            size = min(ROUND, count - outcome.attacks)
            await _attack_round(target, seed + outcome.attacks, size)
            outcome.attacks += size
            await _look(target, outcome, client, publisher)
            if outcome.attacks <= count // 2:
                outcome.rss_half_way = memory_of(target.pid)
            if outcome.rss_before == 0 and outcome.attacks >= warm and not outcome.faults:
                await _settled()
                outcome.rss_before = memory_of(target.pid)
                outcome.descriptors_before = descriptors_of(target.pid)
        if not outcome.faults:
            await _finish(target, outcome, client, publisher)
    outcome.seconds = time.monotonic() - begun
    return outcome


async def _attack_round(target: Target, seed: int, size: int) -> None:
    """Each attack has a seed of its own, so that one can be repeated alone."""
    numbers = iter(range(size))

    async def attacker() -> None:
        for number in numbers:
            await attack_once(target.port, Random(seed + number), target.token)

    async with trio.open_nursery() as nursery:
        for _ in range(WIDTH):
            nursery.start_soon(attacker)


async def attack_once(port: int, random: Random, token: str) -> None:
    """Say one hostile thing, listen for a moment, and leave in one of two ways."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    with suppress(trio.BrokenResourceError):
        for piece in attack(random, token):
            await stream.send_all(piece)
            await trio.lowlevel.checkpoint()
        if random.random() < 0.7:
            await stream.send_eof()
        with trio.move_on_after(LISTEN_S):
            while await stream.receive_some():
                pass
    if random.random() < 0.3:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    await trio.aclose_forcefully(stream)


async def _look(target: Target, outcome: Outcome, client: Any, publisher: httpx2.AsyncClient) -> None:
    """Whether the victims are well."""
    text = f"after {outcome.attacks}"
    body = {"type": "system-message", "broadcast": True, "data": {"message": text}}
    begun = time.monotonic()
    try:
        (await publisher.post("/v1/notifications", json=body)).raise_for_status()
        await told(client, text)
    except Exception as fault:
        outcome.faults.append(f"the victim after {outcome.attacks} attacks: {fault!r}")
        return
    outcome.told += 1
    outcome.slowest_s = max(outcome.slowest_s, time.monotonic() - begun)


async def _settled() -> None:
    """Wait until the attackers' connections are gone: unfinished ones have 5 s, and 2 s to linger."""
    await trio.sleep(SETTLE_S)


async def _finish(target: Target, outcome: Outcome, client: Any, publisher: httpx2.AsyncClient) -> None:
    await _settled()
    await _look(target, outcome, client, publisher)
    outcome.rss_after = memory_of(target.pid)
    outcome.descriptors_after = descriptors_of(target.pid)
    if outcome.rss_after > outcome.rss_before + GROWTH:
        grown = (outcome.rss_after - outcome.rss_before) / 2**20
        outcome.faults.append(f"the server has grown by {grown:.1f} MiB")
    if outcome.descriptors_after > outcome.descriptors_before + 2:
        outcome.faults.append(f"{outcome.descriptors_after - outcome.descriptors_before} descriptors leaked")
    log = target.log.read_text(errors="replace")
    outcome.faults += [line for line in log.splitlines() if "fault" in line or "Traceback" in line][:5]
    if target.token in log or target.publish_key in log:
        outcome.faults.append("a secret is in the log")
