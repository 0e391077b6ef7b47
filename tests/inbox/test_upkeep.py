from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from notifyd.errors import Unavailable
from notifyd.store import users
from notifyd.store.users import Acknowledged
from tests.inbox.conftest import DAY_MS, note

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from trio.testing import MockClock

    from notifyd.inbox import Inbox
    from tests.inbox.conftest import Clock, FaultyStore

    Opened = Callable[..., AbstractAsyncContextManager[Inbox]]


async def acknowledged(store: FaultyStore, user_id: str = "u") -> Acknowledged | None:
    return await store.read(lambda tx: users.acknowledged(tx, user_id))


# --- acknowledgements -------------------------------------------------------------------------------


async def test_acks_are_written_once_a_second_and_only_the_highest(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore, clock: Clock
) -> None:
    async with opened() as inbox, trio.open_nursery() as nursery:
        for _ in range(5):
            await inbox.append(note())
        nursery.start_soon(inbox.run_acks)
        writes = store.writes
        for seq in (1, 3, 2):
            inbox.ack("u", f"c{seq}", seq)
            await trio.sleep(0.2)
        assert store.writes == writes
        assert inbox.statistics().pending_acks == 1
        await trio.sleep(1)
        assert store.writes == writes + 1
        assert await acknowledged(store) == Acknowledged(3, "c3", clock.ms)
        await trio.sleep(10)
        assert store.writes == writes + 1
        nursery.cancel_scope.cancel()


async def test_an_ack_beyond_the_head_means_the_head(opened: Opened, store: FaultyStore) -> None:
    async with opened() as inbox:
        await inbox.append(note())
        inbox.ack("u", "c", 99)
    ack = await acknowledged(store)
    assert ack is not None
    assert ack.seq == 1


async def test_what_the_store_refuses_is_written_later(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore
) -> None:
    async with opened() as inbox, trio.open_nursery() as nursery:
        await inbox.append(note())
        await inbox.append(note())
        nursery.start_soon(inbox.run_acks)
        inbox.appeared("u")
        inbox.ack("u", "c", 1)
        store.fail(Unavailable())
        await trio.sleep(1.5)
        assert await acknowledged(store) is None
        inbox.ack("u", "d", 2)
        await trio.sleep(1)
        ack = await acknowledged(store)
        assert ack is not None
        assert (ack.seq, ack.connection_id) == (2, "d")
        assert inbox.statistics().pending_acks == 0
        nursery.cancel_scope.cancel()


async def test_an_ack_that_comes_while_another_is_written_is_kept(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore
) -> None:
    async with opened() as inbox, trio.open_nursery() as nursery:
        await inbox.append(note())
        await inbox.append(note())
        nursery.start_soon(inbox.run_acks)
        inbox.ack("u", "c", 1)
        store.delay(0.5)
        await trio.sleep(1.2)
        inbox.ack("u", "d", 2)
        await trio.sleep(3)
        ack = await acknowledged(store)
        assert ack is not None
        assert ack.seq == 2
        nursery.cancel_scope.cancel()


async def test_many_users_take_several_transactions(opened: Opened, store: FaultyStore) -> None:
    async with opened() as inbox:
        await inbox.append(note())
        for number in range(2500):
            inbox.ack(f"u{number}", "c", 1)
        writes = store.writes
    assert store.writes == writes + 3
    assert await acknowledged(store, "u2499") is not None


# --- retention --------------------------------------------------------------------------------------


async def seqs(inbox: Inbox, user_id: str = "u") -> list[int]:
    return [entry.seq for entry in (await inbox.page(user_id, 0)).entries]


async def test_the_old_go_once_a_minute_in_batches(
    autojump_clock: MockClock, opened: Opened, clock: Clock
) -> None:
    async with opened(retention_ms=DAY_MS) as inbox, trio.open_nursery() as nursery:
        await inbox.append_many([note() for _ in range(1200)])
        nursery.start_soon(inbox.run_retention)
        await trio.sleep(61)
        assert inbox.statistics().trimmed == 0
        clock.ms += DAY_MS + 1
        await inbox.append(note())
        await trio.sleep(61)
        assert inbox.statistics().trimmed == 1200
        assert await seqs(inbox) == [1201]
        nursery.cancel_scope.cancel()


async def test_too_many_rows_of_a_user_go_and_those_of_others_stay(
    autojump_clock: MockClock, opened: Opened
) -> None:
    async with opened(max_rows_per_user=3) as inbox:
        for user in ("u", "v", "u", None, "u", "u"):
            await inbox.append(note(user))
        await inbox.trim()
        assert await seqs(inbox) == [3, 4, 5, 6]
        assert await seqs(inbox, "v") == [2, 4]
        await inbox.append(note())
        await inbox.trim()
        assert await seqs(inbox) == [4, 5, 6, 7]
        assert (await inbox.resume("u", f"{inbox.epoch}-2", window_floor=9)).reason == "trimmed"
        assert (await inbox.resume("u", f"{inbox.epoch}-3", window_floor=9)).recovered


async def test_rows_from_before_the_start_are_counted_too(autojump_clock: MockClock, opened: Opened) -> None:
    async with opened() as inbox:
        for number in range(120):
            for _ in range(3):
                await inbox.append(note(f"u{number}"))
    async with opened(max_rows_per_user=2) as inbox:
        await inbox.trim()
        assert inbox.statistics().trimmed == 120


async def test_retention_that_the_store_refuses_comes_later(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore, clock: Clock
) -> None:
    async with opened(retention_ms=DAY_MS) as inbox, trio.open_nursery() as nursery:
        await inbox.append(note())
        clock.ms += DAY_MS + 1
        nursery.start_soon(inbox.run_retention)
        store.fail(Unavailable())
        await trio.sleep(61)
        assert await seqs(inbox) == [1]
        await trio.sleep(60)
        assert await seqs(inbox) == []
        nursery.cancel_scope.cancel()


async def test_trimming_on_demand_says_that_it_cannot(opened: Opened, store: FaultyStore) -> None:
    async with opened() as inbox:
        store.fail(Unavailable())
        with pytest.raises(Unavailable):
            await inbox.trim()
