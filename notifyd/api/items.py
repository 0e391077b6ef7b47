"""What can be watched, and its prices: as JSON page by page, or as CSV in one stream."""

from __future__ import annotations

import csv
import io
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import urlencode

import msgspec
from msgspec import Meta, Struct
from quart import Blueprint, Response, request

from notifyd.api import guard
from notifyd.api.bodies import answer, read_query
from notifyd.api.describe import USER_OR_PUBLISHER, Answer, Header, describe
from notifyd.api.fields import Moment
from notifyd.api.parts import parts
from notifyd.clock import Pace
from notifyd.errors import NotFound, Unprocessable
from notifyd.messages import Cents, Id, encode_json, iso, parse_time
from notifyd.store import catalogue, prices
from notifyd.store.catalogue import Asked, Place, PriceLine
from notifyd.store.folding import words
from notifyd.store.watch_rules import Currency, StoreId

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from notifyd.store.base import Store, Transaction

bp = Blueprint("items", __name__)

MAX_ITEMS: Final = 50
MAX_PRICES: Final = 1000
DEFAULT_PRICES: Final = 100
MAX_CSV_ROWS: Final = 100_000
DEFAULT_CSV_ROWS: Final = 10_000
#: Rows read and sent at a time: what one caller's CSV holds of our memory.
CSV_PAGE: Final = 1000
#: Seconds in which a whole CSV must have left.
CSV_SECONDS: Final = 300

CSV_TYPE: Final = "text/csv; charset=utf-8; header=present"
#: The columns are those that `notifyd import-prices` finds by itself.
CSV_COLUMNS: Final = (
    "item_id",
    "item_name",
    "store_id",
    "store_name",
    "price_in_cents",
    "currency",
    "observed_at",
    "valid_until",
    "url",
    "image_url",
)

_Next = Annotated[str | None, Meta(description="For the next page; null on the last one")]

# --- items ------------------------------------------------------------------------------------------


class _ItemsQuery(Struct, frozen=True):
    search: Annotated[str, Meta(max_length=200, description="Beginnings of words of the name")] = ""
    limit: Annotated[int, Meta(ge=1, le=MAX_ITEMS, description="At most so many")] = MAX_ITEMS
    after: Annotated[str, Meta(max_length=4000, description="`next` of the page before")] | None = None


class Item(Struct, frozen=True):
    """What can be watched."""

    item_id: str
    item_name: str


class Items(Struct, frozen=True):
    """Items by name."""

    items: list[Item]
    next: _Next


_ITEMS = {"items": [{"item_id": "oj-64", "item_name": "Orange juice 64 oz"}], "next": None}


@bp.get("/v1/items")
@describe(
    "Prices", who=USER_OR_PUBLISHER, query=_ItemsQuery, answers={200: Answer("Items by name", Items, _ITEMS)}
)
async def list_items() -> Response:
    """Items that have prices, by name.

    With `search`, those whose name has words that begin with each of the searched ones, whatever the case and
    the accents: what a watch with these words would concern.
    """
    guard.user_or_publisher()
    query = read_query(_ItemsQuery)
    after = None if query.after is None else _place(query.after, tuple[str, str], "after")
    wanted = words(query.search)
    if query.search.strip() and not wanted:
        return answer(Items([], None))
    found = await parts().store.read(
        partial(catalogue.find_items, words=wanted, after=after, limit=query.limit + 1)
    )
    page = found[: query.limit]
    more = len(found) > len(page)
    following = _token(page[-1][:2]) if more else None
    return answer(Items([Item(each.item_id, each.name) for each in page], following))


def _token(place: tuple[Any, ...]) -> str:
    """A place between two pages, as a word that means nothing to callers."""
    return urlsafe_b64encode(encode_json(list(place))).rstrip(b"=").decode()


def _place(text: str, kind: Any, name: str) -> Any:
    try:
        return msgspec.json.decode(urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=kind)
    except (ValueError, msgspec.DecodeError):
        raise Unprocessable("This is no `next` of a page", path=f"$.{name}") from None


# --- prices -----------------------------------------------------------------------------------------


class _PricesQuery(Struct, frozen=True):
    limit: (
        Annotated[
            int, Meta(ge=1, le=MAX_CSV_ROWS, description="At most so many: 1,000 as JSON, 100,000 as CSV")
        ]
        | None
    ) = None
    store_id: Annotated[Id, Meta(description="Only this store; 12 also finds the number 12")] | None = None
    currency: Annotated[Currency, Meta(description="Only prices in it")] | None = None
    since: Annotated[str, Meta(max_length=40, description="Observed then or later, ISO 8601")] | None = None
    until: Annotated[str, Meta(max_length=40, description="Observed then or earlier, ISO 8601")] | None = None
    before: Annotated[str, Meta(max_length=200, description="`next` of the page before")] | None = None
    format: Annotated[Literal["json", "csv"], Meta(description="Beats the Accept header")] | None = None


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
    next: _Next


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
    "next": None,
}


_CSV = """\
item_id,item_name,store_id,store_name,price_in_cents,currency,observed_at,valid_until,url,image_url
oj-64,Orange juice 64 oz,12,Corner shop,279,USD,2026-01-31T12:00:00.000Z,,,
"""


@bp.get("/v1/items/<path:item_id>/prices")
@describe(
    "Prices",
    who=USER_OR_PUBLISHER,
    path={"item_id": "The item; a slash in it may stand as it is"},
    query=_PricesQuery,
    answers={
        200: Answer(
            "The item's prices",
            History,
            _HISTORY,
            others={"text/csv": _CSV},
            headers=(Header("Link", "RFC 8288: the next page, when there is one"),),
        )
    },
)
async def list_prices(item_id: str) -> Response:
    """An item's prices, newest first.

    As CSV with `format=csv` or `Accept: text/csv`, with the columns that `notifyd import-prices` reads. A
    page that is not the last has `next`, and a `Link` header with `rel="next"`. Old prices are thinned to
    the lowest of each day.
    """
    guard.user_or_publisher()
    query = read_query(_PricesQuery)
    asked = Asked(
        item_id, _stores(query.store_id), query.currency, _ms(query.since, "since"), _ms(query.until, "until")
    )
    before = None if query.before is None else _place(query.before, Place, "before")
    if _wants_csv(query):
        return await _csv(asked, before, query.limit or DEFAULT_CSV_ROWS)
    limit = query.limit or DEFAULT_PRICES
    if limit > MAX_PRICES:
        raise Unprocessable(f"Expected `int` <= {MAX_PRICES}", path="$.limit")
    return await _json(asked, before, limit)


def _wants_csv(query: _PricesQuery) -> bool:
    if query.format is not None:
        return query.format == "csv"
    accepted = request.accept_mimetypes
    return bool(accepted["text/csv"] > accepted["application/json"])


def _stores(store_id: str | None) -> tuple[str, ...] | None:
    """The JSON texts of the ids that a query can mean: in a query a number and a string look alike."""
    if store_id is None:
        return None
    text = encode_json(store_id).decode()
    return (text, store_id) if store_id.removeprefix("-").isdecimal() else (text,)


def _ms(text: str | None, name: str) -> int | None:
    try:
        return None if text is None else parse_time(text)
    except (ValueError, OverflowError) as fault:
        raise Unprocessable(f"Not an ISO 8601 time with a zone: {fault}", path=f"$.{name}") from None


async def _json(asked: Asked, before: Place | None, limit: int) -> Response:
    def read(tx: Transaction) -> tuple[str | None, list[PriceLine]]:
        name = prices.item_name(tx, asked.item_id)
        return name, catalogue.item_prices(tx, asked, before, limit + 1)

    name, found = await parts().store.read(read)
    if name is None:
        raise _unknown()
    page = found[:limit]
    following = page[-1].place if len(found) > len(page) else None
    told = {
        "item_id": asked.item_id,
        "item_name": name,
        "prices": [_told(line) for line in page],
        "next": None if following is None else _token(following),
    }
    return answer(told, headers=_link(following))


def _unknown() -> NotFound:
    return NotFound("No price of this item was ever stored")


def _link(following: Place | None) -> dict[str, str]:
    """RFC 8288: where the next page is."""
    if following is None:
        return {}
    query = urlencode(request.args.to_dict() | {"before": _token(following)})
    return {"Link": f'<?{query}>; rel="next"'}


def _told(line: PriceLine) -> dict[str, Any]:
    return {
        "store_id": msgspec.Raw(line.store_id.encode()),
        "store_name": line.store_name,
        "currency": line.currency,
        "price_in_cents": line.price_in_cents,
        "observed_at": iso(line.observed_ms),
        "valid_until": None if line.valid_until_ms is None else iso(line.valid_until_ms),
        "url": line.url,
        "image_url": line.image_url,
    }


# --- CSV --------------------------------------------------------------------------------------------


async def _csv(asked: Asked, before: Place | None, limit: int) -> Response:
    def read(tx: Transaction) -> tuple[str | None, Place | None]:
        return prices.item_name(tx, asked.item_id), catalogue.last_place(tx, asked, before, limit)

    store = parts().store
    name, last = await store.read(read)
    if name is None:
        raise _unknown()
    headers = {"Cache-Control": "no-store", "Vary": "Accept"} | _link(last)
    response = Response(_rows(store, asked, name, before, last), headers=headers, content_type=CSV_TYPE)
    response.timeout = CSV_SECONDS
    return response


async def _rows(
    store: Store, asked: Asked, name: str, before: Place | None, last: Place | None
) -> AsyncIterator[bytes]:
    """The lines of a page that ends with the price at `last`; a page of the log at a time.

    When the database fails meanwhile the answer breaks off, without the end that HTTP gives to a whole one.
    """
    yield _lines([CSV_COLUMNS])
    while True:
        page = await store.read(partial(catalogue.item_prices, asked=asked, before=before, limit=CSV_PAGE))
        fitting = [line for line in page if last is None or line.place >= last]
        pace = Pace()
        rows = []
        for line in fitting:
            await pace.breathe()
            rows.append(_row(asked.item_id, name, line))
        if rows:
            yield _lines(rows)
        if len(fitting) < CSV_PAGE:
            return
        before = fitting[-1].place


def _lines(rows: list[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)  # RFC 4180: CRLF, quotes where they are needed
    return text.getvalue().encode()


def _row(item_id: str, name: str, line: PriceLine) -> tuple[Any, ...]:
    return (
        item_id,
        name,
        msgspec.json.decode(line.store_id),
        line.store_name,
        line.price_in_cents,
        line.currency,
        iso(line.observed_ms),
        "" if line.valid_until_ms is None else iso(line.valid_until_ms),
        line.url or "",
        line.image_url or "",
    )
