"""F25: all that can be done to one server, in random turn, for as long as is asked; and the gauntlet."""

from __future__ import annotations

import signal
import sqlite3
from dataclasses import dataclass
from statistics import linear_regression
from typing import TYPE_CHECKING

import trio

from notifyd.testing import Proxy, open_proxy
from tests.chaos import gauntlet as short
from tests.chaos.cluster import hold_lock
from tests.chaos.faults.network import never_read
from tests.chaos.readers import Target
from tests.chaos.run import VICTIM, Load, Run, fault
from tests.chaos.world import until, wait_s

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.cluster import Cluster
    from tests.chaos.world import World

#: A history that is judged at once, so that no verdict needs much memory.
PART_S = 300.0
#: Entries of the window: as many as come in about a minute, so that it is soon as large as it gets.
WINDOW = "2000"
#: Seconds after which it is full, and all that is kept for each user is there.
FILLS_S = 120.0
TROUBLES = ("pause", "lock", "reset", "silence", "slow", "half", "storm", "frozen")
DEATHS = ("kill", "stop")
DATABASE_TROUBLES = ("database stops", "database freezes")
LOAD = Load(users=5, readers=10, publishers=2, pause_s=0.06, churn=0.003)


@fault("gauntlet", "F25", promises="P1 P2 P3 P4 P5 P6 P7", n=10)
async def gauntlet(run: Run) -> None:
    """The short scenario of the test suite: a small window, large messages, tabs that stay away or do not
    read, publishers that repeat themselves, a kill in a commit."""
    for _ in range(run.n):
        await short.gauntlet(run)
        run.progress(f"{run.trials} of {run.n}")


@fault("soak", "F25", promises="P1 P2 P3 P4 P5 P7 P9 P10", n=30, independent=False)
async def soak(run: Run) -> None:
    """For N minutes a server is paused, locked out of its database, cut from half of its tabs, left by all
    of them at once, asked for streams that nobody reads, on PostgreSQL its database killed and frozen, in
    random turn every few seconds, under load. In the first half it is killed and stopped, too; in the
    second it lives on, and is asked for memory, descriptors and tasks."""
    half_s = run.n * 30.0
    ends_at = trio.current_time() + half_s
    while trio.current_time() < ends_at and not run.failures:
        await _part(run, min(PART_S, ends_at - trio.current_time()), (*TROUBLES, *DEATHS))
    if not run.failures:
        await _part(run, half_s, TROUBLES)


async def _part(run: Run, seconds: float, troubles: Sequence[str]) -> None:
    """One world, whose history is judged at its end."""
    if run.cluster is not None:
        troubles = (*troubles, *DATABASE_TROUBLES)
    async with run.world(LOAD) as world:
        world.server.command = VICTIM
        world.server.settings |= {"CHAOS_TASKS": str(world.folder / "tasks"), "CHAOS_WINDOW": WINDOW}
        await world.server.start()
        async with open_proxy(world.server.target.url, rng=world.rng) as proxy:
            await world.begin()
            for number in range(6):
                transport = LOAD.transports[number % len(LOAD.transports)]
                world.add_reader(transport, world.users[number % 5], Target(proxy.host, proxy.port))
            await world.all_connected()
            ends_at = trio.current_time() + seconds
            samples = [await _sample(world)]
            while trio.current_time() < ends_at:
                await trio.sleep(wait_s(world.rng, 1, 5))
                await _something(world, proxy, run.cluster, world.rng.choice(troubles))
                run.trials += 1
                await world.all_connected()
                samples.append(await _sample(world))
                run.most("resident_mb", samples[-1].resident_mb)
            await world.settle()
            await world.read_inboxes()
            samples.append(await _sample(world))
        if world.server.lives == 1 and len(samples) > 10:
            _tell_growth(run, samples)
    run.progress(f"{run.trials} troubles, {run.total('delivered'):,} deliveries, {run.figures}")


@dataclass(frozen=True)
class _Sample:
    """What the server's process is made of at one moment, in seconds."""

    at: float
    resident_mb: float
    descriptors: int
    tasks: int


async def _sample(world: World) -> _Sample:
    server = world.server
    server.ask_for_tasks()
    await until(lambda: server.tasks() is not None, 10)
    tasks = server.tasks() or 0
    return _Sample(trio.current_time(), server.resident_kb() / 1024, server.descriptors(), tasks)


def _tell_growth(run: Run, samples: Sequence[_Sample]) -> None:
    """The slope of memory once the window is full, and what is there at the end that was not at first."""
    steady = [each for each in samples if each.at - samples[0].at > FILLS_S]
    for name, some in (("mb_per_hour", steady), ("late_mb_per_hour", steady[len(steady) // 2 :])):
        if len(some) > 2:
            slope = linear_regression([each.at for each in some], [each.resident_mb for each in some]).slope
            run.figures[name] = round(slope * 3600, 1)
    run.figures["descriptors_more"] = samples[-1].descriptors - samples[0].descriptors
    run.figures["tasks_more"] = samples[-1].tasks - samples[0].tasks
    run.expect(run.figures["descriptors_more"] <= 12, "descriptors were not given back")
    run.expect(run.figures["tasks_more"] <= 4, f"tasks were left over: {run.figures['tasks_more']}")


async def _something(world: World, proxy: Proxy, cluster: Cluster | None, what: str) -> None:
    world.fault(what)
    match what:
        case "kill":
            await world.server.kill()
            await world.server.start()
        case "stop":
            await world.server.stop()
            await world.server.start()
        case "pause":
            world.server.signal(signal.SIGSTOP)
            await trio.sleep(wait_s(world.rng, 1, 6))
            world.server.signal(signal.SIGCONT)
        case "lock" if cluster is None:
            await _lock(world)
        case "lock":
            with hold_lock(world.server.database_url):
                await trio.sleep(wait_s(world.rng, 1, 6))
        case "database stops" if cluster is not None:
            await cluster.stop_immediately()
            await trio.sleep(world.rng.random() * 3)
            await cluster.start()
        case "database freezes" if cluster is not None:
            with cluster.frozen():
                await trio.sleep(wait_s(world.rng, 1, 8))
        case "reset":
            proxy.reset()
        case "half":
            proxy.end_writing()
        case "storm":
            for reader in world.readers:
                reader.drop()
        case "frozen":
            await _freeze_readers(world)
        case _:
            await _bad_link(world, proxy, silent=what == "silence")


async def _freeze_readers(world: World) -> None:
    """Some clients that never read, for a while."""
    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(never_read, world, LOAD.transports[number % 2])
        await trio.sleep(wait_s(world.rng, 1, 6))
        nursery.cancel_scope.cancel()


async def _lock(world: World) -> None:
    holder = sqlite3.connect(world.folder / "notifyd.db", isolation_level=None, timeout=0.0)
    try:
        holder.execute("BEGIN IMMEDIATE")
        await trio.sleep(wait_s(world.rng, 1, 6))
        holder.execute("ROLLBACK")
    except sqlite3.OperationalError:
        world.fault("the lock was taken")  # by the server, in this moment
    finally:
        holder.close()


async def _bad_link(world: World, proxy: Proxy, *, silent: bool) -> None:
    if silent:
        proxy.silence()
    proxy.to_client.bytes_per_s, proxy.to_client.latency_s = 8_000, 0.2
    await trio.sleep(wait_s(world.rng, 1, 6))
    proxy.to_client.bytes_per_s, proxy.to_client.latency_s = None, 0.0
    proxy.speak()
