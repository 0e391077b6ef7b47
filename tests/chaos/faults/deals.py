"""F21 and F22: the deal checker killed at each of its statements, a migration at each of its, a restore."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx2
import trio

from notifyd.store.care import examine
from tests.chaos.publishers import PUBLISH_KEY
from tests.chaos.run import VICTIM, Load, Run, fault
from tests.chaos.server import ServerEnded

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.world import World

#: Items of one batch; each has one watch of one user, and meets it.
ITEMS = 6
#: Trials with one database.
TOGETHER = 15
#: After so many seconds a statement that was not reached will not be.
REACHED_S = 6.0
NOBODY = Load(users=3, readers=0, publishers=0)


@fault("checker", "F21", promises="P1 P17", n=45)
async def checker(run: Run) -> None:
    """kill -9 at the N-th statement after prices are sent that meet watches, for N = 1, 2, 3, …, and at the
    points around the rules' states and the cursor; the same batch is sent again: each alert exactly once."""
    where = [f"statement:{number}" for number in range(1, 28)]
    for point in ("rule-state", "checker-cursor", "checker-commit", "commit", "append"):
        where += [f"{point}-{when}:{count}" for count in (1, 2) for when in ("before", "after")]
    await _kill_at(run, (where * (run.n // len(where) + 1))[: run.n])


@fault("checker-once", "F21", promises="P17", n=1)
async def checker_once(run: Run) -> None:
    """`checker` at the one point where the alerts are about to be written."""
    await _kill_at(run, ["checker-commit-before:1"] * run.n)


async def _kill_at(run: Run, where: list[str]) -> None:
    reached = 0
    for start in range(0, len(where), TOGETHER):
        async with run.world(NOBODY, NOTIFYD_CANARY_SECONDS="0", NOTIFYD_LOG_LEVEL="error") as world:
            expected: dict[str, set[str]] = {user: set() for user in world.users}
            for number, point in enumerate(where[start : start + TOGETHER]):
                await world.server.start(command=VICTIM, more={"CHAOS_POINT": point, "CHAOS_ARMED": "signal"})
                reached += await _one_batch(world, f"{start}-{number}", expected)
                run.trials += 1
            await _compare(run, world, expected)
        run.progress(f"{run.trials} of {run.n} trials, {reached} killed")
    run.figures["reached"] = reached


async def _one_batch(world: World, name: str, expected: dict[str, set[str]]) -> bool:
    """Watches, then prices that meet them while the trap is set; whether the server was killed by it."""
    items = [f"item-{name}-{number}" for number in range(ITEMS)]
    async with httpx2.AsyncClient(
        headers={"Authorization": f"Bearer {PUBLISH_KEY}"}, timeout=8, trust_env=False
    ) as http:
        for number, item in enumerate(items):
            user = world.users[number % len(world.users)]
            expected[user].add(item)
            answer = await http.put(
                f"{world.server.target.url}/v1/watches/{item}?user_id={user}",
                json={"item_id": item, "rule": {"type": "target_price", "price_in_cents": 500}},
            )
            assert answer.status_code in (200, 201), answer.text
        world.server.signal(signal.SIGUSR1)
        batch = {"prices": [_price(item) for item in items]}
        killed = not await _send(world, http, batch)
        if not killed:
            with trio.move_on_after(REACHED_S):
                await world.server.wait()
                killed = True
        if world.server.running:
            await world.server.kill()
        await world.server.start()
        if killed:
            await _send(world, http, batch)
        await _checked(world, set(items), expected)
    await world.server.stop()
    return killed


def _price(item: str) -> dict[str, Any]:
    return {
        "item_id": item,
        "item_name": item,
        "store_id": 1,
        "store_name": "One",
        "price_in_cents": 400,
        "currency": "USD",
        "observed_at": "2026-01-31T12:00:00Z",
    }


async def _send(world: World, http: httpx2.AsyncClient, batch: dict[str, Any]) -> bool:
    """Whether it was answered."""
    try:
        answer = await http.post(f"{world.server.target.url}/v1/prices", json=batch)
    except httpx2.TransportError:
        return False
    assert answer.status_code == 202, answer.text
    return True


async def _checked(world: World, items: set[str], expected: dict[str, set[str]]) -> None:
    """Until all alerts of these items are there, or have had time to be."""
    with trio.move_on_after(5):
        while True:
            found = [item for user in expected for item in await alerts(world, user)]
            if items <= set(found):
                return
            await trio.sleep(0.05)


async def alerts(world: World, user: str) -> list[str]:
    """The items of all deals in a user's inbox."""
    async with httpx2.AsyncClient(timeout=8, trust_env=False) as http:
        inbox = await world.inbox_of(http, user)
    return [deal["item_id"] for each in inbox for deal in each["data"].get("deals", ())]


async def _compare(run: Run, world: World, expected: dict[str, set[str]]) -> None:
    await world.server.start()
    for user, items in expected.items():
        found = await alerts(world, user)
        missed = items - set(found)
        run.expect(not missed, f"{user} missed {sorted(missed)[:5]}")
        run.expect(len(found) == len(set(found)), f"{user} was told twice: {len(found)} of {len(set(found))}")
        run.figures["alerts"] = run.figures.get("alerts", 0) + len(found)


@fault("migration", "F22", promises="P1", n=40)
async def migration(run: Run) -> None:
    """kill -9 at the N-th statement of making the tables of a new database, N = 1, 2, 3, …: the next start
    makes them, and `notifyd doctor` finds no problem."""
    reached = 0
    for number in range(1, run.n + 1):
        async with run.world(NOBODY) as world:
            trap = {"CHAOS_POINT": f"statement:{number}"}
            try:
                await world.server.start(command=VICTIM, more=trap)
            except ServerEnded:
                reached += 1
            else:
                await world.server.kill()
            await world.server.start()
            await world.begin()
            await world.settle()
            await world.server.stop()
            health = examine(world.server.database_url)
            run.expect(not health.problems, f"after statement {number}: {health.problems}")
        run.trials += 1
        if number % 10 == 0:
            run.progress(f"statement {number} of {run.n}")
    run.figures["reached"] = reached


@fault("restore", "F22", promises="P6", n=5)
async def restore(run: Run) -> None:
    """`notifyd backup` (PostgreSQL: pg_dump) under load, more is published, the database is replaced by the
    copy and gets a new epoch: every tab is told `recovered: false`, nobody of continuity that is none."""
    for _ in range(run.n):
        async with run.world(Load(users=3, readers=9, publishers=2, churn=0)) as world:
            await world.server.start()
            await world.begin()
            await trio.sleep(1)
            await _save(run, world)
            await trio.sleep(1)
            world.fault("yesterday's copy is restored")
            await world.server.kill()
            await _bring_back(run, world)
            await _command(world, "restore-epoch")
            told = [reader.gaps for reader in world.readers]
            await world.server.start()
            await world.all_connected()
            for reader, before in zip(world.readers, told, strict=True):
                run.expect(reader.gaps == before + 1, f"{reader.name} was not told of the gap")
            await trio.sleep(1)
            await world.settle()
            await world.read_inboxes()
            run.expect(not examine(world.server.database_url).problems, "the doctor found problems")
        run.trials += 1
        run.progress(f"{run.trials} of {run.n}")


async def _save(run: Run, world: World) -> None:
    copy = world.folder / "copy.db"
    if run.cluster is None:
        await _command(world, "backup", str(copy))
    else:
        await trio.to_thread.run_sync(run.cluster.save, world.server.database_url, copy)


async def _bring_back(run: Run, world: World) -> None:
    copy = world.folder / "copy.db"
    if run.cluster is None:
        await trio.to_thread.run_sync(_replace, world.folder / "notifyd.db", copy)
    else:
        await trio.to_thread.run_sync(run.cluster.bring_back, world.server.database_url, copy)


def _replace(database: Path, copy: Path) -> None:
    for name in (
        database,
        database.with_name(f"{database.name}-wal"),
        database.with_name(f"{database.name}-shm"),
    ):
        name.unlink(missing_ok=True)
    shutil.copy(copy, database)
    with sqlite3.connect(database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


async def _command(world: World, *words: str) -> None:
    await trio.run_process(
        [sys.executable, "-m", "notifyd", *words],
        env=world.server.environment({}),
        cwd=world.folder,
        stdout=subprocess.DEVNULL,
    )
