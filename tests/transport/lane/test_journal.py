from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from notifyd.errors import CloseCode, Unavailable
from notifyd.store import ledger
from notifyd.store.sql import Call, open_database, prepare
from notifyd.transport import journal as module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from notifyd.store.ledger import Kept, Mark
    from notifyd.store.sql import Database
    from tests.transport.lane.conftest import World


class Book:
    """An inbox that writes what it is given into a real ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.writes = 0
        self.broken = False

    async def work(self, fn: Callable[..., Any]) -> Any:
        await trio.lowlevel.checkpoint()
        if self.broken:
            raise Unavailable("not now")
        self.writes += 1
        return self._database.write(fn, Call(0))[1]

    def connections(self, user_id: str = "ann") -> list[Kept]:
        return self._database.read(lambda tx: ledger.connections_since(tx, user_id, 0, 99), Call(0))

    def marks(self) -> list[Mark]:
        ids = [each.connection_id for each in self.connections()]
        return self._database.read(lambda tx: ledger.marks_of(tx, ids), Call(0))


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    with open_database(f"sqlite:///{tmp_path}/log.db", busy_s=1) as database:
        prepare(database, 1)
        yield Book(database)


async def write(world: World, book: Book) -> None:
    await trio.testing.wait_all_tasks_blocked()
    lane = world.lane
    await lane.connections.journal.flush(book, lane.broker, lane.clock)  # type: ignore[arg-type]


async def test_a_connection_is_two_lines_however_much_it_is_sent(world: World, book: Book) -> None:
    world.publish(None, 3)
    client = await world.websocket()
    await write(world, book)
    (kept,) = book.connections()
    assert (kept.transport, kept.start_seq, kept.closed_ms) == ("websocket", 3, None)
    writes = book.writes
    world.publish("ann", 2)
    await write(world, book)
    assert book.writes == writes + 1  # what was dispatched, for everyone
    await write(world, book)
    assert book.writes == writes + 1
    client.close()
    await write(world, book)
    (kept,) = book.connections()
    assert (kept.end_seq, kept.close_code) == (5, CloseCode.ABNORMAL)
    assert book.marks() == []


async def test_how_it_ended_is_kept(world: World, book: Book) -> None:
    for _ in range(2):
        await world.websocket()
    stream = await world.sse()
    world.publish(None)
    await trio.testing.wait_all_tasks_blocked()
    world.lane.connections.close_user("ann", CloseCode.REVOKED)
    stream.close()
    await trio.sleep(2)
    await write(world, book)
    assert [each.close_code for each in book.connections()] == [CloseCode.REVOKED] * 3
    assert [each.end_seq for each in book.connections()] == [1] * 3


async def test_one_that_lags_has_marks_until_it_keeps_up_again(world: World, book: Book) -> None:
    client = await world.websocket(send_buffer=4096)
    await write(world, book)
    world.publish("ann", 200, size=2000)
    await write(world, book)
    (first,) = book.marks()
    assert first.behind
    assert first.seq < 200
    for _ in range(200):
        await client.message()
    await trio.sleep(0.1)
    await write(world, book)
    last = book.marks()[-1]
    assert (last.seq, last.behind) == (200, False)
    marks = len(book.marks())
    world.publish("ann")
    await write(world, book)
    assert len(book.marks()) == marks


async def test_what_the_kernel_did_not_take_was_not_written(world: World, book: Book) -> None:
    client = await world.websocket(send_buffer=4096)
    world.publish("ann", 50, size=20_000)
    await trio.testing.wait_all_tasks_blocked()
    client.close()
    await trio.sleep(1)
    await write(world, book)
    (kept,) = book.connections()
    assert kept.end_seq is not None
    assert kept.end_seq < 50


async def test_one_too_many_is_told_once_a_second(
    open_world: Callable[..., AbstractAsyncContextManager[World]], book: Book
) -> None:
    async with open_world(max_connections_per_user=1) as world:
        await world.websocket()
        for _ in range(3):
            assert await (await world.websocket()).closed() == CloseCode.CONNECTION_LIMIT
        await write(world, book)
        refused = [each for each in book.connections() if each.start_seq is None]
        assert [each.close_code for each in refused] == [CloseCode.CONNECTION_LIMIT]


async def test_nothing_is_lost_while_the_database_is_away(
    world: World, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.broken = True
    (await world.websocket()).close()
    await write(world, book)
    book.broken = False
    await write(world, book)
    assert len(book.connections()) == 1
    assert len(world.lane.connections.journal) == 0
    monkeypatch.setattr(module, "MAX_WAITING", 0)
    await world.websocket()
    assert world.lane.connections.journal.left_out == 1


async def test_an_erased_user_leaves_no_line(world: World, book: Book) -> None:
    await world.websocket("ann")
    await world.websocket("bob")
    world.lane.connections.journal.forget("ann")
    await write(world, book)
    assert (len(book.connections("ann")), len(book.connections("bob"))) == (0, 1)


async def test_it_is_written_once_a_second(world: World, book: Book) -> None:
    lane = world.lane
    async with trio.open_nursery() as nursery:
        run: Callable[..., Any] = lane.connections.journal.run
        nursery.start_soon(run, book, lane.broker, lane.clock)
        await world.websocket()
        await trio.sleep(1.5)
        assert len(book.connections()) == 1
        nursery.cancel_scope.cancel()
