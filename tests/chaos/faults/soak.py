"""F25: all that can be done to one server, in random turn, for as long as is asked; and the gauntlet."""

from __future__ import annotations

import signal
import sqlite3
from typing import TYPE_CHECKING

import trio

from notifyd.testing import Proxy, open_proxy
from tests.chaos import gauntlet as short
from tests.chaos.readers import Target
from tests.chaos.run import Load, Run, fault
from tests.chaos.world import wait_s

if TYPE_CHECKING:
    from tests.chaos.world import World

#: A history that is judged at once, so that no verdict needs much memory.
PART_S = 300.0
LOAD = Load(users=5, readers=10, publishers=2, pause_s=0.06, churn=0.003)


@fault("gauntlet", "F25", promises="P1 P2 P3 P4 P5 P6 P7", n=10)
async def gauntlet(run: Run) -> None:
    """The short scenario of the test suite: a small window, large messages, tabs that stay away or do not
    read, publishers that repeat themselves, a kill in a commit."""
    for _ in range(run.n):
        await short.gauntlet(run)
        run.progress(f"{run.trials} of {run.n}")


@fault("soak", "F25", promises="P1 P2 P3 P4 P5 P7 P9 P10", n=30, only_sqlite=True)
async def soak(run: Run) -> None:
    """For N minutes one server after another is killed, stopped, paused, locked out of its database, cut from
    half of its tabs, in random turn every few seconds, under load. Each thing done is a trial."""
    ends_at = trio.current_time() + run.n * 60
    while trio.current_time() < ends_at and not run.failures:
        async with run.world(LOAD) as world:
            await world.server.start()
            async with open_proxy(world.server.target.url, rng=world.rng) as proxy:
                await world.begin()
                for number in range(6):
                    transport = LOAD.transports[number % len(LOAD.transports)]
                    world.add_reader(transport, world.users[number % 5], Target(proxy.host, proxy.port))
                part_ends_at = min(ends_at, trio.current_time() + PART_S)
                while trio.current_time() < part_ends_at:
                    await trio.sleep(wait_s(world.rng, 1, 5))
                    await _something(world, proxy)
                    run.trials += 1
                    await world.all_connected()
                    run.most("resident_mb", world.server.resident_kb() / 1024)
                await world.settle()
                await world.read_inboxes()
        run.progress(f"{run.trials} troubles, {run.total('delivered'):,} deliveries")


async def _something(world: World, proxy: Proxy) -> None:
    what = world.rng.choice(("kill", "stop", "pause", "lock", "reset", "silence", "slow", "half"))
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
        case "lock":
            await _lock(world)
        case "reset":
            proxy.reset()
        case "half":
            proxy.end_writing()
        case _:
            await _bad_link(world, proxy, silent=what == "silence")


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
