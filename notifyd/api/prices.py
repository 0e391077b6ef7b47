"""`POST /v1/prices`, and what may be read of items and their prices."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Struct
from quart import Blueprint, Response

from notifyd.api import guard
from notifyd.api.bodies import MAX_BATCH_BODY, answer, decode, read_body, read_query
from notifyd.api.parts import parts
from notifyd.api.price_rows import Reader
from notifyd.clock import Pace
from notifyd.errors import NotFound
from notifyd.messages import encode_json, iso
from notifyd.store import prices
from notifyd.store.folding import prefixes, words
from notifyd.store.prices import Batch, Stored

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


@bp.post("/v1/prices")
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
    search: Annotated[str, Meta(max_length=200)] = ""
    limit: Annotated[int, Meta(ge=1, le=MAX_ITEMS)] = MAX_ITEMS


@bp.get("/v1/items")
async def list_items() -> Response:
    """Items that have prices, by name; with `search`, those whose name contains it, whatever the case."""
    guard.user_or_publisher()
    query = read_query(_ItemsQuery)
    found = await parts().store.read(lambda tx: prices.find_items(tx, query.search, query.limit))
    return answer({"items": [{"item_id": item_id, "item_name": name} for item_id, name in found]})


class _PricesQuery(Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=MAX_PRICES)] = 100


@bp.get("/v1/items/<path:item_id>/prices")
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
