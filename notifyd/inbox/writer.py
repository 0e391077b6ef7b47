"""The one task that writes the log. Requests that wait while a commit syncs share the next one."""

from __future__ import annotations

from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import trio

from notifyd.errors import CommitFailed, OutcomeUnknown, StatementFailed, StoreError, Unavailable
from notifyd.inbox.group import Prepared, run_group
from notifyd.messages import NotificationUpdated
from notifyd.store.log import UPDATED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from notifyd.inbox.group import Committed, Work
    from notifyd.store.base import Entry, Store

    OnCommit = Callable[[Sequence[Entry], frozenset[str]], None]

log = structlog.get_logger("notifyd.inbox")

#: Seconds from asking to an answer, whatever it is.
PATIENCE_S = 5.0
#: One group: at most so many requests, and no more once it has so many rows, so that a transaction stays
#: well under 50 ms. A request that is not a publication counts as WORK_ROWS.
GROUP_REQUESTS = 1000
GROUP_ROWS = 2000
WORK_ROWS = 100
#: Seconds between looks at a database that did not say whether it committed.
RETRY_S = 0.25


class Phase(Enum):
    WAITING = auto()
    BEGUN = auto()
    DROPPED = auto()  # its time passed before it began; it is never written
    DONE = auto()


class Request:
    """One write and whoever waits for it. A waiter that goes away changes nothing."""

    __slots__ = ("_done", "deadline", "outcome", "phase", "rows", "work")

    def __init__(self, work: Prepared | Work) -> None:
        self.work = work
        self.rows = len(work.entries) if isinstance(work, Prepared) else WORK_ROWS
        self.phase = Phase.WAITING
        self.outcome: Any = None
        self.deadline = trio.current_time() + PATIENCE_S
        self._done = trio.Event()

    def begin(self) -> bool:
        """Whether the request may be written now."""
        if self.phase is Phase.WAITING and trio.current_time() >= self.deadline:
            self.phase = Phase.DROPPED
        if self.phase is Phase.DROPPED:
            return False
        self.phase = Phase.BEGUN
        return True

    def settle(self, outcome: Any) -> None:
        """Answer whoever waits; exceptions are raised there."""
        self.outcome = outcome
        self.phase = Phase.DONE
        self._done.set()

    async def result(self) -> Any:
        """The outcome, at the latest at the deadline. Raises Unavailable, OutcomeUnknown, or the refusal."""
        with trio.move_on_at(self.deadline):
            await self._done.wait()
        if self.phase is Phase.DONE:
            if isinstance(self.outcome, Exception):
                raise self.outcome
            return self.outcome
        if self.phase is Phase.BEGUN:
            raise OutcomeUnknown(f"the database has not answered in {PATIENCE_S:g} s")
        self.phase = Phase.DROPPED
        raise Unavailable(f"the database was not free for {PATIENCE_S:g} s")


class Counts:
    """What the writer has done so far. Times are seconds."""

    def __init__(self) -> None:
        self.commits = self.rows = self.largest_group = 0
        self.run_alone = self.refused = self.unknown = self.failed_groups = 0
        self.last_commit_s = self.slowest_commit_s = 0.0

    def committed(self, requests: int, rows: int, seconds: float) -> None:
        self.commits += 1
        self.rows += rows
        self.largest_group = max(self.largest_group, requests)
        self.last_commit_s = seconds
        self.slowest_commit_s = max(self.slowest_commit_s, seconds)


class Writer:
    """Takes requests from a bounded queue and writes them in groups; `head` is the last committed seq."""

    def __init__(self, store: Store, head: int, on_commit: OnCommit, queue_size: int) -> None:
        self.head = head
        self.on_commit = on_commit
        self.counts = Counts()
        self._store = store
        self._send, self._receive = trio.open_memory_channel[Request](queue_size)
        self._group: Sequence[Request] = ()

    @property
    def queued(self) -> int:
        """Requests that wait for the next group."""
        return self._send.statistics().current_buffer_used

    def enqueue(self, work: Prepared | Work) -> Request:
        """Put a write in the queue. Raises Unavailable when it is full or the writer has ended."""
        request = Request(work)
        try:
            self._send.send_nowait(request)
        except trio.WouldBlock:
            self.counts.refused += 1
            raise Unavailable("too many writes wait already") from None
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            raise Unavailable("the server is stopping") from None
        return request

    async def submit(self, work: Prepared | Work) -> Any:
        """Write and give the outcome. Raises what `Request.result` raises.

        Cancellation: the write is not taken back.
        """
        return await self.result(self.enqueue(work))

    async def result(self, request: Request) -> Any:
        """The outcome of a request in the queue. Raises as `Request.result` does."""
        try:
            return await request.result()
        except OutcomeUnknown:
            self.counts.unknown += 1
            raise

    def close(self) -> None:
        """Take no more; `run` returns when all that waits is written."""
        self._send.close()

    async def run(self) -> None:
        """Write until `close`. Raises CommitFailed, after which nothing more may be acknowledged."""
        try:
            async for first in self._receive:
                self._group = self._gather(first)
                await self._write(self._group)
        finally:
            self._abandon()

    def _gather(self, first: Request) -> list[Request]:
        group: list[Request] = []
        rows = 0
        request: Request | None = first
        while request is not None:
            if request.begin():
                group.append(request)
                rows += request.rows
            else:
                self.counts.refused += 1
            full = len(group) == GROUP_REQUESTS or rows >= GROUP_ROWS
            request = None if full else self._next()
        return group

    def _next(self) -> Request | None:
        try:
            return self._receive.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return None

    async def _write(self, group: Sequence[Request]) -> None:
        try:
            await self._commit(group)
        except OutcomeUnknown as error:
            _refuse(group, error)
            await self._resolve()
        except CommitFailed as error:
            _refuse(group, OutcomeUnknown(error.detail))
            raise
        except Exception as error:
            self.counts.failed_groups += 1
            if isinstance(error, StoreError) and not isinstance(error, StatementFailed):
                _refuse(group, error)
            else:
                await self._write_alone(group, error)

    async def _write_alone(self, group: Sequence[Request], error: Exception) -> None:
        """Find the request at fault; the others are written all the same."""
        if len(group) == 1:
            group[0].settle(error)
            return
        for request in group:
            request.phase = Phase.WAITING
        for request in group:
            if request.begin():
                self.counts.run_alone += 1
                await self._write([request])
            else:
                self.counts.refused += 1

    async def _commit(self, group: Sequence[Request]) -> None:
        if not group:
            return
        began = trio.current_time()
        work = partial(run_group, requests=[request.work for request in group], head=self.head)
        committed = await self._store.write(work)
        self.counts.committed(len(group), len(committed.entries), trio.current_time() - began)
        self._publish(committed)
        for request, outcome in zip(group, committed.outcomes, strict=True):
            request.settle(outcome)

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
                self._publish(committed)
                return

    def _publish(self, committed: Committed) -> None:
        self.head = committed.head
        if committed.entries:
            self.on_commit(committed.entries, withdrawn_in(committed.entries))

    def _abandon(self) -> None:
        """Nobody may wait for a writer that has ended."""
        left = list(self._group)
        while (request := self._next()) is not None:
            left.append(request)
        self._receive.close()
        _refuse([request for request in left if request.phase is not Phase.DONE], OutcomeUnknown())


def _refuse(group: Iterable[Request], error: StoreError) -> None:
    for request in group:
        request.settle(type(error)(error.detail))


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
