"""Group commit and everything that can go wrong with it, in virtual time."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import trio
from sqlalchemy import text
from trio.testing import MockClock, wait_all_tasks_blocked

from notifyd.clock import wall_ms
from notifyd.errors import (
    CommitFailed,
    DiskFull,
    IdempotencyConflict,
    NotifydError,
    OutcomeUnknown,
    StatementFailed,
    Unavailable,
)
from notifyd.inbox import Publication, Receipt, open_inbox
from notifyd.inbox.writer import LAST_WORDS_S
from notifyd.messages import custom
from notifyd.store.base import NewEntry
from notifyd.store.sql import open_store
from tests.inbox.conftest import note

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from notifyd.inbox import Inbox
    from notifyd.store.base import Transaction
    from tests.inbox.conftest import FaultyStore, Heard

    Opened = Callable[..., AbstractAsyncContextManager[Inbox]]


class Results:
    """What several callers got, by name, and when."""

    def __init__(self) -> None:
        self.got: dict[str, Any] = {}
        self.at: dict[str, float] = {}
        self._began = trio.current_time()

    async def call(self, name: str, call: Callable[[], Any]) -> None:
        try:
            self.got[name] = await call()
        except NotifydError as error:
            self.got[name] = type(error)
        self.at[name] = trio.current_time() - self._began

    async def append(self, inbox: Inbox, name: str) -> None:
        await self.call(name, partial(inbox.append, note(text=name)))


def one_row(user_id: str = "u") -> NewEntry:
    return NewEntry("n", user_id, "x-work", b"{}", 1)


# --- groups -----------------------------------------------------------------------------------------


async def test_requests_that_wait_together_are_one_transaction(
    autojump_clock: MockClock, opened: Opened, heard: Heard
) -> None:
    async with opened() as inbox:
        results = Results()
        async with trio.open_nursery() as nursery:
            for number in range(64):
                nursery.start_soon(results.append, inbox, str(number))
        assert sorted(receipt.seq for receipt in results.got.values()) == list(range(1, 65))
        assert inbox.statistics().commits == 1
        assert inbox.statistics().largest_group == 64
    assert heard.seqs == list(range(1, 65))


async def test_a_group_has_at_most_1000_requests(autojump_clock: MockClock, opened: Opened) -> None:
    async with opened() as inbox:
        receipts = await inbox.append_many([note() for _ in range(1500)])
        assert [receipt.seq for receipt in receipts if isinstance(receipt, Receipt)] == list(range(1, 1501))
        assert inbox.statistics().largest_group == 1000
        assert inbox.statistics().commits == 2


async def test_a_group_ends_once_it_has_2000_rows(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore
) -> None:
    wide = Publication(custom("x-wide", {}), tuple(f"u{i}" for i in range(900)), "p")
    async with opened() as inbox:
        receipts = await inbox.append_many([wide] * 4)
        assert [receipt.seq for receipt in receipts if isinstance(receipt, Receipt)] == [
            900,
            1800,
            2700,
            3600,
        ]
        assert inbox.statistics().largest_group == 3


async def test_a_group_of_long_rows_ends_sooner(autojump_clock: MockClock, opened: Opened) -> None:
    long = Publication(custom("x-long", {"text": "x" * 40_000}), ("u",), "p")
    async with opened() as inbox:
        await inbox.append_many([long] * 300)
        assert inbox.statistics().commits == 2


async def test_what_one_commit_gives_is_handed_on_in_slices(
    autojump_clock: MockClock, opened: Opened, heard: Heard
) -> None:
    wide = Publication(custom("x-wide", {}), tuple(f"u{i}" for i in range(900)), "p")
    async with opened() as inbox:
        await inbox.append(wide)
    assert heard.seqs == list(range(1, 901))
    assert len(heard.withdrawn) == 18, "calls of on_commit"


async def test_listeners_hear_before_the_publisher_is_answered(
    autojump_clock: MockClock, opened: Opened, heard: Heard
) -> None:
    async with opened() as inbox:
        receipt = await inbox.append(note())
        assert heard.seqs == [receipt.seq] == [inbox.head]


async def test_a_full_queue_refuses_at_once(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore
) -> None:
    store.delay(1)
    async with opened(queue_size=2) as inbox:
        results = Results()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(results.append, inbox, "begun")
            await wait_all_tasks_blocked()
            for name in ("waits", "waits too"):
                nursery.start_soon(results.append, inbox, name)
            await wait_all_tasks_blocked()
            await results.append(inbox, "too many")
            assert results.at["too many"] == 0
        assert results.got.pop("too many") is Unavailable
        assert sorted(receipt.seq for receipt in results.got.values()) == [1, 2, 3]
        assert inbox.statistics().refused == 1


# --- five seconds -----------------------------------------------------------------------------------


async def test_what_has_not_begun_in_time_is_never_written(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore, heard: Heard
) -> None:
    store.delay(8)
    async with opened() as inbox:
        results = Results()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(results.append, inbox, "begun")
            await trio.sleep(1)
            nursery.start_soon(results.append, inbox, "dropped")
            await trio.sleep(3)
            nursery.start_soon(results.append, inbox, "in time")
        assert results.got == {
            "begun": OutcomeUnknown,
            "dropped": Unavailable,
            "in time": results.got["in time"],
        }
        assert results.at == {"begun": 5, "dropped": 6, "in time": 8}
        assert [b"begun" in entry.data or b"in time" in entry.data for entry in heard.entries] == [True, True]
        assert (inbox.statistics().refused, inbox.statistics().unknown) == (1, 1)


async def test_a_request_whose_caller_went_away_is_dropped_as_late_as_any_other(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore, heard: Heard
) -> None:
    store.delay(8)
    async with opened() as inbox, trio.open_nursery() as nursery:
        nursery.start_soon(Results().append, inbox, "begun")
        await trio.sleep(0.5)
        with trio.move_on_after(1):
            await inbox.append(note(text="late"))
        await trio.sleep(8)
        assert len(heard.entries) == 1


async def test_a_caller_that_goes_away_does_not_cancel_its_write(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore, heard: Heard
) -> None:
    store.delay(2)
    async with opened() as inbox:
        with trio.move_on_after(1):
            await inbox.append(note(text="begun"))
        with trio.move_on_after(0.5):
            await inbox.append(note(text="waiting"))
        await trio.sleep(2)
        assert len(heard.entries) == 2


# --- faults of the database -------------------------------------------------------------------------


@pytest.mark.parametrize("error", [DiskFull, Unavailable])
async def test_a_refused_group_is_not_written_and_the_next_one_is(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore, error: type[Exception]
) -> None:
    async with opened() as inbox:
        store.fail(error("made up"))
        results = Results()
        async with trio.open_nursery() as nursery:
            for name in "ab":
                nursery.start_soon(results.append, inbox, name)
        assert results.got == {"a": error, "b": error}
        assert (await inbox.append(note())).seq == 1
        assert inbox.statistics().failed_groups == 1


async def test_each_caller_gets_an_error_of_its_own(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore
) -> None:
    caught: list[Exception] = []

    async def append(inbox: Inbox) -> None:
        with pytest.raises(DiskFull, match="made up") as raised:
            await inbox.append(note())
        caught.append(raised.value)

    async with opened() as inbox:
        store.fail(DiskFull("made up"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(append, inbox)
            nursery.start_soon(append, inbox)
    assert caught[0] is not caught[1]


async def test_after_a_statement_error_each_request_runs_alone(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore, heard: Heard
) -> None:
    def bad(tx: Transaction) -> Any:
        tx.insert_rows(tables.users, ("user_id",), [("x",), ("x",)])
        return (), None

    from notifyd.store import schema as tables

    async with opened() as inbox:
        results = Results()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(results.append, inbox, "before")
            nursery.start_soon(results.call, "bad", partial(inbox.work, bad))
            nursery.start_soon(results.append, inbox, "after")
        assert results.got["bad"] is StatementFailed
        assert {results.got["before"].seq, results.got["after"].seq} == {1, 2}
        assert store.writes == 4
        assert inbox.statistics().run_alone == 3
    assert heard.seqs == [1, 2]


async def test_what_a_work_raises_concerns_its_caller_alone(
    autojump_clock: MockClock, opened: Opened, heard: Heard
) -> None:
    def bad(_tx: Transaction) -> Any:
        raise KeyError("mine")

    async def call(inbox: Inbox) -> None:
        with pytest.raises(KeyError, match="mine"):
            await inbox.work(bad)

    async with opened() as inbox:
        results = Results()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, inbox)
            nursery.start_soon(results.append, inbox, "other")
        await call(inbox)
        assert results.got["other"].seq == 1
    assert heard.seqs == [1]


async def test_one_that_ran_out_of_time_is_not_run_alone(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore
) -> None:
    def bad(_tx: Transaction) -> Any:
        raise KeyError

    async with opened() as inbox:
        store.delay(6)
        results = Results()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(results.append, inbox, "a")
            nursery.start_soon(results.call, "bad", partial(inbox.work, bad))
        assert results.got == {"a": OutcomeUnknown, "bad": OutcomeUnknown}
        await trio.sleep(2)
        assert inbox.statistics().run_alone == 0
        assert inbox.head == 0


async def test_one_that_waits_for_its_turn_alone_is_dropped_like_any_other(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore, heard: Heard
) -> None:
    def bad(_tx: Transaction) -> Any:
        raise KeyError

    async def call(inbox: Inbox) -> None:
        with pytest.raises(KeyError):
            await inbox.work(bad)

    for seconds in (0.1, 0, 0, 6):  # the one before, the group, then `bad` and `first` alone
        store.delay(seconds)
    async with opened() as inbox:
        results = Results()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(results.append, inbox, "before")
            await wait_all_tasks_blocked()
            nursery.start_soon(call, inbox)
            await wait_all_tasks_blocked()
            for name in ("first", "second"):
                nursery.start_soon(results.append, inbox, name)
                await wait_all_tasks_blocked()
        assert (results.got["first"], results.got["second"]) == (OutcomeUnknown, Unavailable)
        await trio.sleep(10)
    assert len(heard.entries) == 2


# --- outcome unknown --------------------------------------------------------------------------------


async def test_a_commit_that_happened_after_all_is_heard_of(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore, heard: Heard
) -> None:
    async with opened() as inbox:
        store.fail(OutcomeUnknown(), written=True)
        publication = note(idempotency_key="k", body_hash=b"1")
        with pytest.raises(OutcomeUnknown):
            await inbox.append(publication)
        await wait_all_tasks_blocked()
        assert heard.seqs == [1]
        assert inbox.head == 1
        assert await inbox.append(publication) == Receipt(1, str(heard.entries[0].notification_id), True)


async def test_a_commit_that_did_not_happen_leaves_no_gap(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore, heard: Heard
) -> None:
    async with opened() as inbox:
        store.fail(OutcomeUnknown())
        with pytest.raises(OutcomeUnknown):
            await inbox.append(note())
        assert (await inbox.append(note())).seq == 1
    assert heard.seqs == [1]


async def test_the_writer_asks_until_the_database_says_what_happened(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore, heard: Heard
) -> None:
    async with opened() as inbox:
        store.fail(OutcomeUnknown(), written=True)
        for _ in range(3):
            store.fail(Unavailable())
        with pytest.raises(OutcomeUnknown):
            await inbox.append(note())
        receipt = await inbox.append(note())
        assert receipt.seq == 2
    assert heard.seqs == [1, 2]


async def test_a_withdrawal_of_unknown_outcome_is_heard_of_as_such(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore, heard: Heard
) -> None:
    async with opened() as inbox:
        receipt = await inbox.append(note())
        store.fail(OutcomeUnknown(), written=True)
        with pytest.raises(OutcomeUnknown):
            await inbox.withdraw(receipt.notification_id)
        await wait_all_tasks_blocked()
    assert heard.withdrawn[-1] == {receipt.notification_id}


# --- a commit that failed ---------------------------------------------------------------------------


async def test_a_failed_commit_ends_the_writer_and_acknowledges_nothing(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore, heard: Heard
) -> None:
    async def fail(_really: object) -> None:
        await trio.sleep(1)
        raise CommitFailed("made up")

    results = Results()
    with pytest.RaisesGroup(CommitFailed):
        async with opened() as inbox, trio.open_nursery() as nursery:
            nursery.cancel_scope.shield = True
            store.faults.append(fail)
            nursery.start_soon(results.append, inbox, "begun")
            await wait_all_tasks_blocked()
            nursery.start_soon(results.append, inbox, "waiting")
            await trio.sleep(2)
            await results.append(inbox, "later")
    assert results.got == {"begun": OutcomeUnknown, "waiting": Unavailable, "later": Unavailable}
    assert results.at == {"begun": 1, "waiting": 1, "later": 2}
    assert heard.entries == []


async def test_after_a_failed_commit_there_is_time_to_say_so(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore
) -> None:
    """Whoever asks meanwhile is refused, readiness can be asked, and the log has said why."""
    with pytest.RaisesGroup(CommitFailed), structlog.testing.capture_logs() as logs:
        async with opened() as inbox:
            store.fail(CommitFailed("made up"))
            with pytest.raises(OutcomeUnknown):
                await inbox.append(note())
            assert inbox.failed
            with pytest.raises(Unavailable):
                await inbox.append(note())
            await trio.sleep(100)
    assert trio.current_time() == LAST_WORDS_S
    assert [(line["log_level"], line["reason"]) for line in logs] == [("error", "made up")]


async def test_a_commit_found_failed_afterwards_ends_the_writer_too(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore
) -> None:
    with pytest.RaisesGroup(CommitFailed):
        async with opened() as inbox:
            store.fail(OutcomeUnknown())
            store.fail(CommitFailed())
            with pytest.raises(OutcomeUnknown):
                await inbox.append(note())
            await trio.sleep_forever()


async def test_a_commit_of_somebody_else_that_failed_ends_the_writer_at_once(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore
) -> None:
    with pytest.RaisesGroup(CommitFailed):
        async with opened():
            store.fail(CommitFailed())  # what the store says to every write from then on
            store.failed.set()
            await trio.sleep_forever()


async def test_a_commit_beside_the_log_that_failed_ends_the_real_store_too(tmp_path: Path) -> None:
    def dangling(tx: Transaction) -> None:
        tx.execute(text("CREATE TABLE a (id INTEGER PRIMARY KEY)"))
        tx.execute(text("CREATE TABLE b (id INTEGER REFERENCES a DEFERRABLE INITIALLY DEFERRED)"))
        tx.execute(text("INSERT INTO b VALUES (1)"))

    async with open_store(f"sqlite:///{tmp_path}/log.db", clock=wall_ms) as store:
        with pytest.RaisesGroup(CommitFailed), trio.fail_after(10):
            async with open_inbox(store, clock=wall_ms, retention_ms=1, max_rows_per_user=1):
                with pytest.raises(CommitFailed):
                    await store.write(dangling)
                await trio.sleep_forever()


# --- stopping ---------------------------------------------------------------------------------------


async def test_stopping_writes_what_waits(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore, heard: Heard
) -> None:
    async with opened() as inbox, trio.open_nursery() as nursery:
        store.delay(1)
        for name in "ab":
            nursery.start_soon(Results().append, inbox, name)
            await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert len(heard.entries) == 2


async def test_being_cancelled_writes_what_waits(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore, heard: Heard
) -> None:
    with trio.move_on_after(0.5):
        async with opened() as inbox:
            store.delay(1)
            await inbox.append(note())
    assert len(heard.entries) == 1


async def test_stopping_does_not_wait_for_ever(
    autojump_clock: MockClock, opened: Opened, store: FaultyStore
) -> None:
    began = trio.current_time()
    with trio.move_on_after(0.5):
        async with opened() as inbox:
            store.delay(100)
            await inbox.append(note())
    assert trio.current_time() - began == 5.5


async def test_nothing_is_taken_after_the_end(autojump_clock: MockClock, opened: Opened) -> None:
    async with opened() as inbox:
        pass
    with pytest.raises(Unavailable, match="stopping"):
        await inbox.append(note())


# --- idempotency ------------------------------------------------------------------------------------


def keyed(body: bytes = b"1", publisher: str = "p", **more: Any) -> Publication:
    return Publication(custom("x-note", {}), ("u",), publisher, idempotency_key="k", body_hash=body, **more)


async def test_the_same_key_gets_the_first_answer_and_no_second_row(
    autojump_clock: MockClock, opened: Opened, heard: Heard
) -> None:
    async with opened() as inbox:
        first = await inbox.append(keyed())
        assert await inbox.append(keyed()) == first._replace(repeated=True)
        with pytest.raises(IdempotencyConflict):
            await inbox.append(keyed(b"2"))
        assert (await inbox.append(keyed(b"2", publisher="q"))).seq == 2
    assert heard.seqs == [1, 2]


async def test_twins_in_one_group_make_one_row(
    autojump_clock: MockClock, opened: Opened, heard: Heard
) -> None:
    async with opened() as inbox:
        await inbox.append(note())
        first, twin, other, own = await inbox.append_many(
            [keyed(), keyed(), keyed(b"2"), keyed(publisher="q")]
        )
        assert isinstance(first, Receipt)
        assert first.seq == 2
        assert twin == first._replace(repeated=True)
        assert isinstance(other, IdempotencyConflict)
        assert isinstance(own, Receipt)
        assert (own.seq, own.repeated) == (3, False)
        assert inbox.statistics().commits == 2


async def test_a_key_is_forgotten_after_a_day(autojump_clock: MockClock, opened: Opened, clock: Any) -> None:
    async with opened() as inbox:
        await inbox.append(keyed())
        clock.ms += 24 * 3600 * 1000
        assert (await inbox.append(keyed(b"2"))).repeated is False
        assert (await inbox.append(keyed(b"2"))).repeated is True


async def test_works_and_publications_share_a_group(
    autojump_clock: MockClock, opened: Opened, heard: Heard
) -> None:
    async with opened() as inbox:
        results = Results()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(results.append, inbox, "a")
            nursery.start_soon(
                results.call, "work", partial(inbox.work, lambda _tx: ([one_row("v"), one_row("w")], 42))
            )
            nursery.start_soon(results.append, inbox, "b")
        assert results.got["work"] == 42
        assert inbox.statistics().commits == 1
    assert heard.seqs == [1, 2, 3, 4]
