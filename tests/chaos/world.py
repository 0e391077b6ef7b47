"""A server, publishers and tabs around it, one history of what all of them saw, and the judgement."""

from __future__ import annotations

import random
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2
import trio

from tests.chaos.checker import Verdict, check
from tests.chaos.history import Recorder, open_recorder, read_history
from tests.chaos.publishers import Publisher, open_http
from tests.chaos.readers import Reader, Target, token_for
from tests.chaos.server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

TRANSPORTS = ("websocket", "sse", "websocket", "sse", "library")
#: Seconds after the trouble within which everyone has been shown everything (promise P11).
SETTLE_S = 30.0
#: A page of the inbox.
PAGE = 100


@dataclass(frozen=True)
class Load:
    """How much goes on meanwhile; modest, for the machine is shared with the server."""

    users: int = 6
    readers: int = 15
    publishers: int = 3
    pause_s: float = 0.04
    broadcasts: float = 0.3
    batch: int = 1
    padding: int = 0
    churn: float = 0.005
    transports: tuple[str, ...] = TRANSPORTS


@dataclass
class World:
    """What a fault plays with. `nursery` holds the load, which begins with `begin`."""

    folder: Path
    seed: int
    server: Server
    recorder: Recorder
    nursery: trio.Nursery
    load: Load
    rng: random.Random
    readers: list[Reader] = field(default_factory=list)
    publishers: list[Publisher] = field(default_factory=list)
    publishing: list[tuple[trio.CancelScope, Publisher]] = field(default_factory=list)
    fences: int = 0
    settled_in_s: float = 0.0
    patience_s: float = SETTLE_S
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def users(self) -> list[str]:
        return [f"user-{number}" for number in range(self.load.users)]

    def fault(self, text: str) -> None:
        """Write into the history what is done to the server."""
        self.recorder.note("chaos", "fault", note=text)

    def rng_for(self, name: str) -> random.Random:
        """Random numbers of one's own, from the run's seed."""
        return random.Random(f"{self.seed}/{name}")

    def add_reader(self, transport: str, user: str, target: Target | None = None, **more: Any) -> Reader:
        """A tab, which reads from now on."""
        name = f"{transport}-{len(self.readers)}"
        reader = Reader(
            name,
            user,
            transport,
            target or self.server.target,
            self.recorder,
            self.rng_for(name),
            **{"churn": self.load.churn, **more},
        )
        self.readers.append(reader)
        self.nursery.start_soon(reader.run)
        return reader

    def add_publisher(self, **more: Any) -> Publisher:
        """An application; `run` of it is the caller's."""
        name = f"pub{len(self.publishers)}"
        given = {
            "pause_s": self.load.pause_s,
            "broadcasts": self.load.broadcasts,
            "batch": self.load.batch,
            "padding": self.load.padding,
        }
        publisher = Publisher(
            name, self.users, self.server.target, self.recorder, self.rng_for(name), **{**given, **more}
        )
        self.publishers.append(publisher)
        return publisher

    async def begin(self) -> None:
        """Readers come, and once all of them are live, publishers begin."""
        for number in range(self.load.readers):
            transport = self.load.transports[number % len(self.load.transports)]
            self.add_reader(transport, self.users[number % self.load.users])
        await self.all_connected()
        for _ in range(self.load.publishers):
            self.start_publisher(self.add_publisher())

    def start_publisher(self, publisher: Publisher) -> None:
        """Let it publish until `stop_publishers`."""
        scope = trio.CancelScope()
        self.publishing.append((scope, publisher))
        self.nursery.start_soon(self._publish, publisher, scope)

    async def _publish(self, publisher: Publisher, scope: trio.CancelScope) -> None:
        with scope:
            await publisher.run()

    def stop_publishers(self) -> list[Publisher]:
        """End the load, and say whose it was; what was just asked for has no known outcome."""
        stopped = [publisher for _, publisher in self.publishing]
        for scope, _ in self.publishing:
            scope.cancel()
        self.publishing.clear()
        return stopped

    async def all_connected(self, within_s: float = SETTLE_S) -> None:
        """Raises TooSlowError when some tab is not live in time."""
        await until(lambda: all(reader.connected for reader in self.readers), within_s)

    async def settle(self, within_s: float | None = None) -> None:
        """End the load; everyone is shown a last publication. What they miss then is lost.

        Raises TooSlowError when that publication could not be stored: nothing could be said of the end then.
        """
        self.stop_publishers()
        began = trio.current_time()
        self.fences += 1
        value = f"fence-{self.fences}"
        fence = self.add_publisher(broadcasts=1.0)
        stored = False
        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = began + (within_s or self.patience_s)
            for reader in self.readers:
                reader.churn = 0.0
                nursery.start_soon(reader.wait_for, value)
            await self._publish_fence(fence, value)
            stored = True
        if not stored:
            raise trio.TooSlowError(f"{value} was not stored; the answers were {fence.answers}")
        self.settled_in_s = trio.current_time() - began

    async def _publish_fence(self, fence: Publisher, value: str) -> None:
        """Until it is stored, and then once more to learn where."""
        async with open_http(self.server.target) as http:
            while not fence.answers.keys() & {200, 201}:
                await fence.ask(http, value, None, fence.body(value, None))
                await trio.sleep(0.05)
            answer = await http.post(
                f"{self.server.target.url}/v1/notifications",
                json=fence.body(value, None),
                headers={"Idempotency-Key": value},
            )
            self.recorder.note("chaos", "fence", value=value, cursor=answer.json()["id"])

    async def read_inboxes(self) -> None:
        """Write down all that each user's inbox holds."""
        async with httpx2.AsyncClient(timeout=30, trust_env=False) as http:
            for user in self.users:
                await self._read_inbox(http, user)

    async def _read_inbox(self, http: httpx2.AsyncClient, user: str) -> None:
        for item in await self.inbox_of(http, user):
            if "value" in (data := item["data"]):
                self.recorder.note(
                    "chaos",
                    "list",
                    user=user,
                    value=data["value"],
                    cursor=item["id"],
                    notification_id=data["notification_id"],
                )
        self.recorder.note("chaos", "listed", user=user)

    async def inbox_of(self, http: httpx2.AsyncClient, user: str) -> list[dict[str, Any]]:
        """All that a user's inbox holds, the newest first."""
        items: list[dict[str, Any]] = []
        while True:
            answer = await http.get(
                f"{self.server.target.url}/v1/notifications",
                params={"limit": PAGE} | ({"before": items[-1]["id"]} if items else {}),
                headers={"Authorization": f"Bearer {token_for(user)}"},
            )
            page = answer.raise_for_status().json()["notifications"]
            items += page
            if len(page) < PAGE:
                return items


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@asynccontextmanager
async def open_world(
    folder: Path, seed: int, *, load: Load | None = None, database_url: str | None = None, **settings: str
) -> AsyncIterator[World]:
    """A world whose server does not run yet; everything of it ends with the block."""
    server = Server(_made(folder), database_url or f"sqlite:///{folder}/notifyd.db", settings=settings)
    with open_recorder(folder / "history.jsonl") as recorder:
        async with trio.open_nursery() as nursery:
            world = World(folder, seed, server, recorder, nursery, load or Load(), random.Random(seed))
            try:
                yield world
            finally:
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 15):
                    await server.end()


def judge(folder: Path) -> Verdict:
    """Check the history in `folder`."""
    return check(read_history(folder / "history.jsonl"))


def wait_s(rng: random.Random, least: float, most: float) -> float:
    """A random wait; evenly spread."""
    return least + rng.random() * (most - least)


async def until(holds: Callable[[], bool], within_s: float = SETTLE_S, every_s: float = 0.05) -> float:
    """Wait until it holds; how many seconds that took. Raises TooSlowError."""
    began = time.monotonic()
    with trio.fail_after(within_s):
        while True:
            if holds():
                return time.monotonic() - began
            await trio.sleep(every_s)
