"""From alerts to notifications: the evidence in each deal, and one notification a user and run."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING
from uuid import uuid4

from msgspec import UNSET

from notifyd.messages import (
    MAX_DEALS_PER_MESSAGE,
    Deal,
    DealNotification,
    deals_message,
    encode_json,
    iso,
)
from notifyd.store import history
from notifyd.store.base import NewEntry
from notifyd.store.history import Compared, Told
from notifyd.store.json_rows import records
from notifyd.store.watch_rules import TargetPrice, decode_store_id, decode_stores

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from notifyd.checker.matching import Alert
    from notifyd.clock import Pace
    from notifyd.store.base import Store, Transaction

#: A store counts as compared when it has had a price within this time.
COMPARED_MS = 14 * 86_400_000
#: Prices whose evidence is read at a time.
PORTION = 500


class Evidence:
    """What the store knows of the prices that fired."""

    def __init__(self) -> None:
        self._told: dict[int, Told] = {}
        self._stores: dict[int, set[str]] = defaultdict(set)

    async def read(self, store: Store, alerts: Sequence[Alert], pace: Pace) -> None:
        """Fetch what the deals of `alerts` say beside their prices. Raises Unavailable."""
        times = {alert.moment.price_id: alert.moment.observed_ms - COMPARED_MS for alert in alerts}
        keys = list(times.items())
        for start in range(0, len(keys), PORTION):
            await self._read(store, encode_json(keys[start : start + PORTION]).decode())
            pace.rested()

    async def _read(self, store: Store, keys: str) -> None:
        def read(tx: Transaction) -> tuple[bytes, bytes]:
            return history.told(tx, keys), history.compared(tx, keys)

        told, compared = await store.read(read)
        self._told.update((each.price_id, each) for each in records(told, Told))
        for each in records(compared, Compared):
            self._stores[each.price_id].add(each.store_id)

    def deal(self, alert: Alert) -> Deal:
        """The deal of an alert whose evidence was read."""
        moment, series, told = alert.moment, alert.series, self._told[alert.moment.price_id]
        baseline, baseline_price = _baseline(alert)
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
            stores_compared=self._compared(alert),
            observed_at=iso(moment.observed_ms),
            valid_until=None if told.valid_until_ms is None else iso(told.valid_until_ms),
            url=told.url,
            image_url=told.image_url,
            watch_id=alert.watch.watch_id,
        )

    def _compared(self, alert: Alert) -> int:
        stores, wanted = self._stores[alert.moment.price_id], decode_stores(alert.watch.stores)
        return len(stores if wanted is None else stores & wanted)


def _baseline(alert: Alert) -> tuple[str, int | None]:
    """What the price was compared with, and that price: a median's half cent is rounded up."""
    if isinstance(alert.rule, TargetPrice):
        return "target", alert.rule.price_in_cents
    twice = alert.moment.baseline_twice(alert.rule.baseline)
    return alert.rule.baseline, None if twice is None else (twice + 1) // 2


def by_user(alerts: Iterable[Alert]) -> dict[str, list[Alert]]:
    """The alerts of each user in their order, one for a price that fires several of the user's watches."""
    told: dict[str, dict[int, Alert]] = defaultdict(dict)
    for alert in alerts:
        told[alert.watch.user_id].setdefault(alert.moment.price_id, alert)
    return {user_id: list(each.values()) for user_id, each in told.items()}


async def notifications(store: Store, alerts: Sequence[Alert], now_ms: int, pace: Pace) -> list[NewEntry]:
    """One deal-notification for each user in `alerts`. Raises Unavailable."""
    if not alerts:
        return []
    users = by_user(alerts)
    shown = [alert for each in users.values() for alert in each[:MAX_DEALS_PER_MESSAGE]]
    evidence = Evidence()
    await evidence.read(store, shown, pace)
    entries = []
    for user_id, each in users.items():
        await pace.breathe()
        deals = [evidence.deal(alert) for alert in each[:MAX_DEALS_PER_MESSAGE]]
        entries.append(_entry(user_id, deals, len(each), now_ms))
    return entries


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
