"""One record as one price."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifyd.errors import ConfigError
from notifyd.importer.rows import FIELDS, RowError, RowParser, Spec, decode_object, make_spec

COLUMNS = ["item_id", "item_name", "store_id", "price_in_cents", "currency"]
GOOD = ["1", "Milk", "2", "387", "USD"]


def parsed(spec: Spec, columns: list[str] | None, record: Any) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(RowParser(spec, columns).parse(record).json)
    return row


def with_price(value: Any, decimals: int = 0) -> int:
    record = {"item_id": "1", "item_name": "M", "store_id": 2, "price_in_cents": value, "currency": "USD"}
    price: int = parsed(make_spec(decimals=decimals), None, record)["price_in_cents"]
    return price


def test_columns_of_the_same_name_need_no_map() -> None:
    assert parsed(make_spec(), COLUMNS, GOOD) == {
        "item_id": "1",
        "item_name": "Milk",
        "store_id": 2,
        "store_name": "Store 2",
        "price_in_cents": 387,
        "currency": "USD",
    }


def test_maps_and_constants() -> None:
    spec = make_spec(
        ["store_id=store", "item_name=item", "price_in_cents=price_cents"],
        ["currency=EUR", "store_name=Corner"],
        observed_at="week",
        week_one=date(1989, 9, 14),
    )
    columns = ["week", "store", "item_id", "item", "price_cents", "deal"]
    row = parsed(spec, columns, ["40", "2", "1", " Milk ", "387", "1"])
    assert row["observed_at"] == "1990-06-14T00:00:00.000Z"
    assert (row["store_id"], row["item_name"], row["currency"], row["store_name"]) == (
        2,
        "Milk",
        "EUR",
        "Corner",
    )
    assert "deal" not in row


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"maps": ["price=x"]}, "--map price=x: write FIELD=COLUMN"),
        ({"maps": ["item_id"]}, "--map item_id: write"),
        ({"sets": ["item_id="]}, "--set item_id=: write FIELD=VALUE"),
        ({"maps": ["item_id=a"], "sets": ["item_id=b"]}, "--set item_id: --map gives it as well"),
        ({"week_one": date(2020, 1, 1)}, "--observed-at COLUMN"),
        ({"decimals": 7}, "--decimals"),
    ],
)
def test_specs_that_make_no_sense(arguments: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        make_spec(**arguments)


def test_all_faults_of_a_spec_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        make_spec(["a=b"], ["c=d"], decimals=-1)
    assert len(str(caught.value).splitlines()) == 3


def test_missing_columns_are_told_at_once_with_what_is_there() -> None:
    with pytest.raises(ConfigError) as caught:
        RowParser(make_spec(["item_name=itm", "url=link"]), ["item_id", "item"])
    assert str(caught.value).splitlines() == [
        "--map item_name=itm: there is no such column",
        "--map url=link: there is no such column",
        "say where to find store_id, price_in_cents, currency: --map FIELD=COLUMN or --set FIELD=VALUE",
        "columns here are item_id, item",
    ]


@pytest.mark.parametrize("constant", ["currency=usd", "price_in_cents=3.99", "observed_at=noon"])
def test_constants_are_checked(constant: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        RowParser(make_spec([], [constant]), None)


@pytest.mark.parametrize(
    ("text", "cents"), [("0", 0), ("387", 387), (" 387 ", 387), ("387.00", 387), (387, 387)]
)
def test_prices_in_minor_units(text: Any, cents: int) -> None:
    assert with_price(text) == cents


@pytest.mark.parametrize(
    ("value", "decimals", "cents"),
    [
        ("3.99", 2, 399),
        ("4", 2, 400),
        (Decimal("3.9"), 2, 390),
        ("1.234", 3, 1234),
        (Decimal("1e3"), 0, 1000),
    ],
)
def test_prices_with_decimals(value: Any, decimals: int, cents: int) -> None:
    assert with_price(value, decimals) == cents


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        ("3.99", 0, "'3.99' is not in whole minor units; --decimals 2"),
        (Decimal("3.99"), 0, "--decimals 2"),
        ("3.999", 2, "more than 2 decimals"),
        ("-1", 0, "not a price from 0"),
        ("9007199254740993", 0, "not a price from 0"),
        ("$3", 0, "not a number"),
        ("1,000", 0, "not a number"),
        ("1_000", 0, "not a number"),
        ("٣", 0, "not a number"),
        ("1" * 30, 0, "not a number"),
        ("3.99999999999", 2, "not a number"),
        ("nan", 0, "not a number"),
        (Decimal("1e999999"), 0, "not a price"),
        (Decimal("3.9999999999999999999999999999999999"), 2, "not a price"),
        (True, 0, "not a price"),
        ([], 0, "not a price"),
        ({"a": "x" * 100}, 0, "…"),
        ("", 0, "nothing there"),
        (None, 0, "nothing there"),
    ],
)
def test_prices_that_are_none(value: Any, decimals: int, text: str) -> None:
    with pytest.raises(RowError, match="price_in_cents") as caught:
        with_price(value, decimals)
    assert text in str(caught.value)


@given(st.integers(0, 10**12), st.integers(0, 4))
def test_decimals_are_exact(cents: int, decimals: int) -> None:
    whole, rest = divmod(cents, 10**decimals)
    text = f"{whole}.{rest:0{decimals}d}" if decimals else str(whole)
    assert with_price(text, decimals) == cents
    assert with_price(Decimal(text), decimals) == cents


@pytest.mark.parametrize(
    ("given_id", "store_id"),
    [
        ("2", 2),
        ("0", 0),
        ("-5", -5),
        ("007", "007"),
        ("-0", "-0"),
        ("A1", "A1"),
        (7, 7),
        ("1" * 16, "1" * 16),
    ],
)
def test_store_ids_stay_what_they_are(given_id: Any, store_id: Any) -> None:
    record = dict(zip(COLUMNS, GOOD, strict=True)) | {"store_id": given_id}
    assert parsed(make_spec(), None, record)["store_id"] == store_id


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"store_id": True}, "not an id"),
        ({"store_id": 10**16}, "too large"),
        ({"store_id": "x" * 129}, "longer than 128"),
        ({"store_id": " "}, "store_id: nothing there"),
        ({"item_id": [1]}, "not an id"),
        ({"item_id": "x" * 129}, "longer than 128"),
        ({"item_name": 5}, "not text"),
        ({"item_name": " "}, "item_name: nothing there"),
        ({"item_name": "x" * 501}, "longer than 500"),
        ({"item_name": "\udcff"}, "UTF-8"),
        ({"currency": "usd"}, "capital letters"),
        ({"observed_at": "2026-01-31T12:00:00"}, "no time zone"),
        ({"observed_at": "2026-02-30"}, "not a time"),
        ({"observed_at": 5}, "not text"),
        ({"valid_until": "soon"}, "valid_until: 'soon' is not a time"),
    ],
)
def test_fields_that_are_none(change: dict[str, Any], text: str) -> None:
    record = dict(zip(COLUMNS, GOOD, strict=True)) | change
    with pytest.raises(RowError) as caught:
        RowParser(make_spec(), None).parse(record)
    assert text in str(caught.value)


def test_a_row_of_another_width() -> None:
    with pytest.raises(RowError, match="6 columns instead of 5"):
        RowParser(make_spec(), COLUMNS).parse([*GOOD, "x"])


def test_empty_optional_fields_are_left_out() -> None:
    record = dict(zip(COLUMNS, GOOD, strict=True)) | {"url": "", "store_name": None}
    row = parsed(make_spec(), None, record)
    assert "url" not in row
    assert row["store_name"] == "Store 2"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31", "2026-01-31T00:00:00.000Z"),
        ("2026-01-31T13:00:00+01:00", "2026-01-31T12:00:00.000Z"),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000Z"),
    ],
)
def test_times(text: str, moment: str) -> None:
    parser = RowParser(make_spec(), None)
    record = dict(zip(COLUMNS, GOOD, strict=True)) | {"observed_at": text}
    for _ in range(2):
        row = parser.parse(record)
        assert row.observed_at == moment
        assert json.loads(row.json)["observed_at"] == moment


@pytest.mark.parametrize("week", ["1.5", "x", "99999999", True, [1]])
def test_weeks_that_are_none(week: Any) -> None:
    parser = RowParser(make_spec(observed_at="week", week_one=date(2026, 1, 1)), None)
    record = dict(zip(COLUMNS, GOOD, strict=True))
    assert parser.parse(record | {"week": 1}).observed_at == "2026-01-01T00:00:00.000Z"
    with pytest.raises(RowError, match="week"):
        parser.parse(record | {"week": week})


def test_many_different_times_take_bounded_memory() -> None:
    parser = RowParser(make_spec(observed_at="week", week_one=date(1, 1, 1)), None)
    record = dict(zip(COLUMNS, GOOD, strict=True))
    for week in range(1, 10_050):
        parser.parse(record | {"week": week})
    assert len(parser._times) < 10_000


def test_rows_without_a_time_get_that_of_the_file() -> None:
    spec = Spec({}, {}, file_time="2026-01-01T00:00:00.000Z")
    assert parsed(spec, COLUMNS, GOOD)["observed_at"] == "2026-01-01T00:00:00.000Z"


@pytest.mark.parametrize("line", ["[]", "5", "{", '{"a": 1} x', "", '{"a": ' + "[" * 5000, '"\udcff"'])
def test_lines_that_are_no_json_object(line: str) -> None:
    with pytest.raises(RowError, match="JSON"):
        decode_object(line)


def test_json_numbers_stay_exact() -> None:
    assert decode_object('{"a": 3.99, "b": 5}') == {"a": Decimal("3.99"), "b": 5}


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals() | st.text() | st.binary(max_size=3).map(repr),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=3,
)


@given(st.dictionaries(st.sampled_from(FIELDS), anything), st.booleans())
def test_any_record_is_a_row_or_a_row_error(record: dict[str, Any], weeks: bool) -> None:
    spec = make_spec(week_one=date(2020, 1, 1), observed_at="observed_at") if weeks else make_spec()
    try:
        row = RowParser(spec, None).parse(dict(zip(COLUMNS, GOOD, strict=True)) | record)
    except RowError:
        return
    price = json.loads(row.json)["price_in_cents"]
    assert isinstance(price, int)
    assert 0 <= price <= 2**53


@given(st.lists(st.text(), max_size=8))
def test_any_csv_record_is_a_row_or_a_row_error(record: list[str]) -> None:
    try:
        RowParser(make_spec(), COLUMNS).parse(record)
    except RowError:
        return
    assert len(record) == 5


@given(st.text())
def test_any_line_is_an_object_or_a_row_error(line: str) -> None:
    try:
        assert isinstance(decode_object(line), dict)
    except RowError:
        return
