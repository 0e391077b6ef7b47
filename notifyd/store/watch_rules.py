"""What a watch says: the records that callers send, the store keeps and the checker obeys. Pure.

Percents have at most two decimals and are compared as whole hundredths of a percent ("basis points"), so
that every comparison of prices is one of integers.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from notifyd.messages import Cents, Id
from notifyd.store.folding import words

#: What `percent_drop` compares a price with, each per item, store and currency.
Baseline = Literal["previous", "median_30d", "lowest"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
#: What a watch is indexed by: the fixed target, one of the baselines, or the best across stores.
Measure = Literal["target", "previous", "median_30d", "lowest", "best_14d"]

#: A whole, in basis points.
WHOLE = 10_000

Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$")]
StoreId = Annotated[int, Meta(ge=-(2**53), le=2**53)] | Id
_Drop = Annotated[int, Meta(gt=0, le=100)] | Annotated[float, Meta(gt=0, le=100)]
_Deeper = Annotated[int, Meta(ge=0, le=100)] | Annotated[float, Meta(ge=0, le=100)]
_Rearm = Annotated[int, Meta(ge=0, le=1000)] | Annotated[float, Meta(ge=0, le=1000)]
_Cooldown = Annotated[int, Meta(ge=0, le=10 * 366 * 86_400)]


class _Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    rearm_percent: _Rearm = 2
    cooldown_s: _Cooldown = 86_400
    deeper_percent: _Deeper = 5

    @property
    def rearm_bp(self) -> int:
        return basis_points(self.rearm_percent)

    @property
    def deeper_bp(self) -> int:
        return basis_points(self.deeper_percent)


class TargetPrice(_Rule, frozen=True, kw_only=True, tag_field="type", tag="target_price"):
    """Fires when a price is at or below `price_in_cents`; with `currency`, only prices in it count."""

    price_in_cents: Cents
    currency: Currency | None = None

    @property
    def measure(self) -> Measure:
        return "target"

    @property
    def limit(self) -> int:
        """Cents: the watch is met by prices at or below it."""
        return self.price_in_cents


class PercentDrop(_Rule, frozen=True, kw_only=True, tag_field="type", tag="percent_drop"):
    """Fires when a price is at or below `baseline` × (1 − `percent` / 100)."""

    percent: _Drop
    baseline: Baseline

    @property
    def measure(self) -> Measure:
        return self.baseline

    @property
    def limit(self) -> int:
        """Basis points: the watch is met by drops at or above it."""
        return basis_points(self.percent)


class NewBest(_Rule, frozen=True, kw_only=True, tag_field="type", tag="new_best"):
    """Fires when a price is below all that the watched stores have had in the last 14 days."""

    @property
    def measure(self) -> Measure:
        return "best_14d"

    @property
    def limit(self) -> int:
        """The same for all: there is nothing to compare before the prices are known."""
        return 0


Rule = TargetPrice | PercentDrop | NewBest

#: Words of a search.
MAX_WORDS = 10
Search = Annotated[str, Meta(min_length=1, max_length=200)]


class WatchSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `PUT /v1/watches/{watch_id}`: one item by its id, or all whose names have these words."""

    rule: Rule
    item_id: Id | None = None
    search: Search | None = None
    stores: Annotated[list[StoreId], Meta(min_length=1, max_length=1000)] | None = None

    @property
    def words(self) -> list[str]:
        """The folded words of `search`."""
        return [] if self.search is None else words(self.search)


def basis_points(percent: float) -> int:
    """`percent` in whole hundredths. Exact for at most two decimals, which `decode_watch` demands."""
    return round(percent * 100)


_specs = msgspec.json.Decoder(WatchSpec)


def decode_watch(raw: bytes) -> WatchSpec:
    """The watch that a body spells. Raises msgspec.DecodeError with the path of the fault."""
    spec = _specs.decode(raw)
    check_watch(spec)
    return spec


def check_watch(spec: WatchSpec) -> None:
    """Raises msgspec.ValidationError for what types cannot say."""
    if (spec.item_id is None) == (spec.search is None):
        raise msgspec.ValidationError("Expected exactly one of `item_id` and `search`")
    if spec.search is not None and not 1 <= len(spec.words) <= MAX_WORDS:
        raise msgspec.ValidationError(f"Expected 1 to {MAX_WORDS} words - at `$.search`")
    stores = "".join(each for each in spec.stores or () if isinstance(each, str))
    for name, text in (("search", spec.search), ("item_id", spec.item_id), ("stores", stores)):
        if "\0" in (text or ""):
            raise msgspec.ValidationError(f"The character U+0000 is not accepted - at `$.{name}`")
    _check_decimals(spec.rule)


def _check_decimals(rule: Rule) -> None:
    names = ["rearm_percent", "deeper_percent"] + (["percent"] if isinstance(rule, PercentDrop) else [])
    for name in names:
        percent: float = getattr(rule, name)
        if basis_points(percent) / 100 != percent:
            raise msgspec.ValidationError(f"Expected at most two decimals - at `$.rule.{name}`")


# --- as the store keeps them -----------------------------------------------------------------------------

_rules: msgspec.json.Decoder[Rule] = msgspec.json.Decoder(Rule)
_id_texts = msgspec.json.Decoder(list[msgspec.Raw])


def encode_rule(rule: Rule) -> str:
    """The rule as JSON, with defaults filled in: equal rules give equal text."""
    return msgspec.json.encode(rule).decode()


def decode_rule(text: str) -> Rule:
    """What `encode_rule` wrote."""
    return _rules.decode(text)


def encode_store_id(store_id: int | str) -> str:
    """A store's id as its JSON text, by which stores are told apart: `3` and `"3"` are two stores."""
    return msgspec.json.encode(store_id).decode()


def decode_store_id(text: str) -> int | str:
    """The store's id as it was given."""
    return msgspec.json.decode(text, type=int | str)


def encode_stores(stores: list[int | str] | None) -> str | None:
    """A list of store ids as JSON, each once and in one order, so that equal sets give equal text."""
    if stores is None:
        return None
    return f"[{','.join(sorted({encode_store_id(store) for store in stores}))}]"


def decode_stores(text: str | None) -> frozenset[str] | None:
    """The stores' ids, each as its JSON text; None means every store."""
    return None if text is None else frozenset(bytes(raw).decode() for raw in _id_texts.decode(text))
