"""F22: a database of the first revision, full of rows, whose upgrade is killed at each of its statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
from alembic import command
from sqlalchemy import insert, inspect, select

from notifyd.store.care import examine
from notifyd.store.migrations import alembic_config
from notifyd.store.schema import metadata
from notifyd.store.sql import Call, SqlTransaction, open_database
from tests.chaos.publishers import open_http
from tests.chaos.run import VICTIM, Load, Run, fault
from tests.chaos.server import ServerEnded

if TYPE_CHECKING:
    import httpx2

    from notifyd.store.base import Transaction
    from tests.chaos.world import World

#: The revision to begin with.
FIRST = "0001"
#: Tables in which rows are, and are afterwards. No start writes into them by itself.
FILLED = (
    "notifications",
    "users",
    "idempotency",
    "watches",
    "watch_items",
    "items",
    "price_series",
    "prices",
)
NOBODY = Load(users=3, readers=0, publishers=0)
SETTINGS = {"NOTIFYD_CANARY_SECONDS": "0"}
BUSY_S = 5.0

Rows = dict[str, list[dict[str, Any]]]


@fault("upgrade", "F22", promises="P1", n=80)
async def upgrade(run: Run) -> None:
    """kill -9 at the N-th statement of bringing a database of revision 0001 with rows in it to the newest
    one, N = 1, 2, 3, … until there are no more: the next start finishes, every row is there, the doctor is
    content."""
    rows = await _real_rows(run)
    reached = 0
    for number in range(1, run.n + 1):
        async with run.world(NOBODY, **SETTINGS) as world:
            make_first_revision(world.server.database_url, rows)
            if not await _killed_at(world, number):
                run.progress(f"there is no statement {number}")
                break
            reached += 1
            await world.server.start()
            await world.server.stop()
            lacking = lacks(rows, read_rows(world.server.database_url))
            run.expect(not lacking, f"after statement {number} there lack {lacking}")
            health = examine(world.server.database_url)
            run.expect(not health.problems, f"after statement {number}: {health.problems}")
        run.trials += 1
        if number % 10 == 0:
            run.progress(f"statement {number}")
    run.figures["reached"] = reached
    run.figures["rows"] = sum(len(rows[name]) for name in FILLED)
    run.expect(reached > 0, "no statement was reached")


async def _killed_at(world: World, number: int) -> bool:
    try:
        await world.server.start(command=VICTIM, more={"CHAOS_POINT": f"statement:{number}"})
    except ServerEnded:
        return True
    await world.server.kill()
    return False


async def _real_rows(run: Run) -> Rows:
    """What a server writes that is published to, read from, watched with and sent prices."""
    async with run.world(Load(users=3, readers=3, publishers=2), **SETTINGS) as world:
        await world.server.start()
        await world.begin()
        async with open_http(world.server.target) as http:
            for number in range(9):
                await _watch(world, http, number)
        await trio.sleep(1)
        await world.settle()
        await world.server.stop()
        rows = read_rows(world.server.database_url)
    empty = [name for name in FILLED if not rows[name]]
    run.expect(not empty, f"nothing was written into {empty}")
    return rows


async def _watch(world: World, http: httpx2.AsyncClient, number: int) -> None:
    item = f"item-{number}"
    user = world.users[number % len(world.users)]
    watch = {"item_id": item, "rule": {"type": "target_price", "price_in_cents": 300}}
    price = {
        "item_id": item,
        "item_name": f"Item {number}",
        "store_id": 1,
        "store_name": "One",
        "price_in_cents": 400,
        "currency": "USD",
        "observed_at": "2026-01-31T12:00:00Z",
    }
    url = f"{world.server.target.url}/v1"
    (await http.put(f"{url}/watches/{item}?user_id={user}", json=watch)).raise_for_status()
    (await http.post(f"{url}/prices", json={"prices": [price]})).raise_for_status()


def read_rows(url: str) -> Rows:
    """Every row of every table that is there."""
    with open_database(url, busy_s=BUSY_S) as database, database.writer_engine.connect() as connection:
        there = set(inspect(connection).get_table_names())
        return {
            table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for table in metadata.sorted_tables
            if table.name in there
        }


def make_first_revision(url: str, rows: Rows) -> None:
    """Make the first revision's tables in an empty database, and put in what they hold of `rows`."""

    def make(tx: Transaction) -> None:
        assert isinstance(tx, SqlTransaction)
        command.upgrade(alembic_config(tx.connection), FIRST)
        columns = inspect(tx.connection).get_multi_columns()
        there = {name: {column["name"] for column in found} for (_, name), found in columns.items()}
        for table in metadata.sorted_tables:
            names = there.get(table.name, set())
            some = [{key: row[key] for key in row.keys() & names} for row in rows[table.name]]
            if names and some:
                tx.connection.execute(insert(table), some)

    with open_database(url, busy_s=BUSY_S) as database:
        database.write(make, Call(1))


def lacks(before: Rows, after: Rows) -> dict[str, int]:
    """How many rows of each table in FILLED are not there, or not as they were."""
    gone = {name: sum(row not in after[name] for row in before[name]) for name in FILLED}
    return {name: count for name, count in gone.items() if count}
