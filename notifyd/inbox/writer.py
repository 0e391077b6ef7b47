"""The one task that writes the log. Requests that wait while a commit syncs share the next one."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import trio

from notifyd.clock import Pace
from notifyd.errors import CommitFailed, OutcomeUnknown, StatementFailed, StoreError, Unavailable
from notifyd.inbox.group import Prepared, run_group
from notifyd.messages import NotificationUpdated
from notifyd.meters import GROUP_SIZES, WRITING_S, Histogram
from notifyd.store.log import UPDATED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from notifyd.inbox.group import Committed, Deliver, Work
    from notifyd.store.base import Entry, NewEntry, Store, Transaction

    OnCommit = Callable[[Sequence[Entry], frozenset[str]], None]

log = structlog.get_logger("notifyd.inbox")

#: Seconds from asking to an answer, whatever it is.
PATIENCE_S = 5.0
#: One group: at most so many requests, and no more once it has so many rows, so that a transaction stays
#: well under 50 ms. A request that is not a publication counts as WORK_ROWS, every ROW_BYTES of a row as one
#: more.
GROUP_REQUESTS = 1000
GROUP_ROWS = 2000
WORK_ROWS = 100
ROW_BYTES = 4096
#: Entries handed on at once, before the clock is looked at.
SLICE_ROWS = 50
#: Seconds after a failed COMMIT in which those who wait are answered, and readiness says no, before the end.
LAST_WORDS_S = 1.0
#: Seconds between looks at a database that did not say whether it committed.
RETRY_S = 0.25

_FAILED = "the server is stopping, for its database failed to commit"


class Phase(Enum):
    WAITING = auto()
    BEGUN = auto()
    ANSWERED = auto()


class Request:
    """One write and whoever waits for it. A waiter that goes away changes nothing."""

    __slots__ = ("_answered", "deadline", "outcome", "phase", "rows", "work")

    def __init__(self, work: Prepared | Work, deadline: float) -> None:
        self.work = work
        self.rows = _weight(work) if isinstance(work, Prepared) else WORK_ROWS
        self.phase = Phase.WAITING
        self.outcome: Any = None
        self.deadline = deadline
        self._answered = trio.Event()

    def answer(self, outcome: Any) -> None:
        """Tell whoever waits; an exception is raised there. Only the first answer counts."""
        if self.phase is not Phase.ANSWERED:
            self.outcome = outcome
            self.phase = Phase.ANSWERED
            self._answered.set()

    async def result(self) -> Any:
        """What the answer holds, or raises it; a checkpoint only when there is none yet."""
        if self.phase is not Phase.ANSWERED:
            await self._answered.wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class Counts:
    """What the writer has done so far. Times are seconds."""

    def __init__(self) -> None:
        self.commits = self.rows = self.publications = 0
        self.run_alone = self.refused = self.unknown = self.failed_groups = 0
        self.last_commit_s = 0.0
        self.commit_s = Histogram(WRITING_S)  # from handing a group to the database to its fsync
        self.group_sizes = Histogram(GROUP_SIZES)

    def committed(self, requests: int, committed: Committed, seconds: float) -> None:
        self.commits += 1
        self.rows += len(committed.entries)
        self.publications += committed.publications
        self.group_sizes.observe(requests)
        self.last_commit_s = seconds
        self.commit_s.observe(seconds)


class Writer:
    """Takes requests from a bounded queue and writes them in groups; `head` is the last committed seq."""

    def __init__(
        self,
        store: Store,
        head: int,
        on_commit: OnCommit,
        queue_size: int,
        deliver: Deliver | None = None,
    ) -> None:
        self.head = head
        self.on_commit = on_commit
        self.counts = Counts()
        self.failed: CommitFailed | None = None  # then nothing is written any more, and the process ends
        self._store = store
        self._deliver = deliver
        self._send, self._receive = trio.open_memory_channel[Request](queue_size)
        self._unanswered: deque[Request] = deque()  # all that came, but for answered ones at its left end
        self._arrived = trio.Event()
        self._watching = trio.CancelScope()

    @property
    def queued(self) -> int:
        """Requests that wait for the next group."""
        return self._send.statistics().current_buffer_used

    def enqueue(self, work: Prepared | Work) -> Request:
        """Put a write in the queue. Raises Unavailable when it is full or the writer has ended."""
        if self.failed is not None:
            raise Unavailable(_FAILED)
        request = Request(work, trio.current_time() + PATIENCE_S)
        try:
            self._send.send_nowait(request)
        except trio.WouldBlock:
            self.counts.refused += 1
            raise Unavailable("too many writes wait already") from None
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            raise Unavailable("the server is stopping") from None
        self._unanswered.append(request)
        self._arrived.set()
        return request

    async def submit(self, work: Prepared | Work) -> Any:
        """Write and give the outcome. Raises what `Request.result` raises.

        Cancellation: the write is not taken back.
        """
        return await self.enqueue(work).result()

    def close(self) -> None:
        """Take no more; `run` returns when all that waits is written."""
        self._send.close()

    async def run(self) -> None:
        """Write until `close`. Raises CommitFailed, after which nothing more may be acknowledged."""
        try:
            async for first in self._receive:
                await self._write(self._gather(first))
        except CommitFailed as error:
            await self._say_last_words(error)
            raise
        finally:
            self._abandon()

    async def _say_last_words(self, error: CommitFailed) -> None:
        """Tell the log, readiness and whoever waits, before the process ends."""
        log.error(
            "COMMIT failed: nothing is acknowledged any more, and the process ends", reason=error.detail
        )
        self.failed = error
        for request in self._unanswered:
            begun = request.phase is Phase.BEGUN
            _refuse([request], OutcomeUnknown(_FAILED) if begun else Unavailable(_FAILED))
        await trio.sleep(LAST_WORDS_S)

    async def watch_store(self) -> None:
        """Let `run` raise what ends the process when another's COMMIT has failed, as prices' and watches'."""
        await self._store.failed.wait()
        with suppress(Unavailable):  # it has ended already, or writes all the time
            self.enqueue(_nothing)

    async def watch(self) -> None:
        """Answer requests whose time has passed, until `run` ends."""
        with self._watching:
            while True:
                self._forget_answered()
                if self._unanswered:
                    await trio.sleep_until(self._unanswered[0].deadline)
                    self._expire(trio.current_time())
                else:
                    self._arrived = trio.Event()
                    await self._arrived.wait()

    def _gather(self, first: Request) -> list[Request]:
        group: list[Request] = []
        rows = 0
        request: Request | None = first
        while request is not None:
            if self._begin(request):
                group.append(request)
                rows += request.rows
            full = len(group) == GROUP_REQUESTS or rows >= GROUP_ROWS
            request = None if full else self._next()
        return group

    def _next(self) -> Request | None:
        try:
            return self._receive.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return None

    def _begin(self, request: Request) -> bool:
        """Whether the request may be written: it is refused when its time has passed."""
        if request.phase is Phase.WAITING and trio.current_time() >= request.deadline:
            self._give_up(request)
        if request.phase is Phase.ANSWERED:
            return False
        request.phase = Phase.BEGUN
        return True

    def _give_up(self, request: Request) -> None:
        if request.phase is Phase.WAITING:
            self.counts.refused += 1
            request.answer(Unavailable(f"the database was not free for {PATIENCE_S:g} s"))
        elif request.phase is Phase.BEGUN:
            self.counts.unknown += 1
            request.answer(OutcomeUnknown(f"the database has not answered in {PATIENCE_S:g} s"))

    def _expire(self, now: float) -> None:
        while self._unanswered and self._unanswered[0].deadline <= now:
            self._give_up(self._unanswered.popleft())

    def _forget_answered(self) -> None:
        while self._unanswered and self._unanswered[0].phase is Phase.ANSWERED:
            self._unanswered.popleft()

    async def _write(self, group: Sequence[Request]) -> None:
        try:
            await self._commit(group)
        except OutcomeUnknown as error:
            self.counts.unknown += len(group)
            _refuse(group, error)
            await self._resolve()
        except Exception as error:
            self.counts.failed_groups += 1
            if isinstance(error, CommitFailed):
                raise
            if isinstance(error, StoreError) and not isinstance(error, StatementFailed):
                _refuse(group, error)
            else:
                await self._write_alone(group, error)

    async def _write_alone(self, group: Sequence[Request], error: Exception) -> None:
        """Find the request at fault; the others are written all the same."""
        if len(group) == 1:
            group[0].answer(error)
            return
        for request in group:
            if request.phase is Phase.BEGUN:
                request.phase = Phase.WAITING
        for request in group:
            if self._begin(request):
                self.counts.run_alone += 1
                await self._write([request])

    async def _commit(self, group: Sequence[Request]) -> None:
        if not group:
            return
        began = trio.current_time()
        work = partial(
            run_group,
            requests=[request.work for request in group],
            head=self.head,
            deliver=self._deliver,
        )
        committed = await self._store.write(work)
        self.counts.committed(len(group), committed, trio.current_time() - began)
        await self._publish(committed)
        for request, outcome in zip(group, committed.outcomes, strict=True):
            request.answer(outcome)
        self._forget_answered()

    async def _resolve(self) -> None:
        """Learn whether a commit of unknown outcome happened, and if so hand its entries on."""
        log.warning("the database has not said whether it committed")
        while True:
            try:
                committed = await self._store.write(partial(run_group, requests=[], head=self.head))
            except CommitFailed:
                raise
            except StoreError:
                await trio.sleep(RETRY_S)
            else:
                await self._publish(committed)
                return

    async def _publish(self, committed: Committed) -> None:
        """Hand the entries on, in slices: thousands at once would keep the loop for a third of a second."""
        self.head = committed.head
        pace = Pace()
        for start in range(0, len(committed.entries), SLICE_ROWS):
            entries = committed.entries[start : start + SLICE_ROWS]
            self.on_commit(entries, withdrawn_in(entries))
            await pace.breathe()

    def _abandon(self) -> None:
        """Nobody may wait for a writer that has ended."""
        self._receive.close()
        self._watching.cancel()
        _refuse(self._unanswered, OutcomeUnknown("the server is stopping"))


def _nothing(_tx: Transaction) -> tuple[Sequence[NewEntry], None]:
    return (), None


def _weight(work: Prepared) -> int:
    """How many small rows these are; the rows of a publication differ by the user's name at most."""
    return len(work.entries) * (1 + len(work.entries[0].data) // ROW_BYTES)


def _refuse(group: Iterable[Request], error: StoreError) -> None:
    for request in group:
        request.answer(type(error)(error.detail))


def withdrawn_in(entries: Iterable[Entry]) -> frozenset[str]:
    """The notifications that these entries withdraw."""
    updates = [
        _update_decoder.decode(entry.data)
        for entry in entries
        if entry.type == UPDATED and b'"withdrawn"' in entry.data
    ]
    return frozenset(
        notification_id
        for update in updates
        if update.state == "withdrawn" and update.notification_ids is not msgspec.UNSET
        for notification_id in update.notification_ids
    )


_update_decoder = msgspec.json.Decoder(NotificationUpdated)
