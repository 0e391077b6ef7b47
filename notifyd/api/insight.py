"""Why a watch did or did not fire, and what one would have told: `explain` and `backtest`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from quart import Blueprint, Response

from notifyd.api import guard
from notifyd.api.bodies import MAX_BODY, answer, read_body, read_query
from notifyd.api.describe import USER_OR_PUBLISHER, Answer, describe
from notifyd.api.fields import Count, Moment
from notifyd.api.watches import FOR_WHAT, UserId, decode_spec, unknown_watch
from notifyd.messages import Cents, iso
from notifyd.store.watch_rules import Currency, Measure, StoreId, WatchSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    #: (user_id, watch_id, after) → the watch explained, or None when there is none.
    Explain = Callable[[str, str, str], Awaitable[Any]]
    #: (spec, after, limit) → what it would have told.
    Backtest = Callable[[WatchSpec, str, int], Awaitable[Any]]

MAX_ALERTS = 1000
Baseline = Literal["target"] | Measure
_After = Annotated[str, Meta(description="`next` of the answer before")]


class _ExplainQuery(Struct, frozen=True):
    user_id: UserId | None = None
    after: _After = ""


class _BacktestQuery(Struct, frozen=True):
    after: _After = ""
    limit: Annotated[int, Meta(ge=1, le=MAX_ALERTS, description="Alerts in the answer; all are counted")] = (
        100
    )


class _Place(Struct, frozen=True, kw_only=True):
    item_id: str
    item_name: str
    store_id: StoreId
    store_name: str
    currency: Currency
    observed_at: Moment
    baseline: Annotated[Baseline, Meta(description="What the rule compares with")]
    baseline_price_in_cents: Annotated[Cents | None, Meta(description="Just before the price came in")]


class StoreExplained(_Place, frozen=True, kw_only=True):
    """What a watch has made of one item in one store."""

    last_price_in_cents: Cents
    threshold_in_cents: Annotated[int | None, Meta(description="The highest price that meets the rule")]
    state: Literal["armed", "silent", "cooling_down"]
    told_price_in_cents: Annotated[Cents | None, Meta(description="The price last told")]
    valid_until: Annotated[Moment | None, Meta(description="When the last price ends or has ended")]
    fired_at: Moment | None
    cooldown_until: Moment | None
    rearms_at_in_cents: Annotated[Cents | None, Meta(description="This or more re-arms a silent rule")]
    deeper_at_in_cents: Annotated[Cents | None, Meta(description="This or less fires a silent rule at once")]
    reason: Literal[
        "fired",
        "met_when_set",
        "silent",
        "cooldown",
        "not_met",
        "no_baseline",
        "late",
        "set_later",
        "not_checked_yet",
        "not_watched",
    ]
    explanation: Annotated[str, Meta(description="The reason in words")]


class Explanation(Struct, frozen=True):
    """Why a watch did or did not fire last, for each item and store; `next` when there are more items."""

    watch_id: str
    stores: list[StoreExplained]
    next: str | None
    reason: Annotated[
        Literal["no_item", "no_price", "no_watched_price"] | None,
        Meta(description="Why `stores` is empty, when there is nothing to look at"),
    ]
    explanation: Annotated[str | None, Meta(description="That reason in words")]


class WouldTell(_Place, frozen=True, kw_only=True):
    """An alert that the watch would have given."""

    price_in_cents: Cents
    old_price_in_cents: Annotated[Cents | None, Meta(description="The price before in that store")]
    valid_until: Moment | None


class Backtested(Struct, frozen=True):
    """What a watch would have told; `next` says where to go on when not all items were looked at."""

    alerts: Annotated[list[WouldTell], Meta(max_length=MAX_ALERTS)]
    total: Annotated[Count, Meta(description="Alerts, with those beyond the limit")]
    items: Annotated[Count, Meta(description="Items that were looked at")]
    prices: Annotated[Count, Meta(description="Prices that were looked at")]
    complete: bool
    next: str | None


_PLACE = {
    "item_id": "oj-64",
    "item_name": "Orange juice 64 oz",
    "store_id": 12,
    "store_name": "Corner shop",
    "currency": "USD",
    "observed_at": "2026-01-31T12:00:00.000Z",
    "baseline": "target",
    "baseline_price_in_cents": 299,
}
_EXPLAINED = _PLACE | {
    "last_price_in_cents": 279,
    "threshold_in_cents": 299,
    "state": "silent",
    "told_price_in_cents": 279,
    "valid_until": None,
    "fired_at": "2026-01-31T12:00:00.000Z",
    "cooldown_until": "2026-02-01T12:00:00.000Z",
    "rearms_at_in_cents": 305,
    "deeper_at_in_cents": 265,
    "reason": "fired",
    "explanation": "It fired at USD 2.79: the target is USD 2.99.",
}
EXPLAINED_EXAMPLE = {
    "watch_id": "juice",
    "stores": [_EXPLAINED],
    "next": None,
    "reason": None,
    "explanation": None,
}
_TOLD = _PLACE | {"price_in_cents": 279, "old_price_in_cents": 349, "valid_until": None}
_TESTED = {"alerts": [_TOLD], "total": 1, "items": 1, "prices": 104, "complete": True, "next": None}
_WATCH = {"item_id": "oj-64", "rule": {"type": "target_price", "price_in_cents": 299}}


def insight_blueprint(explain: Explain, backtest: Backtest) -> Blueprint:
    """The routes; both callbacks are the checker's, and only read."""
    bp = Blueprint("insight", __name__)

    @bp.get("/v1/watches/<path:watch_id>/explain")
    @describe(
        "Watches",
        who=USER_OR_PUBLISHER,
        path={"watch_id": "One of the user's watches"},
        query=_ExplainQuery,
        answers={
            200: Answer(
                "Why",
                Explanation,
                EXPLAINED_EXAMPLE,
            )
        },
    )
    async def explain_watch(watch_id: str) -> Response:
        """Say why a watch did or did not fire last, in each store.

        At most 20 items are explained at a time.
        """
        query = read_query(_ExplainQuery)
        found = await explain(guard.subject(query.user_id), watch_id, query.after)
        if found is None:
            raise unknown_watch(watch_id)
        return answer(explained(watch_id, found))

    @bp.post("/v1/watches/backtest")
    @describe(
        "Watches",
        who=USER_OR_PUBLISHER,
        query=_BacktestQuery,
        body=Annotated[WatchSpec, Meta(extra_json_schema=FOR_WHAT)],
        examples={"A target price": _WATCH},
        answers={200: Answer("What it would have told", Backtested, _TESTED)},
    )
    async def backtest_watch() -> Response:
        """Say what a watch would have told, had it been there from the first stored price on.

        Nothing is stored. One answer looks at about 200,000 prices or 5 seconds; `next` says where to go on.
        """
        guard.user_or_publisher()
        query = read_query(_BacktestQuery)
        spec = decode_spec(await read_body(limit=MAX_BODY))
        tested = await backtest(spec, query.after, query.limit)
        return answer(
            {
                "alerts": [_would_tell(each) for each in tested.alerts],
                "total": tested.total,
                "items": tested.items,
                "prices": tested.prices,
                "complete": tested.after is None,
                "next": tested.after,
            }
        )

    return bp


def _place(series: Any, observed_ms: int, baseline: str, baseline_price: int | None) -> dict[str, Any]:
    return {
        "item_id": series.item_id,
        "item_name": series.item_name,
        "store_id": msgspec.Raw(series.store_id.encode()),
        "store_name": series.store_name,
        "currency": series.currency,
        "observed_at": iso(observed_ms),
        "baseline": baseline,
        "baseline_price_in_cents": baseline_price,
    }


def explained(watch_id: str, found: Any) -> dict[str, Any]:
    """What the checker found, as it is answered."""
    reason, words = found.nothing or (None, None)
    return {
        "watch_id": watch_id,
        "stores": [_explained(each) for each in found.series],
        "next": found.after,
        "reason": reason,
        "explanation": words,
    }


def _explained(each: Any) -> dict[str, Any]:
    newest, why = each.newest, each.why
    return _place(newest, newest.observed_ms, each.baseline, each.baseline_price) | {
        "last_price_in_cents": newest.price,
        "threshold_in_cents": why.threshold,
        "state": why.state,
        "told_price_in_cents": why.told,
        "valid_until": _when(newest.valid_until_ms),
        "fired_at": _when(why.fired_ms),
        "cooldown_until": _when(why.cooldown_ms),
        "rearms_at_in_cents": why.rearms_at,
        "deeper_at_in_cents": why.deeper_at,
        "reason": why.reason,
        "explanation": why.explanation,
    }


def _would_tell(each: Any) -> dict[str, Any]:
    return _place(each.series, each.observed_ms, each.baseline, each.baseline_price) | {
        "price_in_cents": each.price,
        "old_price_in_cents": each.previous,
        "valid_until": _when(each.valid_until_ms),
    }


def _when(ms: int | None) -> str | None:
    return None if ms is None else iso(ms)
