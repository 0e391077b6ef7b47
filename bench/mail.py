"""Mail: how many a second to a mail server here, and what it costs those who publish.

The mail server is aiosmtpd in a process of its own, which throws away what it takes over. A dead one is a
port at which nobody listens. Publishing syncs every commit to the disk, as always.
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from sqlalchemy import func, select

from bench.report import Row, against, at_least, figure
from notifyd.config import Config
from notifyd.inbox import Publication
from notifyd.messages import custom
from notifyd.preferences import Preferences
from notifyd.service import open_service
from notifyd.store import preferences, profiles
from notifyd.store.profiles import Profile
from notifyd.store.schema import outbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from notifyd.service import Service
    from notifyd.store.base import Transaction

TASKS = 64
#: Publishing must not get slower by more than this because mail is switched on, or its server is dead.
GOAL = 0.8
#: Nobody listens there.
DEAD = "smtp://127.0.0.1:1"


def run(*, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Rounds of each way of publishing in turn, and then one run of mails; medians."""
    rounds, seconds, mails = (3, 1.0, 300) if quick else (7, 3.0, 2000)
    rates: dict[str, list[float]] = {"off": [], "on": [], "dead": []}
    for number in range(1, rounds + 1):
        rates["off"].append(trio.run(_publish, None, False, seconds))
        rates["on"].append(trio.run(_publish, DEAD, False, seconds))
        rates["dead"].append(trio.run(_publish, DEAD, True, seconds))
        last = ", ".join(f"{name} {each[-1]:,.0f}/s" for name, each in rates.items())
        say(f"round {number} of {rounds}: {last}")
    with _mail_server() as port:
        sent = trio.run(_mails, f"smtp://127.0.0.1:{port}", mails)
    say(f"{sent:,.0f} mails/s")
    return [
        figure("publishing, no mail", statistics.median(rates["off"]), "/s", rates["off"]),
        _compared("mail on, to users without an address", rates["on"], rates["off"]),
        _compared("to users with an address, the mail server dead", rates["dead"], rates["off"]),
        figure("mails to a mail server here", sent, "/s"),
    ]


def _compared(name: str, rates: list[float], others: list[float]) -> Row:
    ratios = [mine / other for mine, other in zip(rates, others, strict=True)]
    told = against(statistics.median(rates), statistics.median(others), "/s")
    return at_least(name, GOAL, statistics.median(ratios), rounds=ratios, told=told)


@asynccontextmanager
async def _server(smtp_url: str | None) -> AsyncIterator[Service]:
    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {
            "listen": "127.0.0.1:0",
            "database_url": f"sqlite:///{folder}/bench.db",
            "drain_seconds": 0,
            "canary_seconds": 0,
            "public_url": "http://127.0.0.1",
            "smtp_url": smtp_url,
        }
        async with open_service(Config.model_validate(settings)) as service:
            yield service


async def _publish(smtp_url: str | None, addresses: bool, seconds: float) -> float:
    """Publications a second by TASKS tasks, each to a user of its own."""
    async with _server(smtp_url) as service:
        people = [
            Profile(f"user-{number}", f"u{number}@a.example" if addresses else None, None, None)
            for number in range(TASKS)
        ]
        await service.store.write(partial(profiles.put, profiles=people))
        begun, before = time.perf_counter(), service.inbox.head
        async with trio.open_nursery() as nursery:
            for each in people:
                nursery.start_soon(_append, service, each.user_id, begun + seconds)
        return (service.inbox.head - before) / (time.perf_counter() - begun)


async def _append(service: Service, user_id: str, until: float) -> None:
    publication = Publication(custom("x-bench", {"text": "x" * 90}), (user_id,), "bench")
    while time.perf_counter() < until:
        await service.inbox.append(publication)


@contextmanager
def _mail_server() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    options = ["-n", "-l", f"127.0.0.1:{port}", "-c", "aiosmtpd.handlers.Sink"]
    process = subprocess.Popen([sys.executable, "-m", "aiosmtpd", *options])
    try:
        _until_it_listens(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _until_it_listens(port: int) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError("the mail server does not listen")


async def _mails(smtp_url: str, count: int) -> float:
    """Mails a second from the first decision until the last is noted as sent."""
    async with _server(smtp_url) as service:
        names = [f"user-{number}" for number in range(count)]
        for start in range(0, count, profiles.BATCH):
            some = [
                Profile(each, f"{each}@a.example", None, None)
                for each in names[start : start + profiles.BATCH]
            ]
            await service.store.write(partial(profiles.put, profiles=some))
        wanted = Preferences(policy="always")
        for name in names:
            await service.store.write(partial(preferences.put, user_id=name, wanted=wanted))
        begun = time.perf_counter()
        draft = custom("x-bench", {"message": "x" * 90})
        await service.inbox.append(Publication(draft, tuple(names), "bench"))
        await _until_sent(service, count)
        return count / (time.perf_counter() - begun)


async def _until_sent(service: Service, count: int) -> None:
    while True:
        if await service.store.read(_sent) == count:
            return
        await trio.sleep(0.05)


_SENT = select(func.count()).where(outbox.c.status == "sent")


def _sent(tx: Transaction) -> int:
    return int(tx.execute(_SENT).scalar_one())
