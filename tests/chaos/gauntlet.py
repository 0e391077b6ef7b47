"""The short scenario that every commit passes, and that no sabotage may: all that is cheap at once.

A small window that overflows, large messages, tabs that leave and stay away, tabs that stop reading with
small buffers, publishers that repeat themselves, a kill in the middle of a commit, and an old cursor.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

import trio

from tests.chaos.run import VICTIM, Load, Run
from tests.chaos.world import World, until

#: Entries of the window: fewer than a tab misses while it is away.
WINDOW = "12"


@dataclass(frozen=True)
class Timing:
    """Seconds of the parts."""

    before_kill: float = 1.2
    after_kill: float = 0.8


async def gauntlet(run: Run, timing: Timing | None = None) -> None:
    """Run it once."""
    timing = timing or Timing()
    more = {"CHAOS_WINDOW": WINDOW}
    load = Load(users=2, readers=0, publishers=0)
    async with run.world(load, NOTIFYD_CANARY_SECONDS="0.1", NOTIFYD_LOG_LEVEL="error") as world:
        trap = {"CHAOS_POINT": "commit-before:1", "CHAOS_ARMED": "signal"}
        await world.server.start(command=VICTIM, more=more | trap)
        await _begin(world)
        await trio.sleep(timing.before_kill)
        world.fault("kill -9 before a commit")
        world.server.signal(signal.SIGUSR1)
        await world.server.wait(within_s=5)
        await world.server.start(command=VICTIM, more=more)
        await trio.sleep(timing.after_kill)
        await _quiet(world)
        await world.settle(within_s=6)
        await world.read_inboxes()
    run.trials += 1


async def _begin(world: World) -> None:
    for number, transport in enumerate(("websocket", "sse") * 2):
        world.add_reader(transport, world.users[number // 2], churn=0.04, wait_s=0.8)
    for number, transport in enumerate(("websocket", "sse")):
        world.add_reader(
            transport, world.users[number], churn=0, stall=0.02, stall_s=0.4, receive_buffer=4096
        )
    world.add_reader("library", world.users[0])
    await world.all_connected()
    for padding in (0, 3000, 40_000):
        pause_s = 0.01 if padding < 40_000 else 0.06
        publisher = world.add_publisher(pause_s=pause_s, repeats=0.2, padding=padding, broadcasts=0.5)
        world.start_publisher(publisher)


async def _quiet(world: World) -> None:
    """Nothing is published for a moment but the canary, whose rows are deleted again."""
    world.stop_publishers()
    await until(lambda: all(reader.connected for reader in world.readers), 8)
    await trio.sleep(0.8)
    publisher = world.add_publisher(pause_s=0.2, limit=4)
    with trio.move_on_after(3):
        await publisher.run()
