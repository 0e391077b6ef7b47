"""Deals end: a notification all of whose deals have ended is withdrawn, unless its user has read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Never

import trio

from notifyd.messages import NotificationUpdated, encode_json
from notifyd.store import endings
from notifyd.store.base import NewEntry
from notifyd.store.log import UPDATED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from notifyd.inbox import Inbox
    from notifyd.store.base import Store, Transaction

#: Seconds between looks at the clock, which may have been set.
LOOK_EVERY_S = 30.0


class Endings:
    """Withdraws notifications at the moment when their last deal ends, or at the start if that has passed."""

    def __init__(self, store: Store, inbox: Inbox, clock: Callable[[], int]) -> None:
        self._store = store
        self._inbox = inbox
        self._clock = clock
        self._woken = trio.Event()

    def wake(self) -> None:
        """There are new ends to wait for. Never waits."""
        self._woken.set()

    async def run(self) -> Never:
        """Withdraw as times pass, until cancelled. Raises StoreError; run again it goes on where it was."""
        while True:
            self._woken = trio.Event()
            next_ms = await self._store.read(endings.next_end)
            if next_ms is not None and next_ms <= self._clock():
                await self.withdraw()
                continue
            wait_s = LOOK_EVERY_S if next_ms is None else (next_ms - self._clock()) / 1000
            with trio.move_on_after(min(LOOK_EVERY_S, max(0.0, wait_s))):
                await self._woken.wait()

    async def withdraw(self) -> None:
        """Withdraw what has ended by now. Raises StoreError."""
        while await self._inbox.work(self._withdraw_some):
            pass

    def _withdraw_some(self, tx: Transaction) -> tuple[Sequence[NewEntry], bool]:
        withdrawn, more = endings.withdraw_ended(tx, self._clock())
        entries = [
            NewEntry(None, user_id, UPDATED, encode_json(NotificationUpdated("withdrawn", each)), tx.now_ms)
            for user_id, each in withdrawn.items()
        ]
        return entries, more
