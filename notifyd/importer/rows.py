"""One record of a price file as one row of `POST /v1/prices`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from notifyd.errors import ConfigError
from notifyd.messages import encode_json, iso, parse_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

REQUIRED = ("item_id", "item_name", "store_id", "price_in_cents", "currency")
OPTIONAL = ("store_name", "observed_at", "valid_until", "url", "image_url")
FIELDS = REQUIRED + OPTIONAL
#: Longest texts that the server takes, in characters.
MAX_LENGTH = {"item_id": 128, "item_name": 500, "store_name": 500, "url": 2000, "image_url": 2000}
MAX_STORE_ID = 128
#: The server's largest price; JSON numbers are exact up to here (RFC 8259 section 6).
MAX_CENTS = 2**53
#: Times are few in a price file; each distinct one is understood once.
_TIMES_KEPT = 10_000

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,14})", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]{1,16}(\.[0-9]{1,10})?", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class RowError(Exception):
    """Why a record cannot be imported."""


class Row(NamedTuple):
    """A price as JSON, and when it was observed; None is now."""

    json: bytes
    observed_at: str | None


@dataclass(frozen=True)
class Spec:
    """Where each field of a price comes from.

    `columns` maps fields to the file's columns, `constants` to values; prices have `decimals` digits after
    the point. With `week_one`, `observed_at` is a column of week numbers and that is the date of week 1.
    Rows without a time get `file_time`.
    """

    columns: Mapping[str, str]
    constants: Mapping[str, str]
    week_one: date | None = None
    decimals: int = 0
    file_time: str | None = None


def make_spec(
    maps: Sequence[str] = (),
    sets: Sequence[str] = (),
    *,
    observed_at: str | None = None,
    week_one: date | None = None,
    decimals: int = 0,
) -> Spec:
    """A Spec of `field=column` and `field=value` texts. Raises ConfigError with every fault, one a line."""
    faults: list[str] = []
    columns = _pairs("--map", "column", maps, faults)
    constants = _pairs("--set", "value", sets, faults)
    if observed_at is not None:
        columns["observed_at"] = observed_at
    faults += [f"--set {name}: --map gives it as well" for name in columns.keys() & constants.keys()]
    if week_one is not None and "observed_at" not in columns:
        faults.append("--week-one: say which column has the week number with --observed-at COLUMN")
    if not 0 <= decimals <= 6:
        faults.append("--decimals: give a number from 0 to 6")
    if faults:
        raise ConfigError("\n".join(faults))
    return Spec(columns, constants, week_one, decimals)


def _pairs(option: str, what: str, texts: Sequence[str], faults: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in FIELDS or not value:
            faults.append(f"{option} {text}: write FIELD={what.upper()}, FIELD one of {', '.join(FIELDS)}")
        pairs[name] = value
    return pairs


class RowParser:
    """Turns records into rows; `columns` are the names in a CSV file's first line, None for JSON lines."""

    def __init__(self, spec: Spec, columns: Sequence[str] | None) -> None:
        self._spec = spec
        self._width = None if columns is None else len(columns)
        self._times: dict[str, str] = {}
        self._sources: list[tuple[str, str, Any, Callable[[Any], Any]]] = []
        self._constants: dict[str, Any] = {}
        converters = self._converters()
        for field, value in spec.constants.items():
            self._constants[field] = _constant(field, value, converters[field])
        self._find_columns(columns, converters)

    def _converters(self) -> dict[str, Callable[[Any], Any]]:
        return {
            "item_id": _identifier,
            "store_id": _store_id,
            "price_in_cents": self._price,
            "currency": _currency,
            "observed_at": self._time if self._spec.week_one is None else self._week,
            "valid_until": self._time,
        } | dict.fromkeys(("item_name", "store_name", "url", "image_url"), _text)

    def _find_columns(
        self, columns: Sequence[str] | None, converters: Mapping[str, Callable[[Any], Any]]
    ) -> None:
        faults: list[str] = []
        missing: list[str] = []
        for field in FIELDS:
            if field in self._constants:
                continue
            column = self._spec.columns.get(field, field)
            if columns is None or column in columns:
                key = column if columns is None else columns.index(column)
                self._sources.append((field, column, key, converters[field]))
            elif field in self._spec.columns:
                faults.append(f"--map {field}={column}: there is no such column")
            elif field in REQUIRED:
                missing.append(field)
        if missing:
            faults.append(f"say where to find {', '.join(missing)}: --map FIELD=COLUMN or --set FIELD=VALUE")
        if faults:
            raise ConfigError("\n".join([*faults, f"columns here are {', '.join(columns or ())}"]))

    def parse(self, record: Sequence[str] | Mapping[str, Any]) -> Row:
        """The row that `record` spells. Raises RowError."""
        if self._width is not None and len(record) != self._width:
            raise RowError(f"{len(record)} columns instead of {self._width}")
        row = dict(self._constants)
        for field, column, key, convert in self._sources:
            value = record[key] if self._width is not None else record.get(key)  # type: ignore[union-attr]
            if value is None or value == "":
                if field in REQUIRED:
                    raise RowError(f"{column}: nothing there")
                continue
            try:
                row[field] = convert(value)
            except ValueError as fault:
                raise RowError(f"{column}: {fault}") from None
        if "store_name" not in row:
            row["store_name"] = f"Store {row['store_id']}"
        if "observed_at" not in row and self._spec.file_time is not None:
            row["observed_at"] = self._spec.file_time
        _check_lengths(row)
        return _encoded(row)

    def _price(self, value: Any) -> int:
        amount = _amount(value).scaleb(self._spec.decimals)
        if not 0 <= amount <= MAX_CENTS:
            raise ValueError(f"{_shown(value)} is not a price from 0 to {MAX_CENTS}")
        cents = int(amount)
        if cents != amount:
            raise ValueError(self._not_whole(value))
        return cents

    def _not_whole(self, value: Any) -> str:
        if self._spec.decimals:
            return f"{_shown(value)} has more than {self._spec.decimals} decimals"
        return f"{_shown(value)} is not in whole minor units; --decimals 2 reads a price of 3.99 as 399 cents"

    def _time(self, value: Any) -> str:
        text = _text(value)
        return self._times.get(text) or self._remember(text, _moment(text))

    def _week(self, value: Any) -> str:
        text = str(value).strip()
        known = self._times.get(text)
        if known is not None:
            return known
        if not _INTEGER.fullmatch(text):
            raise ValueError(f"{_shown(value)} is not a week number")
        try:
            day = (self._spec.week_one or date.min) + timedelta(weeks=int(text) - 1)
        except OverflowError:
            raise ValueError(f"week {text} is beyond the calendar") from None
        return self._remember(text, f"{day.isoformat()}T00:00:00.000Z")

    def _remember(self, text: str, time: str) -> str:
        if len(self._times) >= _TIMES_KEPT:
            self._times.clear()
        self._times[text] = time
        return time


def _constant(field: str, value: str, convert: Callable[[Any], Any]) -> Any:
    try:
        return convert(value)
    except ValueError as fault:
        raise ConfigError(f"--set {field}: {fault}") from None


def _shown(value: Any) -> str:
    text = repr(str(value) if isinstance(value, Decimal) else value)
    return text if len(text) <= 60 else text[:57] + "…"


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} is not text")
    return value.strip()


def _amount(value: Any) -> Decimal:
    """The exact number; Decimal keeps 28 digits, so texts and numbers with more of them are no prices."""
    if isinstance(value, str):
        value = value.strip()
        if not _NUMBER.fullmatch(value):
            raise ValueError(f"{_shown(value)} is not a number")
        return Decimal(value)
    if isinstance(value, Decimal):
        _, digits, exponent = value.as_tuple()
        if len(digits) > 26 or not isinstance(exponent, int) or abs(exponent) > 26:
            raise ValueError(f"{_shown(value)} is not a price")
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{_shown(value)} is not a price")
    return Decimal(value)


def _identifier(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{_shown(value)} is not an id")
    return str(value).strip()


def _store_id(value: Any) -> int | str:
    """A number stays a number; CSV knows only text, so whole numbers as people write them become numbers."""
    text = _identifier(value)
    if _INTEGER.fullmatch(text) and text != "-0":
        return int(text)
    if isinstance(value, int):
        raise ValueError(f"{_shown(value)} is too large")
    return text


def _currency(value: Any) -> str:
    text = _text(value)
    if not _CURRENCY.fullmatch(text):
        raise ValueError(f"{_shown(value)} is not a currency; write three capital letters like USD")
    return text


def _moment(text: str) -> str:
    try:
        if _DATE.fullmatch(text):
            return f"{datetime.fromisoformat(text).date().isoformat()}T00:00:00.000Z"
        return iso(parse_time(text))
    except (ValueError, OverflowError) as fault:
        raise ValueError(f"{_shown(text)} is not a time like 2026-01-31T12:00:00Z: {fault}") from None


def _check_lengths(row: Mapping[str, Any]) -> None:
    for field, most in MAX_LENGTH.items():
        if field in row and not 1 <= len(row[field]) <= most:
            raise RowError(
                f"{field}: longer than {most} characters" if row[field] else f"{field}: nothing there"
            )
    store_id = row["store_id"]
    if isinstance(store_id, str) and not 1 <= len(store_id) <= MAX_STORE_ID:
        raise RowError(
            f"store_id: longer than {MAX_STORE_ID} characters" if store_id else "store_id: nothing there"
        )


def _encoded(row: Mapping[str, Any]) -> Row:
    try:
        return Row(encode_json(row), row.get("observed_at"))
    except UnicodeEncodeError:
        raise RowError("not UTF-8 text; save the file as UTF-8") from None


def decode_object(line: str) -> dict[str, Any]:
    """The JSON object on one line; numbers with a point stay exact. Raises RowError."""
    try:
        return _object_decoder.decode(line)
    except msgspec.ValidationError:
        raise RowError("not a JSON object") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError, InvalidOperation) as fault:
        raise RowError(f"not JSON: {fault}") from None


_object_decoder = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
