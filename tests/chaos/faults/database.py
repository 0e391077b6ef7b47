"""F2, F4 and F6 for PostgreSQL, which can fail on its own: killed, frozen, without a disk that syncs; and the
transactions of applications that publish inside them."""

from __future__ import annotations

import random
import subprocess
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import psycopg
import trio

from tests.chaos.faults.durable import strace
from tests.chaos.publishers import CANARY, open_http
from tests.chaos.readers import token_for
from tests.chaos.run import Load, Run, fault
from tests.chaos.world import until, wait_s

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.chaos.cluster import Cluster
    from tests.chaos.world import World

TRANSPORTS = ("websocket", "sse")
LOAD = Load(users=3, readers=8, publishers=2, churn=0.003)
STEADY = Load(users=2, readers=6, publishers=2, churn=0, transports=TRANSPORTS)
HEARTBEAT = {"NOTIFYD_HEARTBEAT_SECONDS": "2", "NOTIFYD_PONG_SECONDS": "1"}
#: A publisher is answered in so many seconds, whatever the database does: its 5 s, and some for the machine.
ANSWERED_S = 6.5
#: Seconds after which publishing works again once the database does (P20).
BACK_S = 10.0
#: Deaths of the database between two judgements.
TOGETHER = 10
#: Seconds for PostgreSQL to notice that it cannot sync.
EIO_S = 20.0
#: Requests for inboxes that wait at once: more than there are threads for reading.
READS = 12
#: Seconds that an application's transaction stays open.
OPEN_S = 60.0


def _of(run: Run) -> Cluster:
    assert run.cluster is not None
    return run.cluster


@fault("database-killed", "F2", promises="P1 P2 P3 P20", n=50, only="postgresql")
async def database_killed(run: Run) -> None:
    """PostgreSQL is stopped in the middle of whatever it does (`pg_ctl stop -m immediate`) at random moments
    under load, and started again up to 2 s later, N times: what it had not committed is answered 503 or
    unknown, nothing acknowledged is lost, and publishing is back within 10 s."""
    while run.trials < run.n and not run.failures:
        async with run.world(LOAD) as world:
            await world.server.start()
            await world.begin()
            for _ in range(min(TOGETHER, run.n - run.trials)):
                await trio.sleep(wait_s(world.rng, 0.2, 2.5))
                world.fault("PostgreSQL is stopped at once")
                await _of(run).stop_immediately()
                await trio.sleep(2 * world.rng.random())
                await _of(run).start()
                await _is_back(run, world)
                run.trials += 1
            await world.settle()
            await world.read_inboxes()
            run.expect(world.server.running, "the server ended")
        run.progress(f"{run.trials} of {run.n}")


async def _is_back(run: Run, world: World) -> None:
    """Until a publisher is answered 201 again."""
    world.fault("the database is back")
    statuses: set[int] = set()
    for publisher in world.publishers:
        publisher.on_answer = lambda status, _slug: statuses.add(status)
    try:
        run.most("back_s", await until(lambda: 201 in statuses, BACK_S))
    except trio.TooSlowError:
        run.fail(f"publishing was not back after {BACK_S:g} s: {sorted(statuses)}")


@fault("database-frozen", "F6", promises="P1 P9 P20", n=10, only="postgresql")
async def database_frozen(run: Run) -> None:
    """Every process of PostgreSQL is stopped (SIGSTOP) for 15 s while people read and publish: publishers get
    503 or unknown in their 5 s, pings go on, and reading and publishing are back within 10 s."""
    for _ in range(run.n):
        async with run.world(STEADY, **HEARTBEAT) as world:
            await world.server.start()
            await world.begin()
            await trio.sleep(wait_s(world.rng, 0.2, 1))
            connects = sum(len(reader.connects) for reader in world.readers)
            async with _watched(run, world):
                world.fault("PostgreSQL is frozen")
                with _of(run).frozen():
                    await trio.sleep(15)
                await _is_back(run, world)
                with trio.move_on_after(BACK_S) as patience:
                    await world.read_inboxes()
                run.expect(not patience.cancelled_caught, "reading was not back in time")
            still = sum(len(reader.connects) for reader in world.readers)
            run.expect(still == connects, f"{still - connects} connections were lost")
            await world.settle()
            await world.read_inboxes()
        run.trials += 1
        run.progress(f"{run.trials} of {run.n}")


@asynccontextmanager
async def _watched(run: Run, world: World) -> AsyncIterator[None]:
    """Meanwhile /livez answers, a publisher is answered in time, and more read than there are threads."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_ask_livez, run, world)
        nursery.start_soon(_time_publishing, run, world)
        for number in range(READS):
            nursery.start_soon(_read, world, world.users[number % len(world.users)])
        yield
        nursery.cancel_scope.cancel()


async def _ask_livez(run: Run, world: World) -> None:
    while True:
        began = trio.current_time()
        run.expect(await world.server.status_of("/livez") == 200, "no answer of /livez")
        run.most("livez_s", trio.current_time() - began)
        await trio.sleep(0.5)


async def _time_publishing(run: Run, world: World) -> None:
    publisher = world.add_publisher(broadcasts=0.0)
    async with open_http(world.server.target) as http:
        while True:
            value, user = publisher._next_value(), world.users[0]
            began = trio.current_time()
            await publisher.ask(http, value, user, publisher.body(value, user))
            run.most("answered_s", trio.current_time() - began)
            run.expect(run.figures["answered_s"] <= ANSWERED_S, "a publisher waited longer than its 5 s")
            await trio.sleep(0.1)


async def _read(world: World, user: str) -> None:
    async with open_http(world.server.target, token_for(user)) as http:
        while True:
            await http.get(f"{world.server.target.url}/v1/notifications", timeout=60)
            await trio.sleep(0.2)


@fault("database-eio", "F4", promises="P1 P2 P20", n=10, needs=("strace",), only="postgresql")
async def database_eio(run: Run) -> None:
    """From a random moment on every fsync of PostgreSQL fails with EIO: it panics, and cannot recover before
    it can sync again. Nothing acknowledged is lost, notifyd lives on, publishing is back within 10 s."""
    for _ in range(run.n):
        async with run.world(LOAD) as world:
            await world.server.start()
            await world.begin()
            await trio.sleep(wait_s(world.rng, 0.2, 2))
            async with _failing_syncs(_of(run)):
                world.fault("fsync fails")
                await _of(run).panicked(EIO_S)
                await trio.sleep(4 * world.rng.random())
            run.expect(world.server.running, "the server ended")
            await _of(run).stop_immediately()
            await _of(run).start()
            await _is_back(run, world)
            await world.settle()
            await world.read_inboxes()
        run.trials += 1
        run.progress(f"{run.trials} of {run.n}")


@asynccontextmanager
async def _failing_syncs(cluster: Cluster) -> AsyncIterator[None]:
    """Every process of it, and each that it starts, gets EIO for every sync."""
    which = [part for pid in cluster.pids() for part in ("-p", str(pid))]
    command = strace("trace=fdatasync,fsync", "inject=fdatasync,fsync:error=EIO")
    tracer = await trio.lowlevel.open_process([*command, *which], stderr=subprocess.DEVNULL)
    try:
        await until(lambda: cluster.is_traced, 10)
        yield
    finally:
        tracer.terminate()
        await tracer.wait()


# --- applications' own transactions ---------------------------------------------------------------------


@fault("in-database", "F6", promises="P2 P3 P4", n=1, only="postgresql")
async def in_database(run: Run) -> None:
    """An application publishes inside its own transaction and leaves it open for 60 s, while others publish
    over HTTP and inside theirs, two of them to the same users in crossed order, and take back a quarter:
    nobody waits for it, nobody deadlocks, and what exists is exactly what was committed."""
    for _ in range(run.n):
        async with run.world(STEADY) as world:
            await world.server.start()
            await world.begin()
            applications = _Applications(run, world)
            await applications.work()
            await world.settle()
            await applications.compare()
            await world.read_inboxes()
        run.trials += 1
        run.progress(f"{run.trials} of {run.n}")


class _Applications:
    """What applications did inside their transactions, and whether it came of it what should."""

    def __init__(self, run: Run, world: World) -> None:
        self._run = run
        self._world = world
        self._committed: set[str] = set()
        self._early: set[str] = set()  # committed some seconds before the open one
        self._ended = threading.Event()

    async def work(self) -> None:
        """One transaction stays open for OPEN_S; meanwhile two others work, and a publisher is timed."""
        world = self._world
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sleeper)
            for number, users in enumerate((world.users, world.users[::-1])):
                rng = random.Random(world.seed + number)
                nursery.start_soon(trio.to_thread.run_sync, self._crossing, f"app{number}", users, rng)
            with trio.move_on_after(OPEN_S - 10):
                await _time_publishing(self._run, world)
            self._run.expect(
                self._run.figures["answered_s"] < 2, "a publisher waited for an open transaction"
            )
            shown = await self._values()
            missing = {value for value in self._early if value not in shown}
            self._run.expect(not missing, f"{len(missing)} waited for an open transaction")
            self._run.expect(
                not any(value.startswith("sleeper") for value in shown), "shown before its commit"
            )

    async def _sleeper(self) -> None:
        connection = await trio.to_thread.run_sync(self._connect)
        try:
            for user in self._world.users:
                await trio.to_thread.run_sync(self._publish, connection, f"sleeper-{user}", user)
            await trio.sleep(OPEN_S - 20)
            self._early = set(self._committed)
            await trio.sleep(20)
            await trio.to_thread.run_sync(connection.commit)
            self._committed |= {f"sleeper-{user}" for user in self._world.users}
        finally:
            self._ended.set()
            connection.close()

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._world.server.database_url)

    def _crossing(self, name: str, users: list[str], rng: random.Random) -> None:
        """In a thread: transaction after transaction, each to all users in its own order."""
        count = 0
        with self._connect() as connection:
            while not self._ended.wait(0.05 * rng.random()):
                count += 1
                values = [f"{name}-{count}-{user}" for user in users]
                for value, user in zip(values, users, strict=True):
                    self._publish(connection, value, user)
                if rng.random() < 0.25:
                    connection.rollback()
                    for value, user in zip(values, users, strict=True):
                        self._note("fail", value, user)
                else:
                    connection.commit()
                    self._committed.update(values)

    def _publish(self, connection: psycopg.Connection[Any], value: str, user: str) -> None:
        self._note("invoke", value, user)
        connection.execute(
            "SELECT notifyd_publish(%s, 'x-chaos', jsonb_build_object("
            "'value', %s::text, 'for', %s::text, 'canary', %s::text), %s)",
            (user, value, user, f"{CANARY}{user}", value),
        )

    def _note(self, outcome: str, value: str, user: str) -> None:
        self._world.recorder.note("applications", "publish", outcome=outcome, value=value, user=user)

    async def compare(self) -> None:
        """What was committed is there, and what was taken back is not."""
        shown: list[str] = []
        with trio.move_on_after(BACK_S):
            while not self._committed <= set(shown):
                await trio.sleep(0.2)
                shown = await self._values()
        own = {value for value in shown if value.startswith(("app", "sleeper"))}
        self._run.expect(
            own == self._committed, f"{len(own ^ self._committed)} differ from what was committed"
        )
        self._run.figures["in_transactions"] = len(self._committed)

    async def _values(self) -> list[str]:
        """Of all notifications that anybody has."""
        async with httpx2.AsyncClient(timeout=8, trust_env=False) as http:
            inboxes = [await self._world.inbox_of(http, user) for user in self._world.users]
        return [item["data"]["value"] for inbox in inboxes for item in inbox if "value" in item["data"]]
