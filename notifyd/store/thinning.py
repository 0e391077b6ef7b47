"""Old prices thinned so that no rule can tell: what is deleted is part of no baseline of a price to come.

A price may be deleted when a later one of the same series and day is as low, so the lowest price since any
moment stays what it was: `lowest` and `new_best` do not change. The days before the series' newest price
stay whole: `median_30d` does not change. The newest prices stay: `previous` does not change, neither for
the next price nor for the newest one itself, whose baselines are asked for when a watch is set. Prices that
the checker has not dealt with are left alone and count for nothing, and so are those stored about when the
newest was, since its baselines leave out what came in the same batch.

Every function takes the open `Transaction` first and runs in a store's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import and_, bindparam, delete, exists, func, or_, select

from notifyd.messages import encode_json
from notifyd.store.json_rows import INT, json_of, records, rows_of, together
from notifyd.store.schema import meta, price_runs, price_series, prices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifyd.store.base import Transaction

DAY_MS: Final = 86_400_000
#: Prices that one transaction deletes at most.
BATCH: Final = 500
#: Series looked at in one read.
SERIES: Final = 100
#: Prices in a batch of a publisher, at most.
MOST_IN_A_RUN: Final = 10_000


class Series(NamedTuple):
    """A series with its oldest price and the newest that the checker has dealt with."""

    series_id: int
    oldest_ms: int
    newest_ms: int | None
    newest_id: int | None


class Old(NamedTuple):
    """Asks for what may go of a series: observed before `before_ms`, numbered up to `last_id`."""

    series_id: int
    before_ms: int
    last_id: int


# --- which series -----------------------------------------------------------------------------------

_dealt_with = (
    select(price_runs.c.last_price_id).where(price_runs.c.run_id == meta.c.checker_cursor).scalar_subquery()
)
_last_dealt_with = select(func.coalesce(_dealt_with, 0)).select_from(meta)
_own = prices.alias("own")
_some = (
    select(price_series.c.series_id)
    .where(price_series.c.series_id > bindparam("after"))
    .order_by(price_series.c.series_id)
    .limit(SERIES)
    .subquery("some")
)
_newest = (
    select(_own.c.price_id)
    .where(_own.c.series_id == _some.c.series_id, _own.c.price_id <= bindparam("dealt_with"))
    .order_by(_own.c.observed_ms.desc(), _own.c.price_id.desc())
    .limit(1)
    .scalar_subquery()
)
_oldest_ms = (
    select(func.min(_own.c.observed_ms)).where(_own.c.series_id == _some.c.series_id).scalar_subquery()
)
_series = select(
    together(_some.c.series_id, func.coalesce(_oldest_ms, 0), prices.c.observed_ms, prices.c.price_id)
).select_from(_some.outerjoin(prices, prices.c.price_id == _newest))


def series_after(tx: Transaction, after: int) -> list[Series]:
    """The next series by number; fewer than SERIES: these are the last."""
    dealt_with = tx.execute(_last_dealt_with).scalar_one()
    return sorted(records(json_of(tx, _series, {"after": after, "dealt_with": dealt_with}), Series))


def old_of(series: Series, detail_ms: int) -> Old | None:
    """What to ask about a series whose last `detail_ms` before its newest price stay whole. Pure."""
    if series.newest_ms is None or series.newest_id is None:
        return None
    before_ms = series.newest_ms - detail_ms
    if series.oldest_ms >= before_ms:
        return None
    return Old(series.series_id, before_ms, series.newest_id - MOST_IN_A_RUN)


# --- which prices -----------------------------------------------------------------------------------

_keys = rows_of("keys", series_id=INT, before_ms=INT, last_id=INT)
_later = prices.alias("later")
_as_low_later = exists().where(
    _later.c.series_id == prices.c.series_id,
    _later.c.observed_ms >= prices.c.observed_ms,
    _later.c.observed_ms < prices.c.observed_ms - prices.c.observed_ms % DAY_MS + DAY_MS,
    _later.c.price_in_cents <= prices.c.price_in_cents,
    _later.c.price_id <= _keys.c.last_id,
    or_(_later.c.observed_ms > prices.c.observed_ms, _later.c.price_id > prices.c.price_id),
)
#: What `previous` was when the newest price came, should nothing newer have come before it.
_newest_of_those = (
    select(_own.c.price_id)
    .where(_own.c.series_id == _keys.c.series_id, _own.c.price_id <= _keys.c.last_id)
    .order_by(_own.c.observed_ms.desc(), _own.c.price_id.desc())
    .limit(1)
    .scalar_subquery()
)
_is_over = or_(prices.c.valid_until_ms.is_(None), prices.c.valid_until_ms < bindparam("now"))
_superfluous = (
    select(prices.c.price_id)
    .join_from(_keys, prices, prices.c.series_id == _keys.c.series_id)
    .where(
        and_(prices.c.observed_ms < _keys.c.before_ms, prices.c.price_id <= _keys.c.last_id),
        prices.c.price_id != _newest_of_those,
        _is_over,
        _as_low_later,
    )
    .limit(BATCH)
    .subquery("superfluous")
)
_superfluous_ids = select(together(_superfluous.c.price_id))
_ids = rows_of("ids", price_id=INT)
_drop = delete(prices).where(prices.c.price_id.in_(select(_ids.c.price_id)))


class _Id(NamedTuple):
    price_id: int


def superfluous(tx: Transaction, keys: Sequence[Old]) -> list[int]:
    """At most BATCH prices that may be deleted. They stay superfluous whatever else comes in."""
    given = {"keys": encode_json(keys).decode(), "now": tx.now_ms}
    return [each.price_id for each in records(json_of(tx, _superfluous_ids, given), _Id)]


def drop(tx: Transaction, price_ids: Sequence[int]) -> int:
    """Delete prices; how many there were."""
    return tx.execute(_drop, {"ids": encode_json([[each] for each in price_ids]).decode()}).rowcount
