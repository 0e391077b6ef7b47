from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from notifyd.errors import Unavailable
from notifyd.inbox import erase_user
from notifyd.messages import Cursor
from notifyd.store import erase, users
from tests.inbox.conftest import note

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from trio.testing import MockClock

    from notifyd.inbox import Inbox
    from tests.inbox.conftest import FaultyStore

    Opened = Callable[..., AbstractAsyncContextManager[Inbox]]


async def test_an_old_cursor_is_told_that_entries_are_gone(autojump_clock: MockClock, opened: Opened) -> None:
    async with opened() as inbox:
        for _ in range(3):
            receipt = await inbox.append(note())
        await inbox.append(note("v"))
        assert await erase_user(inbox, "u") == receipt.seq
        for seq, reason in ((0, "trimmed"), (receipt.seq - 1, "trimmed"), (receipt.seq, None)):
            cursor = str(Cursor(inbox.epoch, seq))
            assert (await inbox.resume("u", cursor, window_floor=inbox.head)).reason == reason
            listing = await inbox.list("u", since=cursor, before=None, limit=9, state=None)
            assert (listing.reason, listing.items) == (reason, [])
        assert (await inbox.append(note())).seq == 5  # no seq is used again
        assert len((await inbox.list("v", since=None, before=None, limit=9, state=None)).items) == 1


async def test_more_than_a_batch_goes_while_others_write(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore
) -> None:
    async with opened() as inbox:
        for _ in range(2 * erase.BATCH + 1):
            await inbox.append(note())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(erase_user, inbox, "u")
            await inbox.append(note("v"))
        assert await store.read(lambda tx: users.floor(tx, "u")) == 2 * erase.BATCH + 1


async def test_what_waits_to_be_written_is_dropped_and_the_user_is_met_anew(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore
) -> None:
    async with opened() as inbox, trio.open_nursery() as nursery:
        nursery.start_soon(inbox.run_acks)
        await inbox.append(note(None))
        inbox.appeared("u")
        await trio.sleep(2)
        inbox.ack("u", "c", 1)
        assert await erase_user(inbox, "u") == 0
        await trio.sleep(2)
        assert await store.read(lambda tx: users.acknowledged(tx, "u")) is None
        assert await store.read(lambda tx: users.marks(tx, "u", 77)) == users.Marks(77)
        inbox.appeared("u")
        await trio.sleep(2)
        assert await store.read(lambda tx: users.marks(tx, "u", 77)) == users.Marks(1)
        nursery.cancel_scope.cancel()


async def test_a_user_who_is_written_to_all_the_time_is_erased_up_to_some_point(
    autojump_clock: MockClock, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened() as inbox:
        await inbox.append(note())
        monkeypatch.setattr(erase, "finish", lambda tx, user_id: None)
        assert await erase_user(inbox, "u") == 1


async def test_an_error_leaves_the_rest_for_the_next_time(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore
) -> None:
    async with opened() as inbox:
        await inbox.append(note())
        store.fail(Unavailable("not now"))
        with pytest.raises(Unavailable):
            await erase_user(inbox, "u")
        assert await erase_user(inbox, "u") == 1


async def test_an_ack_forgotten_while_it_is_written_is_no_fault(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore
) -> None:
    async with opened() as inbox, trio.open_nursery() as nursery:
        nursery.start_soon(inbox.run_acks)
        await inbox.append(note(None))
        inbox.appeared("u")
        inbox.ack("u", "c", 1)
        store.delay(2)
        await trio.sleep(2)
        inbox.forget("u")
        await trio.sleep(5)
        assert inbox.statistics().pending_acks == 0
        nursery.cancel_scope.cancel()
