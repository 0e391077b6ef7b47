"""The outbox's worker: claims messages in the order in which they are due, at most ten at once."""

from __future__ import annotations

from collections import Counter
from functools import partial
from random import random
from typing import TYPE_CHECKING, Final, Never

import structlog
import trio

from notifyd import preferences as wishes
from notifyd.errors import StoreError
from notifyd.mail import retrying
from notifyd.mail.carrying import Parcel, Permanent, Sent, Temporary
from notifyd.mail.policy import outlived
from notifyd.store import deliveries, outbox
from notifyd.store.deliveries import MAIL, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from notifyd.inbox import Inbox
    from notifyd.mail.carrying import Carrier, Outcome
    from notifyd.mail.policy import DropReason
    from notifyd.store.base import NewEntry, Store, Transaction
    from notifyd.store.outbox import Addressee, Claimed, Item, Status

    LeftOut = Sequence[tuple[int, DropReason]]  # by seq

log = structlog.get_logger("notifyd.mail")

#: Messages that are being carried at any time.
AT_ONCE: Final = 10
#: Seconds for one try, whatever it hangs in.
TRY_S: Final = 120.0
#: Seconds of a lease: a try and the note of what came of it fit in.
LEASE_S: Final = 150.0
#: Seconds between looks at the latest, since the clock may be set; and before another try at the store.
LOOK_EVERY_S: Final = 60.0
RETRY_S: Final = 0.25


class Sender:
    """Carries what is due. `carriers` are by kind of channel; `counts` by kind and what came of it."""

    def __init__(
        self,
        store: Store,
        inbox: Inbox,
        clock: Callable[[], int],
        carriers: Mapping[str, Carrier],
        *,
        chance: Callable[[], float] = random,
        lease_s: float = LEASE_S,
    ) -> None:
        self._store = store
        self._inbox = inbox
        self._clock = clock
        self._carriers = carriers
        self._chance = chance
        self._lease_ms = round(lease_s * 1000)
        self._woken = trio.Event()
        self.carrying = 0
        self.counts: Counter[tuple[str, str]] = Counter()

    def wake(self) -> None:
        """There may be something to carry. Never waits."""
        self._woken.set()

    async def run(self) -> Never:
        """Carry until cancelled; what was being carried then may be carried once more after a start."""
        async with trio.open_nursery() as nursery:
            while True:
                self._woken = trio.Event()
                try:
                    for message in await self._claim():
                        self.carrying += 1
                        nursery.start_soon(self._deal_with, message)
                    pause_s = await self._pause_s()
                except StoreError as error:
                    log.warning("outbox.unavailable", reason=error.detail)
                    pause_s = RETRY_S
                with trio.move_on_after(pause_s):
                    await self._woken.wait()

    async def _pause_s(self) -> float:
        """Until the next message can be claimed; when all hands are full, until one is free."""
        if self.carrying == AT_ONCE:
            return LOOK_EVERY_S
        next_ms = await self._store.read(outbox.next_due)
        if next_ms is None:
            return LOOK_EVERY_S
        return min(LOOK_EVERY_S, max(0.0, (next_ms - self._clock()) / 1000))

    async def _claim(self) -> Sequence[Claimed]:
        free, now_ms = AT_ONCE - self.carrying, self._clock()
        if free == 0 or not await self._store.read(partial(outbox.any_due, now_ms=now_ms)):
            return ()
        until_ms = now_ms + self._lease_ms
        return await self._inbox.work(lambda tx: ((), outbox.claim(tx, free, now_ms, until_ms)))

    async def _deal_with(self, message: Claimed) -> None:
        try:
            await self._carry(message)
        except StoreError as error:
            log.warning("outbox.unavailable", message=message.message_id, reason=error.detail)
        finally:
            self.carrying -= 1
            self.wake()

    async def _carry(self, message: Claimed) -> None:
        """Raises StoreError: the lease runs out, and then it is tried again."""
        kind = kind_of(message.channel)
        load = partial(outbox.content, message_id=message.message_id, user_id=message.user_id)
        whom, items = await self._store.read(load)
        reason, wanted, left_out = still_wanted(message, whom, items, self._clock())
        if reason is not None:
            await self._end(message, "dropped", reason, left_out)
            self.counts[kind, "dropped"] += 1
            return
        outcome: Outcome = Temporary(f"it took longer than {TRY_S:g} s")
        with trio.move_on_after(TRY_S):
            parcel = Parcel(message, whom, wanted)
            outcome = await self._try(self._carriers.get(kind), parcel)
        # No checkpoint from here to the writer's queue: what was taken over is noted even as we are stopped.
        await self._note(message, kind, outcome, left_out)

    async def _try(self, carrier: Carrier | None, parcel: Parcel) -> Outcome:
        if carrier is None:
            return Temporary("this server does not send by this channel now")
        try:
            return await carrier.carry(parcel)
        except Exception as fault:  # a defect in composing one message must not keep others from leaving
            log.error("outbox.fault", message=parcel.message.message_id, exc_info=fault)
            return Temporary(f"a defect: {type(fault).__name__}")

    async def _note(self, message: Claimed, kind: str, outcome: Outcome, left_out: LeftOut) -> None:
        match outcome:
            case Sent():
                self.counts[kind, "sent"] += 1
                await self._end(message, "sent", None, left_out)
                log.debug("outbox.sent", message=message.message_id, channel=kind, tries=message.tries)
            case Permanent(error, bounced):
                self.counts[kind, "dead"] += 1
                await self._end(message, "dead", error, bounced=bounced)
                log.warning("outbox.refused", message=message.message_id, channel=kind, reason=error)
            case Temporary(error):
                await self._try_again(message, kind, error)

    async def _try_again(self, message: Claimed, kind: str, error: str) -> None:
        now_ms = self._clock()
        next_ms = retrying.next_try_ms(message.tries, message.created_ms, now_ms, self._chance())
        told = {"message": message.message_id, "channel": kind, "tries": message.tries, "reason": error}
        if next_ms is None:
            self.counts[kind, "dead"] += 1
            log.warning("outbox.dead", **told)
            await self._end(message, "dead", error)
            return
        self.counts[kind, "retried"] += 1
        log.info("outbox.retry", **told)
        await self._write(lambda tx: outbox.retry_at(tx, message, error, next_ms), message)

    async def _end(
        self,
        message: Claimed,
        status: Status,
        error: str | None,
        left_out: LeftOut = (),
        bounced: str | None = None,
    ) -> None:
        def note(tx: Transaction) -> bool:
            if bounced is not None:
                outbox.bounced(tx, message.user_id, bounced)
            ours = outbox.end(tx, message, status, error, self._clock())
            if ours:
                deliveries.leave_out(tx, message.user_id, message.channel, left_out)
            return ours

        await self._write(note, message)

    async def _write(self, note: Callable[[Transaction], bool], message: Claimed) -> None:
        """Until it is written or the lease has ended, since then another may hold it."""

        def work(tx: Transaction) -> tuple[Sequence[NewEntry], bool]:
            return (), note(tx)

        while True:
            try:
                if not await self._inbox.work(work):
                    log.warning("outbox.late", message=message.message_id)
                return
            except StoreError:
                if self._clock() >= message.lease_ms:
                    raise
                await trio.sleep(RETRY_S)


def still_wanted(
    message: Claimed, whom: Addressee, items: Sequence[Item], now_ms: int
) -> tuple[DropReason | None, Sequence[Item], LeftOut]:
    """Why a message is not to be sent any more, or what of it is still to be told; and why not the rest."""
    preferences, is_mail = wishes.DEFAULT, message.channel == MAIL
    if is_mail:
        preferences = wishes.decode(whom.preferences)
        if whom.email is None:
            return "no_address", (), ()
        if whom.email == whom.bounced_email:
            return "bounced", (), ()
    judged = [
        (item, outlived(item.rank, item.expires_ms, preferences.policy_of(item.type), now_ms))
        for item in items
    ]
    wanted = [item for item, reason in judged if reason is None]
    left_out = [(item.seq, reason) for item, reason in judged if reason is not None]
    if wanted:
        return None, wanted, left_out
    return left_out[0][1] if left_out else "expired", (), left_out
