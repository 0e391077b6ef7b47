"""What is written now and then, awaited by nobody: acknowledgements, first appearances, retention."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Never

import trio

from notifyd.errors import StoreError
from notifyd.store import deliveries, erase, ledger, outbox, retention, users
from notifyd.store.users import Acknowledged

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from notifyd.inbox.answering import Answering
    from notifyd.inbox.group import Work
    from notifyd.store.base import Entry, NewEntry, Store, Transaction

    Submit = Callable[[Work], Awaitable[Any]]

#: Seconds between writes of what users acknowledged.
ACK_EVERY_S = 1.0
#: Users in one transaction.
ACK_USERS = 1000
#: How many users are remembered as known to the store; forgetting one costs one more row written.
MET_USERS = 100_000


class Acks:
    """Newest acknowledgement of each user, and users met for the first time, until they are written."""

    def __init__(self, submit: Submit, clock: Callable[[], int], answering: Answering) -> None:
        self._submit = submit
        self._clock = clock
        self._answering = answering
        self._acks: dict[str, Acknowledged] = {}
        self._newcomers: dict[str, int] = {}
        self._met: set[str] = set()

    def __len__(self) -> int:
        return len(self._acks) + len(self._newcomers)

    def ack(self, user_id: str, connection_id: str, seq: int, *, prompt: bool) -> None:
        """Note that a connection has received everything up to `seq`."""
        if prompt:
            self._answering.confirmed(user_id, seq, trio.current_time())
        known = self._acks.get(user_id)
        if known is None or known.seq < seq:
            self._acks[user_id] = Acknowledged(seq, connection_id, self._clock())

    def waiting(self, user_id: str) -> int:
        """The acknowledged seq of this user that waits to be written; 0 when none does."""
        known = self._acks.get(user_id)
        return 0 if known is None else known.seq

    def appeared(self, user_id: str, head: int) -> int:
        """Where the log stood when the user was first met, unless the store knows better."""
        return head if user_id in self._met else self._newcomers.setdefault(user_id, head)

    def forget(self, user_id: str) -> None:
        """What waits of this user is not to be written, and the user is to be met anew."""
        self._acks.pop(user_id, None)
        self._newcomers.pop(user_id, None)
        self._met.discard(user_id)

    async def run(self) -> Never:
        """Write once a second. What the store refuses is tried again."""
        while True:
            await trio.sleep(ACK_EVERY_S)
            await self.flush()

    async def flush(self) -> None:
        """Write all that waits now; what the store refuses stays for the next time."""
        self._answering.flush()
        for _ in range(0, max(len(self._acks), len(self._newcomers)), ACK_USERS):
            newcomers = dict(islice(self._newcomers.items(), ACK_USERS))
            acks = dict(islice(self._acks.items(), ACK_USERS))

            def work(
                tx: Transaction,
                newcomers: dict[str, int] = newcomers,
                acks: dict[str, Acknowledged] = acks,
            ) -> tuple[Sequence[NewEntry], None]:
                users.appeared(tx, newcomers)
                users.acknowledge(tx, acks)
                return (), None

            try:
                await self._submit(work)
            except StoreError:
                return
            self._written(newcomers, acks)

    def _written(self, newcomers: dict[str, int], acks: dict[str, Acknowledged]) -> None:
        if len(self._met) > MET_USERS:
            self._met.clear()
        for user_id in newcomers:
            if self._newcomers.pop(user_id, None) is not None:
                self._met.add(user_id)
        for user_id, ack in acks.items():
            if self._acks.get(user_id) is ack:
                del self._acks[user_id]


#: Seconds between looks at what is too old or too much, and between two transactions that delete.
TRIM_EVERY_S = 60.0
TRIM_PAUSE_S = 0.05
#: Users looked at in one read.
LOOK_USERS = 50


class Retention:
    """Deletes what is older than `retention_ms` and a user's own rows beyond `max_rows`."""

    def __init__(
        self, store: Store, submit: Submit, clock: Callable[[], int], *, retention_ms: int, max_rows: int
    ) -> None:
        self.trimmed = 0
        self._store = store
        self._submit = submit
        self._clock = clock
        self._retention_ms = retention_ms
        self._max_rows = max_rows
        self._grown: set[str] = set()
        self._all_seen = False

    def note(self, entries: Iterable[Entry]) -> None:
        """These were appended: their users may have too many now."""
        self._grown.update(entry.user_id for entry in entries if entry.user_id is not None)

    async def run(self) -> Never:
        """Trim once a minute, in transactions of at most 500 rows. What the store refuses waits."""
        while True:
            await trio.sleep(TRIM_EVERY_S)
            try:
                await self.trim()
            except StoreError:
                continue

    async def trim(self) -> None:
        """Delete all that is due now. Raises StoreError; what was deleted until then stays deleted."""
        before = self._clock() - self._retention_ms
        await self._repeat(partial(retention.drop_oldest, before_ms=before))
        await self._repeat(retention.forget_answers)
        await self._repeat(retention.forget_singles)
        await self._repeat(erase.forget_erased)
        await self._repeat(partial(ledger.forget_connections, before_ms=before))
        await self._repeat(partial(ledger.forget_dispatches, before_ms=before))
        await self._repeat(partial(deliveries.forget, limit=retention.BATCH))
        await self._repeat(partial(outbox.forget, before_ms=before, limit=retention.BATCH))
        if not self._all_seen:
            await self._note_everyone()
        while self._grown:
            some = set(islice(self._grown, LOOK_USERS))
            await self._trim_users(some)
            self._grown -= some

    async def _note_everyone(self) -> None:
        """Once after a start: whose rows grew before it is not known."""
        last = ""
        while names := await self._store.read(partial(retention.users_after, after=last, limit=LOOK_USERS)):
            self._grown.update(names)
            last = names[-1]
        self._all_seen = True

    async def _trim_users(self, some: set[str]) -> None:
        look = partial(retention.over_limit, user_ids=some, keep=self._max_rows)
        for user_id, cut in (await self._store.read(look)).items():
            await self._repeat(partial(retention.drop_own, user_id=user_id, up_to=cut))

    async def _repeat(self, drop: Callable[[Transaction], int]) -> None:
        while True:
            dropped = await self._submit(lambda tx: ((), drop(tx)))
            self.trimmed += dropped
            if dropped < retention.BATCH:
                return
            await trio.sleep(TRIM_PAUSE_S)
