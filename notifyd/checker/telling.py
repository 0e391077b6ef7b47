"""From alerts to notifications: the evidence in each deal, and one notification a user and run."""

from __future__ import annotations

from collections import defaultdict
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from msgspec import UNSET

from notifyd.checker.rules import BEST_WINDOW_MS
from notifyd.messages import (
    MAX_DEALS_PER_MESSAGE,
    Deal,
    DealNotification,
    deals_message,
    encode_json,
    iso,
)
from notifyd.store import evidence
from notifyd.store.base import NewEntry
from notifyd.store.evidence import Compared, ComparedStore, Told
from notifyd.store.json_rows import records
from notifyd.store.watch_rules import decode_store_id, decode_stores

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from notifyd.checker.matching import Alert
    from notifyd.clock import Pace
    from notifyd.store.base import Store, Transaction

#: Ends further away than this are not waited for: retention is sooner.
LATEST_END_MS = 366 * 86_400_000
#: Prices whose evidence is read at a time.
PORTION = 500


class Evidence:
    """What the store knows of the prices that fired."""

    def __init__(self) -> None:
        self._told: dict[int, Told] = {}
        self._compared: dict[int, int] = {}
        self._stores: dict[int, set[str]] = defaultdict(set)

    async def read(self, store: Store, alerts: Iterable[Alert], pace: Pace) -> None:
        """Fetch what the deals of `alerts` say beside their prices. Raises Unavailable."""
        everywhere: dict[int, int] = {}
        in_some_stores: dict[int, int] = {}
        for alert in alerts:
            await pace.breathe()
            since_ms = alert.moment.observed_ms - BEST_WINDOW_MS
            everywhere[alert.moment.price_id] = since_ms
            if alert.watch.stores is not None:
                in_some_stores[alert.moment.price_id] = since_ms
        for keys in _portions(everywhere):
            await self._read_prices(store, keys)
            await pace.breathe()
        for keys in _portions(in_some_stores):
            await self._read_stores(store, keys)
            await pace.breathe()

    async def _read_prices(self, store: Store, keys: str) -> None:
        def read(tx: Transaction) -> tuple[bytes, bytes]:
            return evidence.told(tx, keys), evidence.compared(tx, keys)

        told, compared = await store.read(read)
        self._told.update((each.price_id, each) for each in records(told, Told))
        self._compared.update(records(compared, Compared))

    async def _read_stores(self, store: Store, keys: str) -> None:
        for each in records(await store.read(lambda tx: evidence.compared_stores(tx, keys)), ComparedStore):
            self._stores[each.price_id].add(each.store_id)

    def deal(self, alert: Alert) -> Deal:
        """The deal of an alert whose evidence was read."""
        moment, series, told = alert.moment, alert.series, self._told[alert.moment.price_id]
        baseline, baseline_price = moment.compared_by(alert.rule)
        return Deal(
            item_name=told.item_name,
            best_price_in_cents=moment.price,
            store_name=told.store_name,
            store_id=decode_store_id(series.store_id),
            item_id=series.item_id,
            currency=series.currency,
            old_price_in_cents=moment.previous,
            baseline=baseline,
            baseline_price_in_cents=baseline_price,
            rank_in_history=told.rank,
            stores_compared=self._compared_with(alert),
            observed_at=iso(moment.observed_ms),
            valid_until=None if told.valid_until_ms is None else iso(told.valid_until_ms),
            url=told.url,
            image_url=told.image_url,
            watch_id=alert.watch.watch_id,
        )

    def _compared_with(self, alert: Alert) -> int:
        wanted = decode_stores(alert.watch.stores)
        if wanted is None:
            return self._compared[alert.moment.price_id]
        return len(self._stores[alert.moment.price_id] & wanted)


def _portions(times: dict[int, int]) -> Iterator[str]:
    keys = list(times.items())
    for start in range(0, len(keys), PORTION):
        yield encode_json(keys[start : start + PORTION]).decode()


async def by_user(alerts: Iterable[Alert], now_ms: int, pace: Pace) -> dict[str, list[Alert]]:
    """The alerts of each user in the order of their prices; of a price that fires several watches, one.

    A deal that has ended before it could be told is none.
    """
    told: dict[str, dict[int, Alert]] = defaultdict(dict)
    for alert in alerts:
        await pace.breathe()
        if _has_ended(alert, now_ms):
            continue
        of_user, price_id = told[alert.watch.user_id], alert.moment.price_id
        first = of_user.setdefault(price_id, alert)
        if alert.watch.watch_key < first.watch.watch_key:
            of_user[price_id] = alert
    return {user_id: [each[price_id] for price_id in sorted(each)] for user_id, each in told.items()}


class Telling(NamedTuple):
    """What a run tells: its notifications, and when the last deal of one ends, where all of them do."""

    entries: list[NewEntry]
    ends: list[tuple[str, int]]  # notification_id, milliseconds since 1970


async def notifications(store: Store, alerts: Sequence[Alert], now_ms: int, pace: Pace) -> Telling:
    """One deal-notification for each user in `alerts`, without what has ended. Raises Unavailable."""
    telling = Telling([], [])
    users = await by_user(alerts, now_ms, pace)
    if not users:
        return telling
    evidence = Evidence()
    shown = {user_id: each[:MAX_DEALS_PER_MESSAGE] for user_id, each in users.items()}
    await evidence.read(store, chain.from_iterable(shown.values()), pace)
    for user_id, each in shown.items():
        await pace.breathe()
        deals = [evidence.deal(alert) for alert in each]
        entry = _entry(user_id, deals, len(users[user_id]), now_ms)
        telling.entries.append(entry)
        end_ms = _last_end(users[user_id])
        if end_ms is not None and end_ms <= now_ms + LATEST_END_MS:
            telling.ends.append((str(entry.notification_id), end_ms))
    return telling


def _has_ended(alert: Alert, now_ms: int) -> bool:
    return alert.moment.valid_until_ms is not None and alert.moment.valid_until_ms <= now_ms


def _last_end(alerts: Iterable[Alert]) -> int | None:
    """When the last of the deals ends; None when one of them does not."""
    ends = [alert.moment.valid_until_ms for alert in alerts]
    known = [end for end in ends if end is not None]
    return max(known) if len(known) == len(ends) else None


def _entry(user_id: str, deals: list[Deal], total: int, now_ms: int) -> NewEntry:
    notification_id = str(uuid4())
    data = DealNotification(
        notification_id=notification_id,
        deals=deals,
        user_id=user_id,
        message=deals_message(total),
        more_deals=total - len(deals) or UNSET,
    )
    return NewEntry(notification_id, user_id, "deal-notification", encode_json(data), now_ms)
