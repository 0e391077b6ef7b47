"""`POST /v1/prices`: a batch of prices, of which the good rows go in."""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from quart import Blueprint, Response

from notifyd.api import guard
from notifyd.api.bodies import MAX_BATCH_BODY, answer, decode, read_body
from notifyd.api.describe import PUBLISHER, WRITES, Answer, describe
from notifyd.api.fields import Count
from notifyd.api.parts import parts
from notifyd.api.price_rows import PriceRow, Reader
from notifyd.api.price_storing import store_batch
from notifyd.clock import Pace
from notifyd.store import prices

bp = Blueprint("prices", __name__)

MAX_ROWS = 10_000


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
    stored = await store_batch(store, publisher, batch_id, reader)
    if stored.added:
        parts().on_prices()
    return _accepted(stored.answer)


def _accepted(content: bytes) -> Response:
    return answer(msgspec.Raw(content), 202)
