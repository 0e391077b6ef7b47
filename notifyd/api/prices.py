"""`POST /v1/prices`, and what may be read of items and their prices."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Struct
from quart import Blueprint, Response

from notifyd.api import guard
from notifyd.api.bodies import MAX_BATCH_BODY, answer, decode, read_body, read_query
from notifyd.api.describe import PUBLISHER, USER_OR_PUBLISHER, WRITES, Answer, describe
from notifyd.api.fields import Count, Moment
from notifyd.api.parts import parts
from notifyd.api.price_rows import PriceRow, Reader
from notifyd.clock import Pace
from notifyd.errors import NotFound
from notifyd.messages import Cents, encode_json, iso
from notifyd.store import prices
from notifyd.store.folding import prefixes, words
from notifyd.store.prices import Batch, Stored
from notifyd.store.watch_rules import Currency, StoreId

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from notifyd.store.base import Store, Transaction

bp = Blueprint("prices", __name__)

MAX_ROWS = 10_000
MAX_ITEMS = 50
MAX_PRICES = 1000


class _Prices(Struct, frozen=True, forbid_unknown_fields=True):
    prices: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MAX_ROWS)]


_prices_decoder = msgspec.json.Decoder(_Prices)


class PriceBatch(Struct, frozen=True, forbid_unknown_fields=True):
    """Up to 10,000 prices; rows that cannot be taken are named in the answer, the others are stored."""

    prices: Annotated[list[PriceRow], Meta(min_length=1, max_length=MAX_ROWS)]


class RejectedRow(Struct, frozen=True):
    """A row that was not taken, by its place from 0."""

    index: Count
    reason: str


class Accepted(Struct, frozen=True):
    """What became of a batch; the same batch again has the same `batch_id`."""

    batch_id: str
    accepted: Count
    rejected: list[RejectedRow]
    added: Annotated[Count, Meta(description="Prices that were not known before")] = 0


_BATCH = {
    "prices": [
        {
            "item_id": "oj-64",
            "item_name": "Orange juice 64 oz",
            "store_id": 12,
            "store_name": "Corner shop",
            "price_in_cents": 279,
            "currency": "USD",
            "valid_until": "2026-02-03T00:00:00Z",
        }
    ]
}
_ACCEPTED = {"batch_id": "5a8dd3ad0756a93ded72b823b19dd877", "accepted": 1, "rejected": [], "added": 1}


@bp.post("/v1/prices")
@describe(
    "Prices",
    who=PUBLISHER,
    body=PriceBatch,
    examples={"One price": _BATCH},
    answers={202: Answer("Stored; the checker looks at them next", Accepted, _ACCEPTED)},
    errors=WRITES,
)
async def post_prices() -> Response:
    """Store the good rows of a batch, name the bad ones, and wake the checker when there is something new.

    The very same body again, as a publisher's next batch within ten minutes, gets the same answer and adds
    nothing; so does any row that is known already, by item, store, currency, time and price.
    """
    publisher = guard.publisher()
    body = await read_body(limit=MAX_BATCH_BODY)
    rows = decode(_prices_decoder, body).prices
    batch_id = sha256(body).hexdigest()[:32]
    store = parts().store
    told = await store.read(lambda tx: prices.last_answer(tx, publisher, batch_id))
    if told is not None:
        return _accepted(told)
    pace = Pace()
    reader = Reader(parts().clock())
    for index, row in enumerate(rows):
        await pace.breathe()
        reader.read(index, row)
    stored = await _store(store, publisher, batch_id, reader)
    if stored.added:
        parts().on_prices()
    return _accepted(stored.answer)


async def _store(store: Store, publisher: str, batch_id: str, reader: Reader) -> Stored:
    head = {"batch_id": batch_id, "accepted": reader.accepted, "rejected": reader.rejected}
    items, stores = _json(reader.items()), _json(reader.stores())
    fresh = await store.read(lambda tx: prices.fresh_names(tx, items, stores))
    named, beginnings = await _words([(row[0], row[2]) for row in fresh[0]])
    batch = Batch(
        batch_id=batch_id,
        publisher=publisher,
        items=_json([tuple(row) for row in fresh[0]]),
        stores=_json([tuple(row) for row in fresh[1]]),
        prices=_json([(offset, *price) for offset, price in enumerate(reader.prices(), 1)]),
        count=len(reader.prices()),
        answer=encode_json(head).removesuffix(b"}"),
        words=_json(named),
        prefixes=_json(beginnings),
    )
    return await store.write(lambda tx: prices.add_batch(tx, batch))


async def _words(names: Sequence[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The words of items' names, and the beginnings of these words."""
    pace = Pace()
    found: list[tuple[str, str]] = []
    beginnings: dict[str, list[str]] = {}
    for item_id, folded_name in names:
        await pace.breathe()
        for word in words(folded_name):
            found.append((item_id, word))
            if word not in beginnings:
                beginnings[word] = prefixes(word)
    return found, [(word, prefix) for word, each in beginnings.items() for prefix in each]


def _json(rows: Sequence[Any]) -> str:
    return encode_json(rows).decode()


def _accepted(content: bytes) -> Response:
    return answer(msgspec.Raw(content), 202)


class _ItemsQuery(Struct, frozen=True):
    search: Annotated[str, Meta(max_length=200, description="Words of the name")] = ""
    limit: Annotated[int, Meta(ge=1, le=MAX_ITEMS, description="At most so many")] = MAX_ITEMS


class Item(Struct, frozen=True):
    """What can be watched."""

    item_id: str
    item_name: str


class Items(Struct, frozen=True):
    """Items by name."""

    items: list[Item]


@bp.get("/v1/items")
@describe(
    "Prices",
    who=USER_OR_PUBLISHER,
    query=_ItemsQuery,
    answers={
        200: Answer(
            "Items by name", Items, {"items": [{"item_id": "oj-64", "item_name": "Orange juice 64 oz"}]}
        )
    },
)
async def list_items() -> Response:
    """Items that have prices, by name; with `search`, those whose name contains it, whatever the case."""
    guard.user_or_publisher()
    query = read_query(_ItemsQuery)
    found = await parts().store.read(lambda tx: prices.find_items(tx, query.search, query.limit))
    return answer({"items": [{"item_id": item_id, "item_name": name} for item_id, name in found]})


class _PricesQuery(Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=MAX_PRICES, description="At most so many")] = 100


class Price(Struct, frozen=True):
    """A stored price."""

    store_id: StoreId
    store_name: str
    currency: Currency
    price_in_cents: Cents
    observed_at: Moment
    valid_until: Moment | None
    url: str | None
    image_url: str | None


class History(Struct, frozen=True):
    """An item's prices, newest first."""

    item_id: str
    item_name: str
    prices: list[Price]


_HISTORY = {
    "item_id": "oj-64",
    "item_name": "Orange juice 64 oz",
    "prices": [
        {
            "store_id": 12,
            "store_name": "Corner shop",
            "currency": "USD",
            "price_in_cents": 279,
            "observed_at": "2026-01-31T12:00:00.000Z",
            "valid_until": None,
            "url": None,
            "image_url": None,
        }
    ],
}


@bp.get("/v1/items/<path:item_id>/prices")
@describe(
    "Prices",
    who=USER_OR_PUBLISHER,
    path={"item_id": "The item; a slash in it may stand as it is"},
    query=_PricesQuery,
    answers={200: Answer("The item's prices", History, _HISTORY)},
)
async def list_prices(item_id: str) -> Response:
    """An item's newest prices in every store, newest first."""
    guard.user_or_publisher()
    limit = read_query(_PricesQuery).limit

    def read(tx: Transaction) -> tuple[str | None, Sequence[Any]]:
        return prices.item_name(tx, item_id), prices.item_prices(tx, item_id, limit)

    name, found = await parts().store.read(read)
    if name is None:
        raise NotFound("No price of this item was ever stored")
    return answer({"item_id": item_id, "item_name": name, "prices": [_told(price) for price in found]})


def _told(price: Any) -> dict[str, Any]:
    return {
        "store_id": msgspec.Raw(price.store_id.encode()),
        "store_name": price.store_name,
        "currency": price.currency,
        "price_in_cents": price.price_in_cents,
        "observed_at": iso(price.observed_ms),
        "valid_until": None if price.valid_until_ms is None else iso(price.valid_until_ms),
        "url": price.url,
        "image_url": price.image_url,
    }
