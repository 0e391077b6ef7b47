"""Deciding on deliveries as they come due: wait on, leave it, or put it into the outbox."""

from __future__ import annotations

from datetime import UTC, tzinfo
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Never, cast
from zoneinfo import ZoneInfo

import msgspec
import trio

from notifyd import preferences as wishes
from notifyd.clock import Pace
from notifyd.errors import StoreError
from notifyd.inbox.preparing import new_notification_id
from notifyd.mail import policy
from notifyd.mail.policy import Drop, Facts, Send, Wait
from notifyd.store import deliveries
from notifyd.store.deliveries import MAIL, WEBHOOK, Decided, NewMessage, Pending
from notifyd.store.outbox import MAX_ITEMS
from notifyd.store.users import Marks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from notifyd.inbox import Inbox
    from notifyd.mail.policy import Decision
    from notifyd.preferences import Preferences
    from notifyd.store.base import NewEntry, Store, Transaction

#: Seconds in which what is committed gathers before it is looked at; and before another try after a failure.
GATHER_S = 1.0
#: Seconds between looks at the latest, since the clock may have been set.
LOOK_EVERY_S = 60.0


class Planner:
    """Looks at due deliveries, all of a user's at a time, so that one mail tells all that is to be told."""

    def __init__(
        self,
        store: Store,
        inbox: Inbox,
        clock: Callable[[], int],
        *,
        grace_ms: int,
        is_every: Callable[[str], bool],
        on_messages: Callable[[], None],
        draw: Callable[[int], str],
    ) -> None:
        self._store = store
        self._inbox = inbox
        self._clock = clock
        self._grace_ms = grace_ms
        self._is_every = is_every  # whether the webhook of a publisher is told everything
        self._on_messages = on_messages
        self._draw = draw
        self._woken = trio.Event()

    def wake(self) -> None:
        """There may be new deliveries, or others are due. Never waits."""
        self._woken.set()

    async def run(self) -> Never:
        """Decide as moments come, until cancelled. What the store refuses is tried again."""
        while True:
            self._woken = trio.Event()
            try:
                while await self.look():
                    pass
                pause_s = await self._pause_s()
            except StoreError:
                await trio.sleep(GATHER_S)
                continue
            with trio.move_on_after(pause_s):
                await self._woken.wait()
                await trio.sleep(GATHER_S)

    async def look(self) -> bool:
        """Deal with some of what is due; False when nothing was. Raises StoreError: nothing was changed.

        An acknowledgement that has come before this look began is known to it, also one that has not been
        written yet.
        """
        spread = await self._spread()
        now_ms = self._clock()
        users = await self._store.read(partial(deliveries.due_users, now_ms=now_ms))
        if not users:
            return spread
        waiting = {user_id: self._inbox.waiting_ack(user_id) for user_id in users}
        found, texts = await self._store.read(partial(deliveries.pending, user_ids=users, now_ms=now_ms))
        plan = _Plan(now_ms, self._draw)
        critical = {seq for seq, data in texts.items() if _is_critical(data)}
        pace = Pace()
        for each in found:
            await pace.breathe()
            plan.add(each, self._decide(each, waiting, each.seq in critical, now_ms))
        await self._inbox.work(plan)
        if plan.messages:
            self._on_messages()
        return True

    async def _spread(self) -> bool:
        if not await self._store.read(deliveries.any_announcement):
            return False
        return await self._inbox.work(lambda tx: ((), deliveries.spread(tx)))

    async def _pause_s(self) -> float:
        next_ms = await self._store.read(deliveries.next_due)
        if next_ms is None:
            return LOOK_EVERY_S
        return min(LOOK_EVERY_S, max(0.0, (next_ms - self._clock()) / 1000))

    def _decide(self, each: Pending, waiting: Mapping[str, int], critical: bool, now_ms: int) -> Decision:
        if each.type is None or each.created_ms is None or each.state is None:
            return Drop("expired")
        preferences = _preferences(bytes(each.preferences))
        policy_ = preferences.policy_of(each.type)
        if each.channel == MAIL:
            if each.email is None:
                return Drop("no_address")
            if each.bounced_email == each.email:
                return Drop("bounced")
        else:
            every = self._is_every(each.channel.removeprefix(WEBHOOK))
            preferences, policy_ = wishes.DEFAULT, "always" if every else "offline"
        facts = Facts(
            created_ms=each.created_ms,
            expires_ms=each.expires_ms,
            waits_for=cast("Any", each.waits_for),
            acknowledged=max(each.ack_seq or 0, waiting.get(each.user_id, 0)) >= each.seq,
            rank=_rank(each),
            critical=critical,
            policy=policy_,
        )
        zone = zone_of(each.time_zone)
        return policy.decide(facts, preferences, zone, now_ms=now_ms, grace_ms=self._grace_ms)


class _Plan:
    """What a look has decided, for one transaction; a user gets one mail, or more if it were too long."""

    def __init__(self, now_ms: int, draw: Callable[[int], str]) -> None:
        self._now_ms = now_ms
        self._draw = draw
        self._decided: list[Decided] = []
        self._begun: dict[tuple[str, str], tuple[NewMessage, int]] = {}  # with how many it tells of
        self.messages: list[NewMessage] = []

    def add(self, each: Pending, decision: Decision) -> None:
        key = (each.user_id, each.seq, each.channel, each.due_ms)
        match decision:
            case Wait(until_ms, waits_for):
                self._decided.append(Decided(*key, until_ms, waits_for, None, None))
            case Drop(reason):
                self._decided.append(Decided(*key, None, None, reason, None))
            case Send():
                message = self._message(each)
                self._decided.append(Decided(*key, None, None, None, message.message_id))

    def _message(self, each: Pending) -> NewMessage:
        # A webhook is called once for each notification: whoever reads it wants no list.
        of = each.channel if each.channel == MAIL else f"{each.channel}/{each.seq}"
        message, count = self._begun.get((each.user_id, of), (None, 0))
        if message is None or count == MAX_ITEMS:
            name = new_notification_id(self._now_ms, self._draw)  # for ever, on every try
            message, count = NewMessage(name, each.channel, each.user_id), 0
            self.messages.append(message)
        self._begun[each.user_id, of] = message, count + 1
        return message

    def __call__(self, tx: Transaction) -> tuple[Sequence[NewEntry], None]:
        deliveries.settle(tx, self._decided, self.messages, self._now_ms)
        return (), None


def _rank(each: Pending) -> int:
    marks = Marks(0, each.seen_seq or 0, each.read_seq or 0, each.archived_seq or 0)
    # That an announcement is older than the user's first visit makes it listed as seen; nobody has seen it.
    by_marks = marks.rank(each.seq, everyone=False)
    return max(each.state or 0, each.single or 0, by_marks)


def _is_critical(data: bytes) -> bool:
    return _critical_decoder.decode(data).critical


class _Critical(msgspec.Struct):
    critical: bool = False


_critical_decoder = msgspec.json.Decoder(_Critical)


@lru_cache(256)
def _preferences(data: bytes) -> Preferences:
    return wishes.DEFAULT if data == b"null" else wishes.decode(data)


@lru_cache(1024)
def zone_of(name: str | None) -> tzinfo:
    """The user's time zone; UTC when none is known, or none of this name any more."""
    try:
        return UTC if name is None else ZoneInfo(name)
    except (OSError, ValueError):
        return UTC
