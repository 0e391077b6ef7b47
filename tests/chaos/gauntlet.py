"""The short scenario that every commit passes, and that no sabotage may: all that is cheap at once.

A small window that overflows, large messages, tabs that leave and stay away, tabs that stop reading with
small buffers, publishers that repeat themselves, a kill in the middle of a commit, and a user who is erased.
"""

from __future__ import annotations

import signal
from contextlib import suppress

import trio

from tests.chaos.publishers import open_http
from tests.chaos.run import VICTIM, Load, Run
from tests.chaos.world import World, until

#: Entries of the window: fewer than a tab misses while it is away.
WINDOW = "12"
#: Rows that are deleted from the newest end of the log: more than the canary writes meanwhile.
GHOSTS = 300
#: Times that tabs come back before the kill.
RESUMES = 12


async def gauntlet(run: Run) -> None:
    """Run it once."""
    more = {"CHAOS_WINDOW": WINDOW}
    load = Load(users=2, readers=0, publishers=0)
    async with run.world(load, NOTIFYD_LOG_LEVEL="error") as world:
        trap = {"CHAOS_POINT": "publication:1", "CHAOS_ARMED": "signal"}
        await world.server.start(command=VICTIM, more=more | trap)
        await _begin(world)
        await _pass_time(world, RESUMES)
        world.fault("kill -9 before a commit")
        world.server.signal(signal.SIGUSR1)
        await world.server.wait(within_s=5)
        publishers = world.stop_publishers()
        await world.server.start(command=VICTIM, more=more)
        await world.all_connected()  # with what they had been shown, before anything new is stored
        for publisher in publishers:
            world.start_publisher(publisher)
        await _pass_time(world, RESUMES // 2)
        await _quiet(run, world)
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


async def _pass_time(world: World, resumes: int) -> None:
    """Until tabs have come back so often, however slow the machine is; a deaf server is not waited for."""
    before = _connects(world)
    with suppress(trio.TooSlowError):
        await until(lambda: _connects(world) >= before + resumes, 4)


def _connects(world: World) -> int:
    return sum(len(reader.connects) for reader in world.readers)


async def _quiet(run: Run, world: World) -> None:
    """The newest rows of the log are deleted, by erasing a user; then little is published."""
    world.stop_publishers()
    await until(lambda: all(reader.connected for reader in world.readers), 8)
    await _come_and_go(run, world)
    publisher = world.add_publisher(pause_s=0.2, limit=4)
    with trio.move_on_after(3):
        await publisher.run()


async def _come_and_go(run: Run, world: World) -> None:
    """A user whom nobody watches gets many notifications, and is erased."""
    item = {"user_id": "ghost", "type": "x-ghost", "data": {}}
    async with open_http(world.server.target) as http:
        url = f"{world.server.target.url}/v1"
        stored = await http.post(f"{url}/notifications", json={"notifications": [item] * GHOSTS})
        erased = await http.delete(f"{url}/users/ghost")
    statuses = stored.status_code, erased.status_code
    run.expect(max(statuses) < 300, f"many notifications and an erasure were answered {statuses}")
