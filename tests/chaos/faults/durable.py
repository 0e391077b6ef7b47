"""F2 and F4 to F6: what can happen to a commit, and to the disk and the file under it."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import trio

from tests.chaos.cluster import hold_lock, open_cluster
from tests.chaos.run import VICTIM, Load, Run, fault
from tests.chaos.server import ServerEnded
from tests.chaos.victim import names
from tests.chaos.world import World, until, wait_s

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

#: Trials with one database and one history.
TOGETHER = 12
#: One application that asks for one thing after another, and few who look on.
QUIET = Load(users=2, readers=4, publishers=1, pause_s=0.02, churn=0.02)
#: A server whose fsyncs fail has ended after so many seconds, under strace and load.
ENDS_S = 12.0
#: After so many seconds a point that was not passed will not be.
REACHED_S = 12.0


def strace(*expressions: str) -> list[str]:
    """strace in front of a program. It counts the system calls of each thread on its own."""
    parts = [part for expression in expressions for part in ("-e", expression)]
    return ["strace", "-f", "-qq", "-o", "/dev/null", *parts]


async def _die(run: Run, world: World, what: str) -> bool:
    """Until the server has ended by itself; whether it did."""
    with trio.move_on_after(REACHED_S):
        await world.server.wait()
        world.fault(f"killed at {what}")
        return True
    run.progress(f"{what} was not reached")
    await world.server.kill()
    return False


@fault("fsync", "F2", promises="P1 P2 P3", n=60, needs=("strace",), only="sqlite")
async def fsync(run: Run) -> None:
    """kill -9 on entering the N-th fdatasync of a life, for N = 1, 2, 3, …: those of starting, of commits and
    of checkpoints; a row that was acknowledged is there, one that was not may be."""
    number = reached = 0
    while number < run.n and not run.failures:
        async with run.world(QUIET) as world:
            await world.server.start()
            await world.begin()
            await world.server.kill()
            for _ in range(min(TOGETHER, run.n - number)):
                number += 1
                inject = f"inject=fdatasync,fsync:signal=KILL:when={number}"
                try:
                    await world.server.start(before=strace("trace=fdatasync,fsync", inject))
                except ServerEnded:
                    world.fault(f"killed at fsync {number}, before it listened")
                    reached += 1
                else:
                    reached += await _die(run, world, f"fsync {number}")
                await world.server.start()
                await trio.sleep(0.2)
                run.trials += 1
                if number % 10 == 0:
                    run.progress(f"fsync {number} of {run.n}")
                if number < run.n:
                    await world.server.kill()
            if not world.server.running:
                await world.server.start()
            await world.settle()
            await world.read_inboxes()
    run.figures["reached"] = reached


@fault("points", "F2", promises="P1 P2 P3 P5", n=3)
async def points(run: Run) -> None:
    """kill -9 at every named point (before and after append, commit, window, answer, write, acknowledgement,
    the rules' states, …) and at a random statement, N times each at a random passing."""
    reached = 0
    chosen = [point for point in names() if not point.startswith(("rule-state", "checker-"))]
    for point in chosen:
        async with run.world(QUIET) as world:
            await world.server.start()
            await world.begin()
            await world.server.kill()
            for _ in range(run.n):
                count = world.rng.randrange(1, 12)
                if point.startswith("ack"):
                    count = world.rng.randrange(1, 4)
                trap = {"CHAOS_POINT": f"{point}:{count}", "CHAOS_ARMED": "signal"}
                await world.server.start(command=VICTIM, more=trap)
                world.server.signal(signal.SIGUSR1)
                reached += await _die(run, world, f"{point}:{count}")
                run.trials += 1
            await world.server.start()
            await world.settle()
            await world.read_inboxes()
        run.progress(f"{point}, {run.trials} of {run.n * len(chosen)} trials")
    run.figures["reached"] = reached


@fault("eio", "F4", promises="P1 P20", n=5, needs=("strace",), only="sqlite")
async def eio(run: Run) -> None:
    """From a random commit on every fsync fails with EIO: publishers get 503, in each run at least one,
    nothing is acknowledged after the first of these, /readyz is not 200 any more, the log says why, and the
    process ends by itself."""
    for _ in range(run.n):
        async with run.world(Load(users=2, readers=4, publishers=3, churn=0)) as world:
            when = world.rng.randrange(20, 60)
            inject = f"inject=fdatasync,fsync:error=EIO:when={when}+"
            await world.server.start(before=strace("trace=fdatasync,fsync", inject))
            await world.begin()
            await _ends_after_eio(run, world)
            await world.server.start()
            await world.settle()
            await world.read_inboxes()
        run.trials += 1
        run.progress(f"{run.trials} of {run.n}")


async def _ends_after_eio(run: Run, world: World) -> None:
    after: list[int] = []
    unready: list[int] = []
    refused: list[str] = []

    def note(status: int, slug: str) -> None:
        if status in (200, 201) and refused:
            after.append(status)
        if status == 503:
            refused.append(slug)

    async def ask_readiness() -> None:
        while True:
            unready.append(await world.server.status_of("/readyz"))
            await trio.sleep(0.1)

    for publisher in world.publishers:
        publisher.on_answer = note
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_readiness)
        with trio.move_on_after(ENDS_S):
            await world.server.wait()
        nursery.cancel_scope.cancel()
    if world.server.running:
        run.fail("the process went on after a failed fsync")
        await world.server.kill()
    world.fault("ended after EIO")
    run.expect(bool(refused), "no publisher was told 503")
    run.expect(not after, f"{len(after)} acknowledgements after the first 503")
    run.expect(503 in unready, "/readyz never said no")
    words = world.server.last_words()
    run.expect("commit" in words.lower(), f"the log does not say why it ended: {words[-300:]!r}")
    run.expect("Traceback" not in words, f"the log shows a traceback: {words[-1500:]}")
    run.figures["told_503"] = run.figures.get("told_503", 0) + len(refused)


@fault("disk-full", "F5", promises="P1 P2", n=5)
async def disk_full(run: Run) -> None:
    """The database (PostgreSQL: its whole data directory) lies on a small tmpfs that another program fills:
    publishers get 507 and nothing else, connections stay, and the service is back within 5 s of the space."""
    for _ in range(run.n):
        async with _small_disk(run) as mount:
            load = Load(users=2, readers=6, publishers=2, churn=0, transports=("websocket", "sse"))
            async with run.world(load) as world:
                if run.cluster is None:
                    world.server.database_url = f"sqlite:///{mount}/notifyd.db"
                await world.server.start()
                await world.begin()
                await trio.sleep(0.5)
                await _fill_and_free(run, world, mount)
                await world.settle()
                await world.read_inboxes()
                await world.server.stop()
        run.trials += 1
        run.progress(f"{run.trials} of {run.n}")


async def _fill_and_free(run: Run, world: World, mount: Path) -> None:
    statuses: list[int] = []
    for publisher in world.publishers:
        publisher.on_answer = lambda status, _slug: statuses.append(status)
        publisher.repeats = 0  # what was stored before may be answered 200, full or not
    connects = sum(len(reader.connects) for reader in world.readers)
    _fill(mount / "filler")
    world.fault("disk full")
    await until(lambda: 507 in statuses, 10)
    statuses.clear()
    await trio.sleep(1.5)
    refused = list(statuses)
    run.expect(bool(refused), "no answers while the disk was full")
    run.expect(set(refused) <= {507}, f"answers while the disk was full: {sorted(set(refused))}")
    (mount / "filler").unlink()
    world.fault("disk free")
    statuses.clear()
    run.most("back_s", await until(lambda: 201 in statuses, 5))
    still = sum(len(reader.connects) for reader in world.readers)
    run.expect(still == connects, f"{still - connects} connections were lost")
    run.expect(await world.server.status_of("/readyz") in (200, 503), "no answer of /readyz")


@asynccontextmanager
async def _small_disk(run: Run) -> AsyncIterator[Path]:
    """Where the next world's database lies, in a cluster of its own if it is PostgreSQL's."""
    if run.cluster is None:
        with _tmpfs(run.folder / "small", "8m") as mount:
            yield mount
        return
    cluster = run.cluster
    with _tmpfs(run.folder / "small", "160m") as mount:
        async with open_cluster(mount / "data") as run.cluster:
            yield mount
    run.cluster = cluster


def _fill(file: Path) -> None:
    with file.open("wb", buffering=0) as filler:
        for size in (65536, 4096):
            try:
                while True:
                    filler.write(b"x" * size)
            except OSError:
                continue


@contextmanager
def _tmpfs(folder: Path, size: str) -> Iterator[Path]:
    """A file system of our own, in memory. Needs the right to mount."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@fault("locked", "F6", promises="P1 P9 P20", n=3)
async def locked(run: Run) -> None:
    """Another program holds the database's lock (PostgreSQL: of the row `meta`) for 10 s: publishers get 503
    within their 5 s, connections and pings go on, and the service is back within 10 s after."""
    load = Load(users=2, readers=6, publishers=2, churn=0, transports=("websocket", "sse"))
    for _ in range(run.n):
        async with run.world(load, NOTIFYD_HEARTBEAT_SECONDS="2", NOTIFYD_PONG_SECONDS="1") as world:
            await world.server.start()
            await world.begin()
            await trio.sleep(wait_s(world.rng, 0.2, 1))
            await _hold_lock(run, world)
            await world.settle()
            await world.read_inboxes()
        run.trials += 1
        run.progress(f"{run.trials} of {run.n}")


async def _hold_lock(run: Run, world: World) -> None:
    statuses: list[tuple[int, str]] = []
    for publisher in world.publishers:
        publisher.on_answer = lambda status, slug: statuses.append((status, slug))
    connects = sum(len(reader.connects) for reader in world.readers)
    url = world.server.database_url
    with hold_lock(url) if run.cluster is not None else _hold_file(url):
        world.fault("locked")
        await trio.sleep(0.5)  # answers to what was committed before are on their way
        statuses.clear()
        for _ in range(20):
            await trio.sleep(0.5)
            began = trio.current_time()
            run.expect(await world.server.status_of("/livez") == 200, "no answer of /livez")
            run.most("livez_s", trio.current_time() - began)
        run.expect(bool(statuses), "publishers got no answer for 10 s")
        run.expect({status for status, _ in statuses} <= {503}, f"answers while locked: {set(statuses)}")
    world.fault("free")
    statuses.clear()
    run.most("back_s", await until(lambda: 201 in {status for status, _ in statuses}, 10))
    still = sum(len(reader.connects) for reader in world.readers)
    run.expect(still == connects, f"{still - connects} connections were lost")


@contextmanager
def _hold_file(url: str) -> Iterator[None]:
    holder = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    yield
    holder.execute("ROLLBACK")
    holder.close()
