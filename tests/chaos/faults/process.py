"""F7, F10, F12, F14, F16: the process stopped, without descriptors, stormed, drained, in another time."""

from __future__ import annotations

import collections
import os
import resource
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from tests.chaos.faults.network import never_read
from tests.chaos.run import VICTIM, Load, Run, fault
from tests.chaos.world import until, wait_s

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.world import World

TRANSPORTS = ("websocket", "sse")
STEADY = Load(users=4, readers=10, publishers=2, churn=0, transports=TRANSPORTS)
#: Seconds within which everyone is back and caught up after a storm (P11).
STORM_S = 30.0
#: The busiest second of coming back after a drain, of the mean of all its seconds (P10).
BUSIEST = 2.0


def _connects(world: World) -> int:
    return sum(len(reader.connects) for reader in world.readers)


@fault("pause", "F7", promises="P2 P9", n=4)
async def pause(run: Run) -> None:
    """SIGSTOP for 5 and 20 s in turn: afterwards no live peer is cut, and everything published arrives."""
    settings = {"NOTIFYD_HEARTBEAT_SECONDS": "6", "NOTIFYD_PONG_SECONDS": "3"}
    for number in range(run.n):
        async with run.world(STEADY, **settings) as world:
            await world.server.start()
            await world.begin()
            await trio.sleep(wait_s(world.rng, 0.5, 7))
            before = _connects(world)
            world.fault("SIGSTOP")
            world.server.signal(signal.SIGSTOP)
            await trio.sleep(20 if number % 2 else 5)
            world.server.signal(signal.SIGCONT)
            world.fault("SIGCONT")
            await trio.sleep(12)
            run.expect(_connects(world) == before, f"{_connects(world) - before} live peers were cut")
            await world.settle()
            await world.read_inboxes()
        run.trials += 1
        run.progress(f"{run.trials} of {run.n}")


@fault("descriptors", "F10", promises="P2 P12", n=3)
async def descriptors(run: Run) -> None:
    """The limit of descriptors falls to just above what is in use, and 300 clients connect: established
    connections work on, and 2 s after the clients have gone new ones are let in."""
    for _ in range(run.n):
        async with run.world(STEADY) as world:
            await world.server.start()
            await world.begin()
            before = world.server.descriptors()
            soft = before + 40
            hard = resource.prlimit(world.server.pid, resource.RLIMIT_NOFILE)[1]
            resource.prlimit(world.server.pid, resource.RLIMIT_NOFILE, (soft, hard))
            world.fault(f"at most {soft} descriptors")
            connects = _connects(world)
            await _crowd(world, 300)
            run.expect(_connects(world) == connects, "an established connection was cut")
            began = trio.current_time()
            world.add_reader("websocket", world.users[0], churn=0)
            with suppress(trio.TooSlowError):
                await world.all_connected(10)
            run.most("let_in_s", trio.current_time() - began)
            run.expect(world.readers[-1].connected, "nobody was let in 10 s after the crowd had gone")
            await world.settle()
            await world.read_inboxes()
            run.most("descriptors_more", world.server.descriptors() - before)
            run.expect(world.server.descriptors() <= before + 12, "descriptors were not given back")
        run.trials += 1
        run.progress(f"{run.trials} of {run.n}")


async def _crowd(world: World, count: int) -> None:
    socks = [trio.socket.socket() for _ in range(count)]
    for sock in socks:
        with trio.move_on_after(0.2), suppress(OSError):
            await sock.connect(("127.0.0.1", world.server.port))
    await trio.sleep(2)
    for sock in socks:
        sock.close()


@fault("storm", "F12", promises="P2 P3 P11", n=1)
async def storm(run: Run) -> None:
    """2,000 tabs, half of them WebSockets and half SSE, kill -9 and a start: all are back and have what
    they missed within 30 s of the port, while one application goes on publishing."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    for _ in range(run.n):
        load = Load(users=200, readers=2000, publishers=1, pause_s=1.0, churn=0)
        async with run.world(load) as world:
            await world.server.start()
            for number in range(load.readers):
                transport = TRANSPORTS[number // load.users % 2]
                world.add_reader(transport, world.users[number % load.users], churn=0, wait_s=5.0)
                if number % 50 == 0:
                    await trio.sleep(0.05)
            await world.all_connected(120)
            run.progress("2,000 are there")
            world.start_publisher(world.add_publisher())
            await trio.sleep(3)
            world.fault("kill -9")
            await world.server.kill()
            await trio.sleep(1)
            await world.server.start()
            began = trio.current_time()
            await world.all_connected(120)
            run.most("all_back_s", trio.current_time() - began)
            await world.settle(within_s=120)
            run.most("caught_up_s", trio.current_time() - began)
            run.expect(run.figures["caught_up_s"] <= STORM_S, f"it took {run.figures['caught_up_s']} s")
        run.trials += 1


@fault("drain", "F14", promises="P2 P3 P10", n=20)
async def drain(run: Run) -> None:
    """SIGTERM and a new start under load, again and again, with clients that never read: exit 0 in time,
    nothing lost, and the busiest second of coming back has at most twice the mean."""
    load = Load(
        users=30, readers=150, publishers=1, pause_s=0.1, broadcasts=0.1, churn=0, transports=TRANSPORTS
    )
    settings = {"NOTIFYD_DRAIN_SECONDS": "4"}
    async with run.world(load, **settings) as world:
        await world.server.start()
        await world.begin()
        for _ in range(run.n):
            await trio.sleep(wait_s(world.rng, 0.5, 1.5))
            world.fault("SIGTERM")
            began = trio.current_time()
            for reader in world.readers:
                reader.connects.clear()
                reader.connected = False
            status = await _stop_beside_the_deaf(world)
            run.most("exit_s", trio.current_time() - began)
            run.expect(status == 0, f"the exit status is {status}: {world.server.last_words()[-500:]}")
            run.expect(run.figures["exit_s"] <= 9, f"it took {run.figures['exit_s']} s to end")
            await world.server.start()
            await until(lambda: all(reader.connects for reader in world.readers), 60)
            _spread(run, [reader.connects[0] for reader in world.readers])
            run.trials += 1
            run.progress(f"{run.trials} of {run.n} restarts")
        await world.settle()
        await world.read_inboxes()


async def _stop_beside_the_deaf(world: World) -> int:
    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(never_read, world, TRANSPORTS[number % 2])
        await trio.sleep(0.2)
        status = await world.server.stop()
        nursery.cancel_scope.cancel()
    return status


def _spread(run: Run, moments: list[float]) -> None:
    """How evenly they came back, by second."""
    first = min(moments)
    seconds = collections.Counter(int(moment - first) for moment in moments)
    ratio = max(seconds.values()) / (len(moments) / (max(seconds) + 1))
    run.most("busiest_of_mean", ratio)
    run.expect(ratio <= BUSIEST, f"the busiest second had {ratio:.1f} times the mean: {dict(seconds)}")


@fault("twice", "F14", promises="P10", n=5)
async def twice(run: Run) -> None:
    """A second SIGTERM while it drains for 200 s: it has ended within 2 s, and nothing is lost."""
    async with run.world(STEADY, NOTIFYD_DRAIN_SECONDS="200") as world:
        await world.server.start()
        await world.begin()
        for _ in range(run.n):
            await trio.sleep(wait_s(world.rng, 0.3, 1.5))
            world.fault("SIGTERM twice")
            world.server.signal(signal.SIGTERM)
            await trio.sleep(0.3)
            world.server.signal(signal.SIGTERM)
            began = trio.current_time()
            await world.server.wait()
            run.most("exit_s", trio.current_time() - began)
            await world.server.start()
            for reader in world.readers:
                reader.slots_ms.clear()
                reader.drop()
            await world.all_connected(120)
            run.trials += 1
        run.expect(run.figures["exit_s"] <= 2, f"it took {run.figures['exit_s']} s to end")
        await world.settle()
        await world.read_inboxes()


@fault("term-at-start", "F14", promises="P10", n=15)
async def term_at_start(run: Run) -> None:
    """SIGTERM at a random moment of starting: it ends within 5 s, with nothing but its own words, and the
    next start works."""
    async with run.world(Load(users=2, readers=2, publishers=1)) as world:
        for _ in range(run.n):
            await world.server.start(wait=False)
            await trio.sleep(world.rng.random() * 1.2)
            world.server.signal(signal.SIGTERM)
            began = trio.current_time()
            try:
                await world.server.wait(within_s=10)
            except trio.TooSlowError:
                run.fail("SIGTERM at start was not heard")
                await world.server.kill()
            run.most("exit_s", trio.current_time() - began)
            words = world.server.last_words()
            run.expect("Traceback" not in words, f"it said: {words[-800:]}")
            run.trials += 1
        await world.server.start()
        await world.begin()
        await trio.sleep(0.5)
        await world.settle()
        await world.read_inboxes()
    run.expect(run.figures["exit_s"] <= 5, f"it took {run.figures['exit_s']} s to end")


@fault("clock", "F16", promises="P2 P3 P4 P5 P9 P18", n=8)
async def clock(run: Run) -> None:
    """The wall clock jumps by an hour and by more than a day, both ways, and strobes: order,
    cursors, heartbeats, connections and the memory of keys are as before."""
    settings = {"NOTIFYD_HEARTBEAT_SECONDS": "3", "NOTIFYD_PONG_SECONDS": "2"}
    jumps = [3600, -3600, 90_000, -90_000]
    async with run.world(STEADY, **settings) as world:
        offset = world.folder / "offset"
        _set(offset, 0)
        wrong = {"CHAOS_CLOCK": str(offset)}
        await world.server.start(command=VICTIM, more=wrong)
        await world.begin()
        for publisher in world.publishers:
            publisher.repeats = 0.5
        for number in range(run.n):
            await trio.sleep(wait_s(world.rng, 0.5, 2))
            before = _connects(world)
            if number % 5 == 4:
                await _strobe(world, offset)
            else:
                world.fault(f"the clock jumps by {jumps[number % 5]} s")
                _set(offset, jumps[number % 5])
            await trio.sleep(7)
            run.expect(_connects(world) == before, f"{_connects(world) - before} connections were cut")
            run.trials += 1
            run.progress(f"{run.trials} of {run.n} jumps")
        await world.server.kill()
        await world.server.start(command=VICTIM, more=wrong)
        await world.settle()
        await world.read_inboxes()


def _set(offset: Path, seconds: int) -> None:
    replacement = offset.with_suffix(".new")
    replacement.write_text(f"{seconds:+d}\n")
    os.replace(replacement, offset)


async def _strobe(world: World, offset: Path) -> None:
    world.fault("the clock strobes")
    for beat in range(20):
        _set(offset, 3600 if beat % 2 else -3600)
        await trio.sleep(0.2)
