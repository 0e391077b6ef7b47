"""A whole server in virtual time, driven by one seed: the same seed makes the same run, event by event.

    async def story(world: Simulation) -> None:
        await world.start()
        ...

    run_simulation(story, seed=7)

The server is notifyd's own, store included, on SQLite in a temporary folder. Its sockets are made of memory,
its database calls run without threads, Trio's clock jumps as soon as nobody has anything to do, and Trio's
scheduler, all delays and all ids come from the seed.
"""

from __future__ import annotations

import hashlib
import random
import tempfile
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio
from trio.testing import MockClock

from notifyd.auth import mint_token
from notifyd.config import Config
from notifyd.outside import Outside
from notifyd.service import open_service
from notifyd.testing.calls import InlineCalls
from notifyd.testing.network import MemoryNetwork, MemoryStream
from notifyd.testing.scheduler import seeded_scheduler

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from notifyd.service import Service
    from notifyd.testing.calls import Point

T = TypeVar("T")

#: When every simulation begins: 2026-01-31T12:00:00Z, in milliseconds.
BEGIN_MS: Final = 1_769_860_800_000
SECRET: Final = "secret-of-the-simulated-server-secret"
PUBLISH_KEY: Final = "publish-key-of-the-simulated-server"
ADMIN_KEY: Final = "admin-key-of-the-simulated-server"


class Trace:
    """What happened, in order: (virtual seconds, what). `digest` is one text for all of it."""

    def __init__(self) -> None:
        self.events: list[tuple[float, str]] = []

    def note(self, *what: object) -> None:
        self.events.append((trio.current_time(), " ".join(map(str, what))))

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr(self.events).encode()).hexdigest()


class Tasks(trio.abc.Instrument):
    """Notes every step of every task, for a trace that leaves nothing out."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._trace.note("task", task.name)


class Simulation:
    """One server after another on one database and one network; made by `run_simulation`.

    `rng` is for the test's own choices. `weather` of `network` says how the network behaves.
    """

    publish_key = PUBLISH_KEY
    admin_key = ADMIN_KEY

    def __init__(self, seed: int, folder: str, nursery: trio.Nursery, trace: Trace, **settings: Any) -> None:
        self.rng = random.Random(f"{seed} test")
        self.trace = trace
        self.network = MemoryNetwork(random.Random(f"{seed} network"), trace.note)
        self.service: Service
        self.lives = 0
        self._random_calls = random.Random(f"{seed} calls")
        self._random_ids = random.Random(f"{seed} ids")
        self._nursery = nursery
        self._window_entries = settings.pop("window_entries", 10_000)
        own = {
            "listen": "127.0.0.1:0",
            "database_url": f"sqlite:///{folder}/notifyd.db",
            "jwt_secret": SECRET,
            "publish_keys": PUBLISH_KEY,
            "admin_keys": ADMIN_KEY,
            "drain_seconds": 0.0,
            "canary_seconds": 0.0,
        }
        self.config = Config(**{**own, **settings})
        self._calls = InlineCalls(self._random_calls)
        self._scope = trio.CancelScope()
        self._leave = trio.Event()
        self._ended = trio.Event()
        self._killed = False

    # --- what a test uses -----------------------------------------------------------------------------------

    def clock(self) -> int:
        """The simulated wall clock: milliseconds since 1970."""
        return BEGIN_MS + round(trio.current_time() * 1000)

    def token(self, user_id: str, ttl_s: float = 86_400) -> str:
        """A token of this user that the server accepts for `ttl_s` virtual seconds."""
        return mint_token(SECRET, user_id, now_ms=self.clock(), ttl_s=ttl_s)

    async def dial(self) -> MemoryStream:
        """A connection to the server, for `notifyd.testing.clients`. Raises ConnectionRefusedError."""
        return await self.network.connect()

    @property
    def is_running(self) -> bool:
        return self.lives > 0 and not self._killed and not self._ended.is_set()

    async def start(self) -> None:
        """Open the server on what the last one left; returns when it listens."""
        assert not self.is_running, "it runs already"
        self.lives += 1
        self._calls = InlineCalls(self._random_calls, partial(self.trace.note, "database"))
        self._calls.on_death = self._die
        self._scope, self._leave, self._ended = trio.CancelScope(), trio.Event(), trio.Event()
        self._killed = False
        await self._nursery.start(self._serve)
        self.trace.note("started")

    async def stop(self) -> None:
        """Let it drain and close, as after SIGTERM."""
        self._leave.set()
        await self._ended.wait()
        self.trace.note("stopped")

    async def kill(self) -> None:
        """As kill -9 does: nothing is drained, told or written any more. `start` may be called then."""
        if not self._killed:
            self._calls.kill()
            self._die()
        await self.died()

    def kill_at(self, point: Point, count: int = 1, of: str = "") -> None:
        """Be killed around or in a database call that is yet to come: see `InlineCalls.die`.

        `of="run_group"` is a transaction that writes the log. `died` waits for it.
        """
        self._calls.die(point, count, of)

    async def died(self) -> None:
        """Wait until it was killed."""
        await self._ended.wait()

    # --- inside ---------------------------------------------------------------------------------------------

    def _die(self) -> None:
        """Before anything of the server's runs again its network and its database are out of its reach."""
        self.trace.note("killed")
        self._killed = True
        self.network.kill()
        self._scope.cancel()

    async def _serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        outside = Outside(network=self.network.for_server(), in_thread=self._calls, draw=self._draw)
        try:
            with self._scope, self._calls.watching():
                async with open_service(
                    self.config, clock=self.clock, window_entries=self._window_entries, outside=outside
                ) as self.service:
                    task_status.started()
                    await self._leave.wait()
        except* Exception:
            if not self._killed:  # what a killed server raises, nobody hears
                raise
        finally:
            self._ended.set()

    def _draw(self, size: int) -> str:
        return self._random_ids.randbytes(size).hex()


@asynccontextmanager
async def _open_simulation(seed: int, trace: Trace, settings: dict[str, Any]) -> AsyncGenerator[Simulation]:
    with tempfile.TemporaryDirectory(prefix="notifyd-simulation-") as folder:
        async with trio.open_nursery() as nursery:
            world = Simulation(seed, folder, nursery, trace, **settings)
            yield world
            if world.is_running:
                await world.stop()
            nursery.cancel_scope.cancel()


def run_simulation(
    story: Callable[[Simulation], Awaitable[T]],
    *,
    seed: int,
    trace: Trace | None = None,
    every_task: bool = False,
    **settings: Any,
) -> T:
    """Run `story` in a world of its own, to its end; gives what it returns and raises what it raises.

    Args:
        seed: of every random choice that is made outside of the story.
        trace: where to note what happens.
        every_task: note every step of every task too; that is long.
        settings: fields of `Config` to use instead of what a test wants; `window_entries`: how many entries
            the window holds.
    """
    kept = Trace() if trace is None else trace

    async def run() -> T:
        async with _open_simulation(seed, kept, settings) as world:
            return await story(world)

    with seeded_scheduler(seed):
        return trio.run(
            run, clock=MockClock(autojump_threshold=0), instruments=[Tasks(kept)] if every_task else []
        )
