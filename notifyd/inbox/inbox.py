"""`Inbox`: the log as the rest of notifyd uses it."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Never, TypeVar

import trio

from notifyd.errors import BadRequest, HttpError, Unprocessable
from notifyd.inbox import marking, reading
from notifyd.inbox.answering import Answering
from notifyd.inbox.preparing import Slices, prepare
from notifyd.inbox.reading import Question
from notifyd.inbox.records import InboxDistributions, InboxStatistics, Listing, Receipt, Resumption
from notifyd.inbox.upkeep import Acks, Retention
from notifyd.inbox.writer import Writer
from notifyd.store import log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from notifyd.inbox.group import Claim, Deliver, Prepared
    from notifyd.inbox.records import Publication
    from notifyd.inbox.writer import OnCommit, Request
    from notifyd.messages import MarkState, State
    from notifyd.store.base import Entry, LogPage, NewEntry, Store, Transaction

T = TypeVar("T")

#: What one read of a reader that catches up fetches at most.
PAGE_BYTES = 256 * 1024
PAGE_ROWS = 500
#: Seconds that stopping waits for what is already in the queue.
DRAIN_S = 5.0


class Inbox:
    """The log: append, mark, read. Made by `open_inbox`, which owns the task that writes.

    Every write goes through that task; while one transaction syncs, what comes meanwhile gathers for the
    next. All writing methods raise `Unavailable` (nothing was written), `OutcomeUnknown` (perhaps it was),
    or `DiskFull`, and answer within 5 seconds. Cancellation: a write that was asked for is still done.
    """

    def __init__(
        self,
        store: Store,
        head: int,
        *,
        clock: Callable[[], int],
        on_commit: OnCommit,
        retention_ms: int,
        max_rows_per_user: int,
        queue_size: int,
        deliver: Deliver | None = None,
        draw: Callable[[int], str],
    ) -> None:
        self.epoch = store.epoch
        #: Called after each commit with its entries in the order of seq and the notification_ids that they
        #: withdraw; synchronous, in the writer's task, before anybody is answered. It must not raise.
        self.on_commit = on_commit
        self._store = store
        self._clock = clock
        self._draw = draw
        self._queue_size = queue_size
        self._floors: dict[str, int] = {}  # of users, above the floor of the window as it was filled
        self._writer = Writer(store, head, self._committed, queue_size, deliver)
        self._answering = Answering(head, trio.current_time())
        self._acks = Acks(self._writer.submit, clock, self._answering)
        self._retention = Retention(
            store, self._writer.submit, clock, retention_ms=retention_ms, max_rows=max_rows_per_user
        )

    @property
    def head(self) -> int:
        """The last committed seq; `on_commit` has been called for it."""
        return self._writer.head

    @property
    def failed(self) -> bool:
        """Whether a COMMIT has failed, so that nothing is written any more."""
        return self._writer.failed is not None

    # --- writing ------------------------------------------------------------------------------------

    async def append(self, publication: Publication) -> Receipt:
        """Store one publication durably, for each of its users. Raises Unprocessable, IdempotencyConflict."""
        prepared = await prepare(publication, self._clock(), Slices(), self._draw)
        receipt: Receipt = await self._writer.submit(prepared)
        return receipt

    async def append_many(self, publications: Iterable[Publication]) -> list[Receipt | HttpError]:
        """Store many, each succeeding or failing alone; what they get, in their order."""
        slices = Slices()
        prepared = [await self._prepared(publication, slices) for publication in publications]
        requests = [self._enqueued(each) for each in prepared]
        return [
            request if isinstance(request, HttpError) else await _settled(request) for request in requests
        ]

    async def append_claimed(
        self, claimed: Iterable[tuple[Publication, Claim]]
    ) -> list[Receipt | HttpError | None]:
        """As `append_many`, each if its claim holds in the transaction that stores it; else None."""
        slices = Slices()
        prepared = [(await self._prepared(each, slices), claim) for each, claim in claimed]
        requests = [
            self._enqueued(each if isinstance(each, HttpError) else replace(each, claim=claim))
            for each, claim in prepared
        ]
        return [each if isinstance(each, HttpError) else await _settled(each) for each in requests]

    async def work(self, fn: Callable[[Transaction], tuple[Sequence[NewEntry], T]]) -> T:
        """Run `fn` in a writing transaction and append the entries that it gives; all of it or nothing.

        `fn` runs in a thread, beside others in one transaction, and perhaps twice: when the group fails, it
        is rolled back and each member runs alone. Raises what `fn` raises.
        """
        result: T = await self._writer.submit(fn)
        return result

    async def mark(
        self,
        user_id: str,
        state: MarkState,
        *,
        notification_ids: Sequence[str] | None = None,
        up_to: int | None = None,
    ) -> None:
        """Raise the state of the named notifications, or of all up to a seq; tell the user's connections.

        A state never falls. Raises NotFound, with nothing changed, when an id is not this user's.
        """
        if (notification_ids is None) == (up_to is None):
            raise Unprocessable("give either notification_ids or up_to")
        newcomer = self._appeared(user_id)
        if notification_ids is not None:
            work = marking.mark_each(user_id, state, notification_ids, newcomer=newcomer)
        else:
            assert up_to is not None
            work = marking.mark_up_to(user_id, state, up_to, epoch=self.epoch, newcomer=newcomer)
        await self._writer.submit(work)

    async def withdraw(self, notification_id: str) -> None:
        """Take a notification back from everybody who has it. Raises NotFound."""
        await self._writer.submit(marking.withdraw(notification_id))

    def ack(self, user_id: str, connection_id: str, seq: int, *, prompt: bool = False) -> None:
        """Note that a connection has received everything up to `seq`; written within about a second.

        `prompt`: the client said so of itself, so that its delay tells something.
        """
        self._acks.ack(user_id, connection_id, min(seq, self.head), prompt=prompt)

    def waiting_ack(self, user_id: str) -> int:
        """The seq up to which a user's connections have acknowledged what is not yet written; 0: nothing.

        Ask before reading the store: what is written meanwhile is then in the snapshot.
        """
        return self._acks.waiting(user_id)

    def appeared(self, user_id: str) -> None:
        """Note that this user is here: announcements until now are not news to a newcomer."""
        self._appeared(user_id)

    def forget(self, user_id: str) -> None:
        """Drop what waits to be written of a user who is being erased; see `erasing.erase_user`."""
        self._acks.forget(user_id)

    # --- reading ------------------------------------------------------------------------------------

    async def resume(
        self, user_id: str, cursor: str | None, *, window_floor: int, limit_bytes: int = PAGE_BYTES
    ) -> Resumption:
        """Where a stream of this user starts. Raises Unavailable.

        Everything after `window_floor` is in memory, but what was gone when `newest` was read: a cursor from
        there on needs no look at the store. For one below it the same look gives the first page.
        """
        self._appeared(user_id)
        proven = reading.prove(cursor, self.epoch, self.head)
        if isinstance(proven, str):
            return Resumption(self.head, recovered=False, reason=proven)
        if proven.seq < max(window_floor, self._floors.get(user_id, 0)):
            page = await self.page(user_id, proven.seq, limit_bytes=limit_bytes)
            if page.trimmed:
                return Resumption(self.head, recovered=False, reason="trimmed")
            return Resumption(proven.seq, recovered=True, reason=None, page=page)
        return Resumption(proven.seq, recovered=True, reason=None)

    async def page(
        self, user_id: str, after: int, *, limit_bytes: int = PAGE_BYTES, limit_rows: int = PAGE_ROWS
    ) -> LogPage:
        """What the user is to be sent after a seq, as it was written; for catching up. Raises Unavailable."""
        return await self._store.read(
            partial(log.page, user_id=user_id, after=after, limit_rows=limit_rows, limit_bytes=limit_bytes)
        )

    async def list(
        self,
        user_id: str,
        *,
        since: str | None,
        before: str | None,
        limit: int,
        state: State | None,
        met: bool = True,
    ) -> Listing:
        """A page of the user's notifications in their current state. Raises Unavailable, BadRequest.

        `since` goes forward from a cursor, `before` backward; without either it is the newest, newest first.
        `met`: it is the user who looks, and who therefore is no newcomer any more.
        """
        if since is not None and before is not None:
            raise BadRequest("since and before exclude each other")
        newcomer = self._appeared(user_id) if met else self.head
        asked = Question(user_id, self.epoch, newcomer, since, before, limit, state)
        return await self._store.read(partial(reading.answer, asked=asked))

    async def newest(self, limit_rows: int, limit_bytes: int) -> tuple[Sequence[Entry], int]:
        """The newest entries, oldest first, to fill a window at start; none above the floor is missing.

        Users of whom some are missing, since they were trimmed or erased, are remembered for `resume`.
        """
        look = partial(log.newest, limit_rows=limit_rows, limit_bytes=limit_bytes)
        entries, floor, self._floors = await self._store.read(look)
        return entries, floor

    # --- jobs ---------------------------------------------------------------------------------------

    async def run_acks(self) -> Never:
        """Write acknowledgements and first appearances once a second, until cancelled."""
        await self._acks.run()

    async def run_retention(self) -> Never:
        """Trim the log once a minute, until cancelled."""
        await self._retention.run()

    async def trim(self) -> None:
        """Do now what `run_retention` does once a minute. Raises StoreError; what is gone stays gone."""
        await self._retention.trim()

    def statistics(self) -> InboxStatistics:
        """Counts since the start."""
        counts = self._writer.counts
        return InboxStatistics(
            head=self.head,
            queued=self._writer.queued,
            queue_size=self._queue_size,
            commits=counts.commits,
            rows=counts.rows,
            publications=counts.publications,
            largest_group=round(counts.group_sizes.largest),
            last_commit_ms=counts.last_commit_s * 1000,
            slowest_commit_ms=counts.commit_s.largest * 1000,
            run_alone=counts.run_alone,
            refused=counts.refused,
            unknown=counts.unknown,
            failed_groups=counts.failed_groups,
            pending_acks=len(self._acks),
            trimmed=self._retention.trimmed,
        )

    def distributions(self) -> InboxDistributions:
        """What `statistics` cannot say in one number; live objects, to be read."""
        counts = self._writer.counts
        return InboxDistributions(counts.commit_s, counts.group_sizes, self._answering.seconds)

    # --- the rest -----------------------------------------------------------------------------------

    def _appeared(self, user_id: str) -> int:
        return self._acks.appeared(user_id, self.head)

    def _committed(self, entries: Sequence[Entry], withdrawn: frozenset[str]) -> None:
        self._retention.note(entries)
        self._answering.committed(self.head, trio.current_time())
        self.on_commit(entries, withdrawn)

    async def _prepared(self, publication: Publication, slices: Slices) -> Prepared | HttpError:
        try:
            return await prepare(publication, self._clock(), slices, self._draw)
        except HttpError as error:
            return error

    def _enqueued(self, prepared: Prepared | HttpError) -> Request | HttpError:
        try:
            return prepared if isinstance(prepared, HttpError) else self._writer.enqueue(prepared)
        except HttpError as error:
            return error

    async def _run(self, stopped: trio.CancelScope) -> None:
        with stopped:
            await self._writer.run()

    async def _watch_store(self, watching: trio.CancelScope) -> None:
        with watching:
            await self._writer.watch_store()

    async def _close(self, stopped: trio.CancelScope) -> None:
        """Write what waits, for at most DRAIN_S seconds, whether or not we are being cancelled."""
        stopped.deadline = trio.current_time() + DRAIN_S
        with trio.CancelScope(deadline=stopped.deadline, shield=True):
            await self._acks.flush()
        self._writer.close()


async def _settled(request: Request) -> Receipt | HttpError:
    try:
        receipt: Receipt = await request.result()
    except HttpError as error:
        return error
    return receipt


def _ignore(_entries: Sequence[Entry], _withdrawn: frozenset[str]) -> None:
    """Nobody listens yet."""


@asynccontextmanager
async def open_inbox(
    store: Store,
    *,
    clock: Callable[[], int],
    on_commit: OnCommit = _ignore,
    retention_ms: int,
    max_rows_per_user: int,
    queue_size: int = 10_000,
    deliver: Deliver | None = None,
    draw: Callable[[int], str] = secrets.token_hex,
) -> AsyncIterator[Inbox]:
    """The inbox, with its writer running. `clock` gives milliseconds since 1970, `draw` as many
    random bytes as are asked for, as text.

    `deliver` joins each transaction that appends, in the store's thread.

    Raises CommitFailed (in a group, and cancelling the body) when the database may have lost what it
    acknowledged. On the way out it writes what is still in the queue, for at most 5 seconds.
    """
    head = await store.read(log.head)
    inbox = Inbox(
        store,
        head,
        clock=clock,
        on_commit=on_commit,
        retention_ms=retention_ms,
        max_rows_per_user=max_rows_per_user,
        queue_size=queue_size,
        deliver=deliver,
        draw=draw,
    )
    async with trio.open_nursery() as nursery:
        stopped = trio.CancelScope(shield=True)  # _close gives it its deadline
        nursery.start_soon(inbox._run, stopped)
        nursery.start_soon(inbox._writer.watch)
        watching = trio.CancelScope()
        nursery.start_soon(inbox._watch_store, watching)
        try:
            yield inbox
        finally:
            watching.cancel()
            await inbox._close(stopped)
