"""From commit to acknowledgement: which commits are known, and what counts as a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from notifyd.inbox import Publication
from notifyd.inbox.answering import MAX_NOTED, SAME_S, Answering
from notifyd.messages import custom

if TYPE_CHECKING:
    from trio.testing import MockClock


def test_the_time_runs_from_the_commit_that_brought_the_entry() -> None:
    answering = Answering(10, 100.0)
    answering.committed(12, 101.0)
    answering.committed(15, 103.0)
    answering.confirmed("ann", 12, 101.5)
    answering.confirmed("ben", 13, 103.25)
    answering.flush()
    assert answering.seconds.sum == pytest.approx(0.75)
    assert answering.seconds.total == 2


def test_of_one_user_the_newest_counts_once_and_repeats_do_not_make_it_older() -> None:
    answering = Answering(0, 0.0)
    answering.committed(1, 1.0)
    answering.committed(2, 2.0)
    for seq, now in [(1, 2.25), (2, 2.5), (2, 2.75), (1, 3.0)]:
        answering.confirmed("ann", seq, now)
    answering.flush()
    answering.flush()
    assert (answering.seconds.total, answering.seconds.sum) == (1, 0.5)


def test_what_was_committed_before_the_start_or_not_at_all_is_left_out() -> None:
    answering = Answering(10, 0.0)
    answering.committed(11, 1.0)
    for user_id, seq in [("ann", 10), ("ben", 3), ("cem", 99)]:
        answering.confirmed(user_id, seq, 2.0)
    answering.flush()
    assert answering.seconds.total == 0


def test_commits_in_quick_succession_are_one_and_old_ones_are_forgotten() -> None:
    answering = Answering(0, 0.0)
    for number in range(1, 3 * MAX_NOTED):
        answering.committed(number, number * SAME_S / 4)
    answering.confirmed("ann", 3 * MAX_NOTED - 1, 3 * MAX_NOTED * SAME_S / 4)
    answering.flush()
    assert answering.seconds.total == 1
    assert answering.seconds.sum <= 2 * SAME_S
    for number in range(2 * MAX_NOTED):
        answering.committed(100_000 + number, 1000.0 + number)
    answering.confirmed("ann", 100_000, 20_000.0)
    answering.flush()
    assert answering.seconds.total == 1


async def test_only_what_clients_say_of_themselves_is_a_sample(
    autojump_clock: MockClock, opened: Any
) -> None:
    async with opened() as inbox:
        acknowledged = inbox.distributions().acknowledged
        receipt = await inbox.append(Publication(custom("x-a", {}), ("ann", "ben"), "p"))
        await trio.sleep(0.5)
        inbox.ack("ann", "c1", receipt.seq, prompt=True)
        inbox.ack("ben", "c2", receipt.seq)
        await trio.sleep(3)
        await inbox._acks.flush()
        assert acknowledged.total == 1
        assert acknowledged.sum == pytest.approx(0.5)


async def test_every_commit_is_timed_and_its_group_counted(
    autojump_clock: MockClock, opened: Any, store: Any
) -> None:
    async with opened() as inbox:
        store.delay(0.25)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(inbox.append, Publication(custom("x-a", {}), ("ann", "ben"), "p"))
        meters = inbox.distributions()
        assert meters.commit.largest == pytest.approx(0.25)
        assert meters.group_sizes.sum == 3
        statistics = inbox.statistics()
        assert (statistics.publications, statistics.rows) == (3, 6)
        again = Publication(custom("x-a", {}), ("ann",), "p", idempotency_key="k")
        await inbox.append(again)
        await inbox.append(again)
        assert inbox.statistics().publications == 4
