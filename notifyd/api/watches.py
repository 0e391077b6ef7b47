"""`/v1/watches`: what a user wants to be told of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct
from quart import Blueprint, Response

from notifyd.api import guard
from notifyd.api.bodies import MAX_BODY, answer, no_content, read_body, read_query
from notifyd.api.describe import USER_OR_PUBLISHER, WRITES, Answer, describe
from notifyd.api.fields import Moment
from notifyd.api.parts import parts
from notifyd.api.problems import invalid
from notifyd.errors import BadRequest, NotFound, Unprocessable
from notifyd.messages import Cents, Id, iso
from notifyd.store import watches
from notifyd.store.watch_rules import Currency, Rule, StoreId, WatchSpec, decode_watch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from notifyd.store.watches import Newest, StoredWatch

    #: (user_id, watch_id, spec) → the watch as stored, whether it is new, the newest prices that meet it.
    SetWatch = Callable[[str, str, WatchSpec], Awaitable[tuple[StoredWatch, bool, Sequence[Newest]]]]

MAX_LIMIT = 1000
#: Prices that meet a watch already and are told one by one.
MAX_MET_TOLD = 100


UserId = Annotated[Id, Meta(description="Whose watches; for a publisher, who must say it")]


class _Query(Struct, frozen=True):
    user_id: UserId | None = None


class _ListQuery(Struct, frozen=True):
    user_id: UserId | None = None
    after: Annotated[str, Meta(description="The last `watch_id` of the page before")] = ""
    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT, description="At most so many")] = MAX_LIMIT


class Watch(Struct, frozen=True):
    """What a user wants to be told of; `stores` is null for every store."""

    watch_id: str
    item_id: str | None
    item_name: str | None
    search: str | None
    stores: list[StoreId] | None
    rule: Rule
    created_at: Moment


class Watches(Struct, frozen=True):
    """A page of a user's watches, by id."""

    watches: list[Watch]


class MeetingPrice(Struct, frozen=True):
    """A price that a watch met already when it was set."""

    item_id: str
    item_name: str
    store_id: StoreId
    store_name: str
    currency: Currency
    price_in_cents: Cents
    observed_at: Moment
    valid_until: Moment | None


class WatchSet(Watch, frozen=True, kw_only=True):
    """The watch, and the prices that it met already when it was set; it is silent about those."""

    already_met: bool
    met_by: Annotated[list[MeetingPrice], Meta(max_length=MAX_MET_TOLD)]
    more_met: Annotated[int, Meta(ge=0, description="How many more prices meet it")]


#: A watch is for one item, or for a search.
FOR_WHAT = {
    "oneOf": [
        {"required": ["item_id"], "properties": {"item_id": {"type": "string"}}},
        {"required": ["search"], "properties": {"search": {"type": "string"}}},
    ]
}
_TARGET = {"item_id": "oj-64", "rule": {"type": "target_price", "price_in_cents": 299}}
_DROP = {
    "item_id": "oj-64",
    "stores": [12, "north"],
    "rule": {"type": "percent_drop", "percent": 10, "baseline": "median_30d"},
}
_BEST = {"search": "orange juice", "rule": {"type": "new_best"}}
WATCH_EXAMPLE = {
    "watch_id": "juice",
    "item_id": "oj-64",
    "item_name": "Orange juice 64 oz",
    "search": None,
    "stores": None,
    "rule": {
        "type": "target_price",
        "rearm_percent": 2,
        "cooldown_s": 86400,
        "deeper_percent": 5,
        "price_in_cents": 299,
        "currency": None,
    },
    "created_at": "2026-01-31T12:00:00.000Z",
}
_SET = WATCH_EXAMPLE | {"already_met": False, "met_by": [], "more_met": 0}
_PATH = {"watch_id": "The caller chooses it: printable characters"}


def watches_blueprint(set_watch: SetWatch) -> Blueprint:
    """The routes; `set_watch` belongs to the checker, which knows what a rule already meets."""
    bp = Blueprint("watches", __name__)

    @bp.get("/v1/watches")
    @describe(
        "Watches",
        who=USER_OR_PUBLISHER,
        query=_ListQuery,
        answers={200: Answer("A page of watches", Watches, {"watches": [WATCH_EXAMPLE]})},
    )
    async def list_watches() -> Response:
        """The user's watches by id; `after` is the last id of the page before."""
        query = read_query(_ListQuery)
        user_id = guard.subject(query.user_id)
        found = await parts().store.read(
            lambda tx: watches.list_watches(tx, user_id, query.after, query.limit)
        )
        return answer({"watches": [told_watch(watch) for watch in found]})

    @bp.get("/v1/watches/<path:watch_id>")
    @describe(
        "Watches",
        who=USER_OR_PUBLISHER,
        path=_PATH,
        query=_Query,
        answers={200: Answer("The watch", Watch, WATCH_EXAMPLE)},
    )
    async def get_watch(watch_id: str) -> Response:
        """One of the user's watches."""
        user_id = guard.subject(read_query(_Query).user_id)
        found = await parts().store.read(lambda tx: watches.find_watch(tx, user_id, watch_id))
        if found is None:
            raise unknown_watch(watch_id)
        return answer(told_watch(found))

    @bp.put("/v1/watches/<path:watch_id>")
    @describe(
        "Watches",
        who=USER_OR_PUBLISHER,
        path=_PATH,
        query=_Query,
        body=Annotated[WatchSpec, Meta(extra_json_schema=FOR_WHAT)],
        examples={"A target price": _TARGET, "A drop in two stores": _DROP, "New best price": _BEST},
        answers={200: Answer("Changed", WatchSet, _SET), 201: Answer("New", WatchSet, _SET)},
        errors=WRITES,
    )
    async def put_watch(watch_id: str) -> Response:
        """Set a watch and say which prices meet it already.

        It starts as fired for those, so that they are told in the answer and not once more.
        """
        user_id = guard.subject(read_query(_Query).user_id)
        _check_id(watch_id)
        spec = decode_spec(await read_body(limit=MAX_BODY))
        watch, created, met_by = await set_watch(user_id, watch_id, spec)
        told = told_watch(watch) | {
            "already_met": bool(met_by),
            "met_by": [_met(price) for price in met_by[:MAX_MET_TOLD]],
            "more_met": max(0, len(met_by) - MAX_MET_TOLD),
        }
        return answer(told, 201 if created else 200)

    @bp.delete("/v1/watches/<path:watch_id>")
    @describe(
        "Watches",
        who=USER_OR_PUBLISHER,
        path=_PATH,
        query=_Query,
        answers={204: Answer("Gone")},
        errors=WRITES,
    )
    async def delete_watch(watch_id: str) -> Response:
        """Stop watching."""
        user_id = guard.subject(read_query(_Query).user_id)
        if not await parts().store.write(lambda tx: watches.delete_watch(tx, user_id, watch_id)):
            raise unknown_watch(watch_id)
        return no_content()

    return bp


def unknown_watch(watch_id: str) -> NotFound:
    """The user has no watch of this name."""
    return NotFound(f"This user has no watch {watch_id[:128]!r}")


def _check_id(watch_id: str) -> None:
    try:
        msgspec.convert(watch_id, Id)
    except msgspec.ValidationError as fault:
        raise Unprocessable(f"watch_id: {fault}") from None
    if not watch_id.isprintable():
        raise Unprocessable("watch_id: only printable characters")


def decode_spec(body: bytes) -> WatchSpec:
    """The watch in a body. Raises BadRequest, Unprocessable with the `path` of what is not acceptable."""
    try:
        return decode_watch(body)
    except msgspec.ValidationError as fault:
        raise invalid(fault) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
        raise BadRequest(f"The body is not JSON that can be read: {fault}") from None


def told_watch(watch: StoredWatch) -> dict[str, Any]:
    """A watch, as it is answered."""
    return {
        "watch_id": watch.watch_id,
        "item_id": watch.item_id,
        "item_name": watch.item_name,
        "search": watch.search,
        "stores": None if watch.stores is None else msgspec.Raw(watch.stores.encode()),
        "rule": msgspec.Raw(watch.rule.encode()),
        "created_at": iso(watch.created_ms),
    }


def _met(price: Newest) -> dict[str, Any]:
    return {
        "item_id": price.item_id,
        "item_name": price.item_name,
        "store_id": msgspec.Raw(price.store_id.encode()),
        "store_name": price.store_name,
        "currency": price.currency,
        "price_in_cents": price.price,
        "observed_at": iso(price.observed_ms),
        "valid_until": None if price.valid_until_ms is None else iso(price.valid_until_ms),
    }
