"""A notification of our own that takes the whole way every few seconds, and is missed before any other is.

It is appended, committed with an fsync, put into the window, dispatched and received by a subscription in
this process. Its user is one whom no token can name, so nobody ever sees it. Its rows are deleted soon,
without raising a floor: nobody resumes as this user.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Never

import structlog
import trio

from notifyd.broker.subscriptions import open_subscription
from notifyd.errors import StoreError
from notifyd.inbox import Publication
from notifyd.messages import Cursor, custom
from notifyd.meters import WRITING_S, Histogram
from notifyd.store import retention

if TYPE_CHECKING:
    from notifyd.broker.memory import Broker
    from notifyd.broker.subscriptions import Subscription
    from notifyd.inbox import Inbox

#: U+007F is not printable, so no token, ticket or request can name this user.
CANARY_USER: Final = "\x7fcanary"
#: Seconds without its return after which the server says that it is not ready.
LATE_S: Final = 10.0
#: Seconds between tries while it does not return.
RETRY_S: Final = 1.0
#: Returns after which its rows are deleted.
TRIM_EVERY: Final = 8

log = structlog.get_logger("notifyd.vitals")


class Canary:
    """Sends itself every `every_s` seconds. `run` is a job; `late` is what readiness asks."""

    def __init__(self, inbox: Inbox, broker: Broker, every_s: float) -> None:
        #: Seconds from asking for the append until the message was received.
        self.round_trip = Histogram(WRITING_S)
        self.failures = 0
        self._inbox = inbox
        self._broker = broker
        self._every_s = every_s
        self._waiting_since: float | None = None
        self._fault = ""
        self._told = False
        self._untrimmed = TRIM_EVERY  # what an earlier process left goes with the first return

    async def run(self) -> Never:
        """Send until cancelled."""
        while True:
            await trio.sleep(self._every_s if self._waiting_since is None else RETRY_S)
            await self._try()

    def waiting_s(self) -> float:
        """Seconds since the first try that has not returned; 0 when the last one has."""
        return 0.0 if self._waiting_since is None else trio.current_time() - self._waiting_since

    def late(self) -> str | None:
        """Why the server is not ready, if it has not returned in time."""
        waiting_s = self.waiting_s()
        if waiting_s < LATE_S:
            return None
        because = f" ({self._fault})" if self._fault else ""
        return f"the canary has not come back for {waiting_s:.0f} s{because}"

    async def _try(self) -> None:
        began = trio.current_time()
        if self._waiting_since is None:
            self._waiting_since = began
        try:
            with trio.fail_after(LATE_S):
                seq = await self._fly()
        except StoreError as fault:
            self._failed(fault.slug)
        except (trio.TooSlowError, trio.BrokenResourceError):
            self._failed("it did not arrive")
        else:
            self._returned(trio.current_time() - began)
            await self._clean_up(seq)

    async def _fly(self) -> int:
        async with open_subscription(
            self._broker,
            CANARY_USER,
            position=self._broker.window.head,
            read_page=self._inbox.page,
            hidden=True,
        ) as subscription:
            subscription.begin()
            publication = Publication(custom("x-canary", {}), (CANARY_USER,), "canary")
            receipt = await self._inbox.append(publication)
            await _receive(subscription, str(Cursor(self._inbox.epoch, receipt.seq)))
        return receipt.seq

    def _failed(self, fault: str) -> None:
        self.failures += 1
        self._fault = fault
        if self.late() is not None and not self._told:
            self._told = True
            log.warning("canary.late", seconds=round(self.waiting_s(), 1), reason=fault)

    def _returned(self, seconds: float) -> None:
        self.round_trip.observe(seconds)
        if self._told:
            log.warning("canary.back", after_s=round(self.waiting_s(), 1))
        self._waiting_since = None
        self._told = False
        self._fault = ""

    async def _clean_up(self, seq: int) -> None:
        self._broker.window.forget(CANARY_USER)
        self._untrimmed += 1
        if self._untrimmed < TRIM_EVERY:
            return
        drop = partial(retention.drop_without_floor, user_id=CANARY_USER, up_to=seq)
        try:
            await self._inbox.work(lambda tx: ((), drop(tx)))
        except StoreError:
            return  # with the next return, then
        self._untrimmed = 0


async def _receive(subscription: Subscription, cursor: str) -> None:
    """Wait for the entry with this cursor; announcements and stragglers pass by."""
    while (await subscription.receive()).id != cursor:
        pass
