"""Watches and their states: setting and reading them, and finding those that a run of prices concerns.

What the checker asks about many items or series travels as JSON, and so do the answers; `json_rows.records`
decodes them into the record types that stand here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import and_, bindparam, delete, exists, func, insert, select, tuple_

from notifyd.store import item_words
from notifyd.store.json_rows import INT, TEXT, json_of, rows_of, together, values_of
from notifyd.store.prices import last_price_id
from notifyd.store.schema import items, price_series, prices, watch_items, watch_states, watches
from notifyd.store.watch_rules import WatchSpec, encode_rule, encode_stores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ScalarSelect

    from notifyd.store.base import Transaction

# --- for the checker --------------------------------------------------------------------------------


class Watch(NamedTuple):
    """A watch of an item as the checker needs it; `stores` and `rule` are JSON texts.

    A watch by search words is one for each of its items, all with the same `watch_key`.
    """

    watch_key: int
    user_id: str
    watch_id: str
    item_id: str
    stores: str | None
    rule: str


class WatchState(NamedTuple):
    """The state of a watch in one series."""

    watch_key: int
    series_id: int
    armed: bool
    told: int
    fired_ms: int


class Fired(NamedTuple):
    """A state and the watch that is in it, with what its rule measures."""

    series_id: int
    armed: bool
    told: int
    fired_ms: int
    watch_key: int
    user_id: str
    watch_id: str
    item_id: str
    stores: str | None
    rule: str
    measure: str

    @property
    def watch(self) -> Watch:
        return Watch(self.watch_key, self.user_id, self.watch_id, self.item_id, self.stores, self.rule)


class Awaited(NamedTuple):
    """What the watches of an item wait for at least, None where none waits.

    The smallest drop, in basis points, by baseline (`best_14d` is 0), and the highest target.
    """

    item_id: str
    previous: int | None
    median_30d: int | None
    lowest: int | None
    best_14d: int | None
    target: int | None


class Limit(NamedTuple):
    """Asks for the watches of an item by `measure` that a price of this run meets at best."""

    item_id: str
    measure: str
    limit: int


_items = values_of("items", item_id=TEXT)
_limits = rows_of("keys", item_id=TEXT, measure=TEXT, limit=INT)
_watch_columns = (
    watches.c.watch_key,
    watches.c.user_id,
    watches.c.watch_id,
    watch_items.c.item_id,
    watches.c.stores,
    watches.c.rule,
)


def _least(measure: str) -> ScalarSelect[Any]:
    limit = watch_items.c.rule_limit
    return (
        select(limit)
        .where(watch_items.c.item_id == _items.c.item_id, watch_items.c.measure == measure)
        .order_by(limit.desc() if measure == "target" else limit)
        .limit(1)
        .scalar_subquery()
    )


_awaited = select(
    together(_items.c.item_id, *(_least(measure) for measure in Awaited._fields[1:]))
).select_from(_items)
_set_before = watches.c.since_price_id < bindparam("first", type_=INT)
_waiting = (
    select(together(*_watch_columns))
    .join_from(
        _limits,
        watch_items,
        and_(watch_items.c.item_id == _limits.c.item_id, watch_items.c.measure == _limits.c.measure),
    )
    .join(watches, watches.c.watch_key == watch_items.c.watch_key)
    .where(_set_before)
)
_met_targets = _waiting.where(watch_items.c.rule_limit >= _limits.c.limit)
_met_drops = _waiting.where(watch_items.c.rule_limit <= _limits.c.limit)
_series = values_of("series", series_id=INT)
_fired = (
    select(
        together(
            watch_states.c.series_id,
            watch_states.c.armed,
            watch_states.c.told_in_cents,
            watch_states.c.fired_ms,
            *_watch_columns,
            watches.c.measure,
        )
    )
    .join_from(_series, watch_states, watch_states.c.series_id == _series.c.series_id)
    .join(price_series, price_series.c.series_id == watch_states.c.series_id)
    .join(
        watch_items,
        and_(
            watch_items.c.watch_key == watch_states.c.watch_key,
            watch_items.c.item_id == price_series.c.item_id,
        ),
    )
    .join(watches, watches.c.watch_key == watch_states.c.watch_key)
    .where(_set_before)
)


def awaited(tx: Transaction, items: str) -> bytes:
    """What is Awaited of each item in a JSON array of ids."""
    return json_of(tx, _awaited, {"items": items})


def fired(tx: Transaction, series: str, first: int) -> bytes:
    """The Fired of watches set before the price `first`, in the series of a JSON array of their numbers."""
    return json_of(tx, _fired, {"series": series, "first": first})


def met_targets(tx: Transaction, keys: str, first: int) -> bytes:
    """The Watches, set before the price `first`, whose target is at or above each Limit."""
    return json_of(tx, _met_targets, {"keys": keys, "first": first})


def met_drops(tx: Transaction, keys: str, first: int) -> bytes:
    """The Watches, set before the price `first`, that wait for at most the drop of each Limit."""
    return json_of(tx, _met_drops, {"keys": keys, "first": first})


_series_keys = rows_of("keys", series_id=INT)
_linked = select(watch_items.c.item_id).where(
    watch_items.c.watch_key == bindparam("key", type_=INT),
    watch_items.c.item_id > bindparam("after", type_=TEXT),
)
_states_of_watch = select(
    together(
        watch_states.c.watch_key,
        watch_states.c.series_id,
        watch_states.c.armed,
        watch_states.c.told_in_cents,
        watch_states.c.fired_ms,
    )
).where(
    watch_states.c.watch_key == bindparam("key", type_=INT),
    watch_states.c.series_id.in_(select(_series_keys.c.series_id)),
)


def linked_items(tx: Transaction, watch_key: int, after: str, limit: int) -> list[str]:
    """At most `limit` of the items that a watch concerns, by id, after one of them."""
    query = _linked.order_by(watch_items.c.item_id).limit(limit)
    return list(tx.execute(query, {"key": watch_key, "after": after}).scalars())


def states_of_watch(tx: Transaction, watch_key: int, keys: str) -> bytes:
    """The WatchStates of a watch in the series `keys`, a JSON array of one-item arrays."""
    return json_of(tx, _states_of_watch, {"key": watch_key, "keys": keys})


# --- states -----------------------------------------------------------------------------------------


class StateRow(NamedTuple):
    """The state of a watch in a series, as it is to be stored."""

    watch_key: int
    series_id: int
    armed: int
    told_in_cents: int
    fired_ms: int


_watch_keys = rows_of("keys", watch_key=INT)
_gone = rows_of("keys", watch_key=INT, series_id=INT)
_state_rows = rows_of("states", watch_key=INT, series_id=INT, armed=INT, told_in_cents=INT, fired_ms=INT)
_still_there = select(func.count()).join_from(
    _watch_keys, watches, watches.c.watch_key == _watch_keys.c.watch_key
)
_drop_states = delete(watch_states).where(
    tuple_(watch_states.c.watch_key, watch_states.c.series_id).in_(
        select(_gone.c.watch_key, _gone.c.series_id)
    )
)
_add_states = insert(watch_states).from_select(
    list(_state_rows.c.keys()),
    select(*(column if column.key != "armed" else column == 1 for column in _state_rows.c)),
)


def are_there(tx: Transaction, keys: str, count: int) -> bool:
    """Whether all `count` watches in `keys`, a JSON array of one-item arrays, are as they were read."""
    found: int = tx.execute(_still_there, {"keys": keys}).scalar_one()
    return found == count


def replace_states(tx: Transaction, keys: str, states: str) -> None:
    """Forget the states of pairs (watch_key, series_id) in `keys`, then store the StateRows of `states`."""
    tx.execute(_drop_states, {"keys": keys})
    tx.execute(_add_states, {"states": states})


# --- for callers ------------------------------------------------------------------------------------


class StoredWatch(NamedTuple):
    """A watch as its user sees it; `stores` and `rule` are JSON texts."""

    watch_key: int
    watch_id: str
    item_id: str | None
    search: str | None
    stores: str | None
    rule: str
    since_price_id: int
    created_ms: int
    item_name: str | None


class Newest(NamedTuple):
    """The newest price of an item in one store and currency."""

    series_id: int
    item_id: str
    item_name: str
    store_id: str
    store_name: str
    currency: str
    price_id: int
    observed_ms: int
    price: int
    valid_until_ms: int | None


_stored = select(
    watches.c.watch_key,
    watches.c.watch_id,
    watches.c.item_id,
    watches.c.search,
    watches.c.stores,
    watches.c.rule,
    watches.c.since_price_id,
    watches.c.created_ms,
    items.c.name,
).select_from(watches.outerjoin(items, items.c.item_id == watches.c.item_id))


def find_watch(tx: Transaction, user_id: str, watch_id: str) -> StoredWatch | None:
    """One watch of a user."""
    query = _stored.where(watches.c.user_id == user_id, watches.c.watch_id == watch_id)
    found = tx.execute(query).one_or_none()
    return None if found is None else StoredWatch._make(found)


def list_watches(tx: Transaction, user_id: str, after: str, limit: int) -> Sequence[StoredWatch]:
    """The user's watches whose ids come after `after`, by id."""
    query = (
        _stored.where(watches.c.user_id == user_id, watches.c.watch_id > after)
        .order_by(watches.c.watch_id)
        .limit(limit)
    )
    return [StoredWatch._make(row) for row in tx.execute(query)]


def delete_watch(tx: Transaction, user_id: str, watch_id: str) -> bool:
    """Forget a watch and its states; False when there is none."""
    gone = delete(watches).where(watches.c.user_id == user_id, watches.c.watch_id == watch_id)
    return tx.execute(gone).rowcount == 1


def put_watch(
    tx: Transaction, user_id: str, watch_id: str, spec: WatchSpec, states: Sequence[StateRow]
) -> int:
    """Set a watch anew, in the place of one of that name: prices stored from now on concern it.

    `states` are the series in which it starts as fired, whatever their `watch_key`. Gives its own.
    """
    delete_watch(tx, user_id, watch_id)
    values = {
        "user_id": user_id,
        "watch_id": watch_id,
        "item_id": spec.item_id,
        "search": spec.search,
        "word_count": len(spec.words),
        "stores": encode_stores(spec.stores),
        "rule": encode_rule(spec.rule),
        "measure": spec.rule.measure,
        "rule_limit": spec.rule.limit,
        "since_price_id": last_price_id(tx, lock=True),
        "created_ms": tx.now_ms,
    }
    key: int = tx.execute(insert(watches).values(values).returning(watches.c.watch_key)).scalar_one()
    item_words.link(tx, key, spec.words)
    if states:
        tx.execute(insert(watch_states), [state._replace(watch_key=key)._asdict() for state in states])
    return key


_own = prices.alias("own")
_newest_of_series = (
    select(_own.c.price_id)
    .where(_own.c.series_id == price_series.c.series_id)
    .order_by(_own.c.observed_ms.desc(), _own.c.price_id.desc())
    .limit(1)
    .scalar_subquery()
)
_item_keys = rows_of("keys", item_id=TEXT)
_newest_of_items = (
    select(
        together(
            price_series.c.series_id,
            price_series.c.item_id,
            items.c.name,
            price_series.c.store_id,
            price_series.c.store_name,
            price_series.c.currency,
            prices.c.price_id,
            prices.c.observed_ms,
            prices.c.price_in_cents,
            prices.c.valid_until_ms,
        )
    )
    .join_from(_item_keys, price_series, price_series.c.item_id == _item_keys.c.item_id)
    .join(items, items.c.item_id == price_series.c.item_id)
    .join(prices, prices.c.price_id == _newest_of_series)
)


def newest_of_items(tx: Transaction, keys: str) -> bytes:
    """The Newest price of each item in each store and currency; `keys` is an array of one-item arrays."""
    return json_of(tx, _newest_of_items, {"keys": keys})


def items_of(tx: Transaction, spec: WatchSpec, limit: int) -> list[str]:
    """At most `limit` of the items that a watch would concern, by id."""
    if spec.item_id is not None:
        return [spec.item_id]
    query = item_words.matching.order_by(item_words.matching.selected_columns.item_id).limit(limit)
    return list(tx.execute(query, item_words.matching_parameters(spec.words)).scalars())


_later = (
    select(prices.c.price_id)
    .join(price_series, price_series.c.series_id == prices.c.series_id + 0)  # from the few later prices on
    .where(prices.c.price_id > bindparam("after", type_=INT))
)
_later_of_item = select(exists(_later.where(price_series.c.item_id == bindparam("item", type_=TEXT))))
_later_of_words = select(exists(_later.where(price_series.c.item_id.in_(item_words.matching))))


def has_prices_after(tx: Transaction, spec: WatchSpec, price_id: int) -> bool:
    """Whether any price of an item that the watch would concern has a higher number than `price_id`."""
    if spec.item_id is not None:
        found = tx.execute(_later_of_item, {"after": price_id, "item": spec.item_id})
    else:
        given = item_words.matching_parameters(spec.words)
        found = tx.execute(_later_of_words, given | {"after": price_id})
    return bool(found.scalar_one())
