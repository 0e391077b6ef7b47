"""`POST /v1/watches/bulk`: up to ten thousand watches, each set or refused alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct
from quart import Blueprint, Response

from notifyd.api import guard
from notifyd.api.bodies import MAX_BATCH_BODY, Many, decode, read_body
from notifyd.api.describe import PUBLISHER, WRITES, Answer, describe, ref
from notifyd.api.problems import Problem, invalid
from notifyd.api.watches import FOR_WHAT
from notifyd.errors import HttpError, Unprocessable
from notifyd.messages import Id
from notifyd.store.watch_rules import WatchSpec, check_watch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    #: (user_id, watch_id, spec), no two of the same names → whether it is new and already met, or why not.
    SetWatches = Callable[
        [Sequence[tuple[str, str, WatchSpec]]], Awaitable[Sequence[tuple[bool, bool] | HttpError]]
    ]

MAX_WATCHES: Final = 10_000

_Whose = Annotated[Id, Meta(description="Whose")]
_Name = Annotated[Id, Meta(description="The caller chooses it")]


class NewWatch(WatchSpec, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A watch of a user."""

    user_id: _Whose
    watch_id: _Name


_NewWatch = Annotated[NewWatch, Meta(extra_json_schema=FOR_WHAT)]


class _Many(Struct, frozen=True, forbid_unknown_fields=True):
    watches: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MAX_WATCHES)]


class NewWatches(Struct, frozen=True, forbid_unknown_fields=True):
    """Many watches; each is set or refused alone."""

    watches: Annotated[list[_NewWatch], Meta(min_length=1, max_length=MAX_WATCHES)]


class WatchStored(Struct, frozen=True):
    """One watch is set: 201 when new, 200 otherwise. It is silent about prices that meet it already."""

    status: Annotated[int, Meta(extra_json_schema={"enum": [200, 201]})]
    user_id: str
    watch_id: str
    already_met: bool


_Result = Annotated[Any, Meta(extra_json_schema={"anyOf": [ref(WatchStored), ref(Problem)]})]


class WatchesStored(Struct, frozen=True):
    """A result for each, in the order of the body."""

    results: list[_Result]


_many_decoder = msgspec.json.Decoder(_Many)
_each_decoder = msgspec.json.Decoder(NewWatch)
_WATCH = {
    "user_id": "7",
    "watch_id": "juice",
    "item_id": "oj-64",
    "rule": {"type": "target_price", "price_in_cents": 299},
}


def bulk_blueprint(set_watches: SetWatches) -> Blueprint:
    """The route; `set_watches` belongs to the checker."""
    bp = Blueprint("watch_bulk", __name__)

    @bp.post("/v1/watches/bulk")
    @describe(
        "Watches",
        who=PUBLISHER,
        body=NewWatches,
        examples={"One watch": {"watches": [_WATCH]}},
        answers={
            200: Answer(
                "A result for each",
                WatchesStored,
                {"results": [{"status": 201, "user_id": "7", "watch_id": "juice", "already_met": False}]},
            )
        },
        models=(WatchStored, Problem),
        errors=WRITES,
    )
    async def put_watches() -> Response:
        """Set up to 10,000 watches of any users.

        Each is set or refused alone: a refused one is a problem document among the results. When a watch
        comes twice the last one counts. The same watch again keeps its state.
        """
        guard.publisher()
        many = Many[NewWatch]("watches")
        await many.read(decode(_many_decoder, await read_body(limit=MAX_BATCH_BODY)).watches, _read)
        wanted = {(each.user_id, each.watch_id): each for each in many.good}
        outcomes = await set_watches([(*names, _spec(each)) for names, each in wanted.items()])
        of = dict(zip(wanted, outcomes, strict=True))
        return await many.answer(lambda watch: of[watch.user_id, watch.watch_id], _stored)

    return bp


def _read(text: msgspec.Raw, root: str) -> NewWatch:
    watch = decode(_each_decoder, text, root)
    try:
        check_watch(watch)
    except msgspec.ValidationError as fault:
        raise invalid(fault, root) from None
    for name, value in (("user_id", watch.user_id), ("watch_id", watch.watch_id)):
        if not value.isprintable():
            raise Unprocessable("Expected printable characters", path=f"{root}.{name}")
    return watch


def _spec(watch: NewWatch) -> WatchSpec:
    return WatchSpec(rule=watch.rule, item_id=watch.item_id, search=watch.search, stores=watch.stores)


def _stored(watch: NewWatch, outcome: tuple[bool, bool]) -> dict[str, Any]:
    created, met = outcome
    status = 201 if created else 200
    return {"status": status, "user_id": watch.user_id, "watch_id": watch.watch_id, "already_met": met}
