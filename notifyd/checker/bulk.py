"""Setting many watches: those of items in portions, each portion in one transaction."""

from __future__ import annotations

from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from notifyd.checker.watching import already_met, is_same, set_watch
from notifyd.errors import HttpError, StatementFailed, StoreError
from notifyd.store import prices, watches
from notifyd.store.watch_rules import encode_rule, encode_stores
from notifyd.store.watches import StateRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifyd.store.base import Store, Transaction
    from notifyd.store.watch_rules import WatchSpec
    from notifyd.store.watches import Newest, StoredWatch

#: Watches set in one transaction: about a millisecond each.
PORTION: Final = 20


#: A user and a watch of theirs.
Name = tuple[str, str]


class Wanted(NamedTuple):
    """A watch to set."""

    user_id: str
    watch_id: str
    spec: WatchSpec

    @property
    def name(self) -> Name:
        return self.user_id, self.watch_id


class Setting(NamedTuple):
    """A watch that was set: whether it is new, and whether prices meet it already."""

    created: bool
    already_met: bool


class _Known(NamedTuple):
    before: list[StoredWatch | None]
    last_price_id: int


async def set_watches(store: Store, given: Sequence[tuple[str, str, WatchSpec]]) -> list[Setting | HttpError]:
    """Set watches (user_id, watch_id, spec), no two of the same name, each succeeding or failing alone.

    What is given back is in their order. See `watching.set_watch`.
    """
    wanted = [Wanted(*each) for each in given]
    outcomes: dict[Name, Setting | HttpError] = {}
    by_item = [each for each in wanted if each.spec.item_id is not None]
    for start in range(0, len(by_item), PORTION):
        outcomes |= await _set_portion(store, by_item[start : start + PORTION])
    return [
        outcomes[each.name] if each.name in outcomes else await _set_alone(store, each) for each in wanted
    ]


async def _set_portion(store: Store, wanted: list[Wanted]) -> dict[Name, Setting | HttpError]:
    """What could be set together; what could not is left out, to be set alone."""
    try:
        known = await store.read(partial(_read, wanted=wanted))
        met = await _already_met(store, wanted)
        done = await store.write(partial(_write, wanted=wanted, known=known, met=met))
    except StatementFailed:
        return {}
    except StoreError as fault:
        return {each.name: fault for each in wanted}
    return {
        each.name: Setting(before is None, bool(met[each.name]))
        for each, before in zip(wanted, known.before, strict=True)
        if each.name in done
    }


def _read(tx: Transaction, *, wanted: list[Wanted]) -> _Known:
    before = [watches.find_watch(tx, each.user_id, each.watch_id) for each in wanted]
    return _Known(before, prices.last_price_id(tx))


async def _already_met(store: Store, wanted: list[Wanted]) -> dict[Name, list[Newest]]:
    """The newest prices that meet each; equal rules are looked at together."""
    met: dict[Name, list[Newest]] = {}
    for _, group in groupby(sorted(wanted, key=_rule_of), key=_rule_of):
        alike = list(group)
        items = list(dict.fromkeys(str(each.spec.item_id) for each in alike))
        found = await already_met(store, items, alike[0].spec)
        for each in alike:
            met[each.name] = [price for price in found if price.item_id == each.spec.item_id]
    return met


def _rule_of(wanted: Wanted) -> tuple[str, str]:
    return encode_rule(wanted.spec.rule), encode_stores(wanted.spec.stores) or ""


def _write(
    tx: Transaction, *, wanted: list[Wanted], known: _Known, met: dict[Name, list[Newest]]
) -> set[Name]:
    """Set those about whose items nothing has become known meanwhile; gives them."""
    done = set()
    for each, before in zip(wanted, known.before, strict=True):
        if before is not None and is_same(before, each.spec):
            done.add(each.name)
        elif not watches.has_prices_after(tx, each.spec, known.last_price_id):
            states = [
                StateRow(0, price.series_id, 0, price.price, price.observed_ms) for price in met[each.name]
            ]
            watches.put_watch(tx, each.user_id, each.watch_id, each.spec, states)
            done.add(each.name)
    return done


async def _set_alone(store: Store, wanted: Wanted) -> Setting | HttpError:
    try:
        watch_set = await set_watch(store, *wanted)
    except HttpError as fault:
        return fault
    return Setting(watch_set.created, bool(watch_set.met_by))
