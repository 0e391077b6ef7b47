"""Reading the rows of a batch of prices: the good ones as they are stored, the bad ones with a reason."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from notifyd.messages import Cents, Id, iso, parse_time
from notifyd.store.folding import fold
from notifyd.store.prices import ItemName, NewPrice, StoreName
from notifyd.store.watch_rules import Currency, StoreId, encode_store_id

#: How far in the future a price may say it was observed: clocks and time zones are often a little wrong.
MAX_AHEAD_MS = 86_400_000
#: The last millisecond that ISO 8601 spells with four digits of year.
LAST_MS = 253_402_300_799_999

Name = Annotated[str, Meta(min_length=1, max_length=500)]
Url = Annotated[str, Meta(max_length=2000, pattern="^https?://")]
Time = Annotated[str, Meta(max_length=40)]


class PriceRow(Struct, frozen=True, forbid_unknown_fields=True):
    """One price of an item in a store, in minor units of `currency`; `observed_at` is now when absent."""

    item_id: Id
    item_name: Name
    store_id: StoreId
    store_name: Name
    price_in_cents: Cents
    currency: Currency
    observed_at: Time | None = None
    valid_until: Time | None = None
    url: Url | None = None
    image_url: Url | None = None


_row_decoder = msgspec.json.Decoder(PriceRow)


class Reader:
    """Collects the rows of one batch. Times are milliseconds; a row without one was observed at `now_ms`."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._prices: dict[tuple[Any, ...], NewPrice] = {}
        self._items: dict[str, tuple[str, int]] = {}
        self._stores: dict[tuple[str, str, str], tuple[str, int]] = {}
        self.accepted = 0
        self.rejected: list[dict[str, Any]] = []

    def read(self, index: int, raw: msgspec.Raw) -> None:
        """Take the row at `index`, or note why it cannot be taken."""
        try:
            self._take(raw)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
            self.rejected.append({"index": index, "reason": str(fault)})
        else:
            self.accepted += 1

    def _take(self, raw: msgspec.Raw) -> None:
        if b"\\u0000" in bytes(raw):
            raise msgspec.ValidationError("The character U+0000 is not accepted")
        row = _row_decoder.decode(raw)
        store_id = encode_store_id(row.store_id)
        observed_ms = self._observed(row)
        price = NewPrice(
            row.item_id,
            store_id,
            row.currency,
            observed_ms,
            row.price_in_cents,
            _time(row.valid_until, "valid_until"),
            row.url,
            row.image_url,
        )
        self._prices.setdefault(price[:5], price)
        _newer(self._items, row.item_id, row.item_name, observed_ms)
        _newer(self._stores, price[:3], row.store_name, observed_ms)

    def _observed(self, row: PriceRow) -> int:
        observed_ms = _time(row.observed_at, "observed_at")
        if observed_ms is None:
            return self._now_ms
        if observed_ms > self._now_ms + MAX_AHEAD_MS:
            now = iso(self._now_ms)
            raise msgspec.ValidationError(f"More than a day after now, {now} - at `$.observed_at`")
        return observed_ms

    def prices(self) -> list[NewPrice]:
        """The good rows in their order, each once."""
        return list(self._prices.values())

    def items(self) -> list[ItemName]:
        """The newest name of each item."""
        return [ItemName(item_id, name, fold(name), ms) for item_id, (name, ms) in self._items.items()]

    def stores(self) -> list[StoreName]:
        """The newest name of each store, for each item and currency that it has."""
        return [StoreName(*key, name, ms) for key, (name, ms) in self._stores.items()]


def _newer(names: dict[Any, tuple[str, int]], key: object, name: str, ms: int) -> None:
    known = names.get(key)
    if known is None or ms >= known[1]:
        names[key] = (name, ms)


def _time(text: str | None, field: str) -> int | None:
    if text is None:
        return None
    try:
        ms = parse_time(text)
    except (ValueError, OverflowError) as fault:
        raise msgspec.ValidationError(f"Not an ISO 8601 time with a zone: {fault} - at `$.{field}`") from None
    if not 0 <= ms <= LAST_MS:
        raise msgspec.ValidationError(f"Expected a time from 1970 to 9999 - at `$.{field}`")
    return ms
