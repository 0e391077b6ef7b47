"""What every database must do the same way."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from sqlalchemy import insert, select

from notifyd.clock import wall_ms
from notifyd.errors import StatementFailed
from notifyd.store import log, retention
from notifyd.store import users as users_of
from notifyd.store.base import NewEntry
from notifyd.store.schema import users
from notifyd.store.sql import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from notifyd.store.base import Store, Transaction


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with open_store(database_url, clock=wall_ms) as store:
        yield store


def append(tx: Transaction, user_id: str | None, rows: int) -> list[int]:
    new = [NewEntry("n", user_id, "x-a", b"{}", tx.now_ms)] * rows
    return [entry.seq for entry in log.append(tx, new, log.allocate(tx, rows) - rows)]


async def test_a_new_log_is_empty_and_has_a_name(store: Store) -> None:
    assert store.epoch.isalnum()
    assert await store.read(log.head) == 0


async def test_writes_are_seen_by_later_reads(store: Store) -> None:
    assert await store.write(partial(append, user_id="u", rows=2)) == [1, 2]
    assert await store.read(log.head) == 2


async def test_commits_come_in_the_order_of_seq_without_gaps(store: Store) -> None:
    """A reader that follows the head misses nothing, however many write."""

    async def write(user_id: str | None) -> None:
        for rows in (1, 3, 2):
            with trio.CancelScope(shield=True):
                await store.write(partial(append, user_id=user_id, rows=rows))

    async def follow() -> None:
        position = 0
        while len(seen) < 8 * 6:
            page = await store.read(
                partial(log.page, user_id="u", after=position, limit_rows=7, limit_bytes=10_000)
            )
            seen.extend(entry.seq for entry in page.entries)
            position = page.head if page.complete else page.entries[-1].seq

    seen: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        for number in range(8):
            nursery.start_soon(write, "u" if number % 2 else None)
    assert seen == list(range(1, 49))


async def test_no_jump_of_the_wall_clock_makes_a_key_forgotten(database_url: str) -> None:
    """Neither while the server runs nor while it does not."""
    now_ms = [1_700_000_000_000]
    key, given = log.Key("p", "k"), {log.Key("p", "k"): log.Answer(b"h", 1, "n")}
    async with open_store(database_url, clock=lambda: now_ms[0]) as store:
        await store.write(partial(log.remember, given=given))
        for hours in (25, -50):
            now_ms[0] += hours * 3_600_000
            assert await store.read(partial(log.answers, keys=[key])) == given
            assert await store.write(retention.forget_answers) == 0
    now_ms[0] += 90 * 3_600_000
    async with open_store(database_url, clock=lambda: now_ms[0]) as store:
        assert await store.read(partial(log.answers, keys=[key])) == given
        assert await store.write(retention.forget_answers) == 0


async def test_what_fails_leaves_nothing_not_even_a_seq(store: Store) -> None:
    def twice(tx: Transaction) -> None:
        append(tx, "u", 3)
        for _ in range(2):
            tx.execute(insert(users), {"user_id": "u"})

    with pytest.raises(StatementFailed):
        await store.write(twice)
    assert await store.write(partial(append, user_id="u", rows=1)) == [1]


async def test_conflict_clauses_work(store: Store) -> None:
    def work(tx: Transaction) -> list[tuple[str, int]]:
        users_of.raise_floors(tx, {f"u{number}": number for number in range(300)})
        users_of.raise_floors(tx, {"u1": 9, "u2": 1})
        found = tx.execute(select(users.c.user_id, users.c.floor).where(users.c.floor.in_([2, 9])))
        return sorted((row[0], row[1]) for row in found)

    assert await store.write(work) == [("u1", 9), ("u2", 2), ("u9", 9)]


async def test_bytes_and_text_come_back_as_they_were(store: Store) -> None:
    data = '{"text":"\\u0000 ünïcode 🎈"}'.encode()
    new = NewEntry("é", "ü 🎈", "x-a", data, 2**53, 2**62)

    def work(tx: Transaction) -> None:
        log.append(tx, [new], log.allocate(tx, 1) - 1)

    await store.write(work)
    page = await store.read(partial(log.page, user_id="ü 🎈", after=0, limit_rows=9, limit_bytes=9))
    (entry,) = page.entries
    assert (entry.notification_id, entry.user_id, entry.data) == ("é", "ü 🎈", data)
    assert (entry.created_ms, entry.expires_ms) == (2**53, 2**62)
