"""What a watch says: the records that callers send, the store keeps and the checker obeys. Pure.

Percents have at most two decimals and are compared as whole hundredths of a percent ("basis points"), so
that every comparison of prices is one of integers.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from notifyd.messages import Cents, Id

#: What `percent_drop` compares a price with, each per item, store and currency.
Baseline = Literal["previous", "median_30d", "lowest"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
#: What a watch is indexed by: the fixed target, or one of the baselines.
Measure = Literal["target", "previous", "median_30d", "lowest"]

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


Rule = TargetPrice | PercentDrop


class WatchSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `PUT /v1/watches/{watch_id}`."""

    item_id: Id
    rule: Rule
    stores: Annotated[list[StoreId], Meta(min_length=1, max_length=1000)] | None = None


class _WatchBody(Struct, frozen=True, forbid_unknown_fields=True):
    rule: msgspec.Raw
    item_id: Id | UnsetType = UNSET
    search: str | UnsetType = UNSET
    stores: msgspec.Raw | UnsetType = UNSET


class _RuleType(Struct, frozen=True):
    type: str


def basis_points(percent: float) -> int:
    """`percent` in whole hundredths. Exact for at most two decimals, which `decode_watch` demands."""
    return round(percent * 100)


def decode_watch(raw: bytes) -> WatchSpec:
    """The watch that a body spells. Raises msgspec.DecodeError with the path of the fault."""
    body = msgspec.json.decode(raw, type=_WatchBody)
    if body.search is not UNSET:
        raise msgspec.ValidationError("Watches by search words are not supported yet - at `$.search`")
    if body.item_id is UNSET:
        raise msgspec.ValidationError("Object missing required field `item_id`")
    if _rule_type(body.rule) == "new_best":
        raise msgspec.ValidationError("The rule new_best is not supported yet - at `$.rule.type`")
    spec = msgspec.json.decode(raw, type=WatchSpec)
    _check_decimals(spec.rule)
    return spec


def _rule_type(rule: msgspec.Raw) -> str | None:
    try:
        return msgspec.json.decode(rule, type=_RuleType).type
    except msgspec.ValidationError:
        return None  # decoding the whole says what is wrong, with its path


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
