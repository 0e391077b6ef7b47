"""The canary: it takes the whole way, is missed when it does not return, and nobody ever sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
import trio

from notifyd.auth import is_user_id
from notifyd.errors import DiskFull, OutcomeUnknown
from notifyd.inbox import Publication
from notifyd.messages import custom
from notifyd.store import log, users
from notifyd.vitals.canary import CANARY_USER, LATE_S, TRIM_EVERY, Canary

if TYPE_CHECKING:
    from trio.testing import MockClock

EVERY_S = 15.0


def test_no_token_can_name_its_user() -> None:
    assert not is_user_id(CANARY_USER)


async def test_it_flies_all_the_way_every_so_often(autojump_clock: MockClock, open_log: Any) -> None:
    async with open_log() as opened:
        canary = Canary(opened.inbox, opened.broker, EVERY_S)
        opened.nursery.start_soon(canary.run)
        await trio.sleep(EVERY_S - 0.1)
        assert opened.inbox.head == 0, "a server that has just started is not asked"
        opened.store.slow_s = 0.25
        await trio.sleep(1)
        assert (canary.round_trip.total, canary.round_trip.sum) == (1, 0.25)
        await trio.sleep(3 * (EVERY_S + 1))
        assert canary.round_trip.total == 4
        assert canary.late() is None
        assert canary.failures == 0


async def test_it_leaves_next_to_nothing_behind(autojump_clock: MockClock, open_log: Any) -> None:
    async with open_log() as opened:
        receipt = await opened.inbox.append(Publication(custom("x-a", {}), ("ann",), "p"))
        opened.nursery.start_soon(Canary(opened.inbox, opened.broker, EVERY_S).run)
        for _ in range(3 * TRIM_EVERY):
            await trio.sleep(EVERY_S)
            assert opened.rows().count(CANARY_USER) <= TRIM_EVERY
            assert len(opened.broker.window) == 1
        listed = await opened.inbox.list("ann", since=None, before=None, limit=10, state=None)
        assert [item.entry.seq for item in listed.items] == [receipt.seq]
        assert opened.database_read(lambda tx: users.floor(tx, CANARY_USER)) == 0
        entries, floor, _ = opened.database_read(lambda tx: log.newest(tx, 100, 10**6))
        assert floor == 0, "a restarted server still fills its window"
        assert entries[0].seq == receipt.seq


async def test_it_is_not_among_those_who_are_here(autojump_clock: MockClock, open_log: Any) -> None:
    async with open_log(dispatcher=False) as opened:
        opened.nursery.start_soon(Canary(opened.inbox, opened.broker, EVERY_S).run)
        await trio.sleep(EVERY_S + 1)
        assert CANARY_USER in opened.rows(), "it is on its way"
        assert opened.broker.live(None) == 0
        statistics = opened.broker.statistics()
        assert (statistics.listeners, statistics.users) == (0, 0)


async def test_when_nobody_dispatches_it_is_missed_and_it_recovers_by_itself(
    autojump_clock: MockClock, open_log: Any
) -> None:
    async with open_log(dispatcher=False) as opened:
        canary = Canary(opened.inbox, opened.broker, EVERY_S)
        with structlog.testing.capture_logs() as lines:
            opened.nursery.start_soon(canary.run)
            await trio.sleep(EVERY_S + LATE_S - 0.1)
            assert canary.late() is None
            await trio.sleep(0.2)
            assert canary.late() == "the canary has not come back for 10 s (it did not arrive)"
            await trio.sleep(60)
            assert canary.late() is not None
            opened.nursery.start_soon(opened.broker.run_dispatcher)
            await trio.sleep(2)
            assert canary.late() is None
            assert canary.waiting_s() == 0
        assert [line["event"] for line in lines] == ["canary.late", "canary.back"]
        assert canary.failures >= 5


async def test_a_full_disk_is_named_and_a_single_refusal_is_forgiven(
    autojump_clock: MockClock, open_log: Any
) -> None:
    async with open_log() as opened:
        canary = Canary(opened.inbox, opened.broker, EVERY_S)
        opened.nursery.start_soon(canary.run)
        opened.store.faults.append(DiskFull())
        await trio.sleep(EVERY_S + 5)
        assert canary.late() is None
        assert (canary.failures, canary.round_trip.total) == (1, 1)
        opened.store.faults.extend(DiskFull() for _ in range(100))
        await trio.sleep(EVERY_S + LATE_S + 1)
        assert "disk-full" in str(canary.late())
        opened.store.faults.clear()
        await trio.sleep(2)
        assert canary.late() is None


async def test_one_that_was_written_after_all_is_not_taken_for_the_next(
    autojump_clock: MockClock, open_log: Any
) -> None:
    async with open_log() as opened:
        canary = Canary(opened.inbox, opened.broker, EVERY_S)
        opened.nursery.start_soon(canary.run)
        opened.store.faults.append(OutcomeUnknown())
        await opened.broker.settle()
        await trio.sleep(EVERY_S + 3)
        assert (canary.failures, canary.round_trip.total) == (1, 1)


async def test_announcements_meanwhile_do_not_disturb_it(autojump_clock: MockClock, open_log: Any) -> None:
    async with open_log() as opened:
        canary = Canary(opened.inbox, opened.broker, 1.0)
        opened.nursery.start_soon(canary.run)
        opened.store.slow_s = 0.01
        for _ in range(1000):
            await opened.inbox.append(Publication(custom("x-a", {}), None, "p"))
        assert canary.failures == 0
        assert canary.round_trip.total >= 9
