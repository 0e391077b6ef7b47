"""Files: CSV or JSON lines, gzipped or not, whole or damaged."""

from __future__ import annotations

import gzip
import json
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifyd.errors import ConfigError
from notifyd.importer.reading import MAX_LINE, open_source, read_rows
from notifyd.importer.rows import Row, RowError, make_spec

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "item_id,item_name,store_id,price_in_cents,currency\n"
LINE = "{},Milk,2,387,USD\n"


def read(path: Path) -> list[tuple[int, Any]]:
    """Line and item id of good rows, line and reason of bad ones."""
    with open_source(path) as source:
        return [
            (line, json.loads(row.json)["item_id"] if isinstance(row, Row) else row)
            for line, row in read_rows(source, make_spec())
        ]


def write(path: Path, text: str | bytes, *, packed: bool = False) -> Path:
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_csv(tmp_path: Path, packed: bool, newline: str, mark: str) -> None:
    text = (mark + HEADER + LINE.format("a") + "\n" + LINE.format("b")).replace("\n", newline)
    assert read(write(tmp_path / "f", text, packed=packed)) == [(2, "a"), (4, "b")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(tmp_path: Path, delimiter: str) -> None:
    text = (HEADER + LINE.format("a")).replace(",", delimiter)
    assert read(write(tmp_path / "f", text)) == [(2, "a")]


@pytest.mark.parametrize("packed", [False, True])
def test_json_lines(tmp_path: Path, packed: bool) -> None:
    row = {"item_id": "a", "item_name": "Milk", "store_id": 2, "price_in_cents": 387, "currency": "USD"}
    text = f"\n {json.dumps(row)}\n\n{json.dumps(row | {'item_id': 'b'})}"
    assert read(write(tmp_path / "f", text, packed=packed)) == [(2, "a"), (4, "b")]


def test_bad_rows_have_the_line_where_they_begin(tmp_path: Path) -> None:
    text = HEADER + 'a,"Milk\nand\nhoney",2,387,USD\nb,Milk\n' + 'c,"M\nx",2,-1,USD\n' + LINE.format("d")
    rows = read(write(tmp_path / "f", text))
    assert [line for line, _ in rows] == [2, 5, 6, 8]
    assert rows[0][1] == "a"
    assert "2 columns instead of 5" in str(rows[1][1])
    assert "price_in_cents" in str(rows[2][1])
    assert rows[3][1] == "d"


def test_a_bad_json_line_is_one_bad_row(tmp_path: Path) -> None:
    good = '{"item_id":"a","item_name":"M","store_id":2,"price_in_cents":1,"currency":"USD"}'
    rows = read(write(tmp_path / "f", f"{good}\n{{\n[]\n{good}\n"))
    assert [(line, isinstance(row, RowError)) for line, row in rows] == [
        (1, False),
        (2, True),
        (3, True),
        (4, False),
    ]


def test_other_encodings_are_bad_rows(tmp_path: Path) -> None:
    text = HEADER.encode() + LINE.format("a").encode() + b"b,K\xe4se,2,387,USD\n" + LINE.format("c").encode()
    rows = read(write(tmp_path / "f", text))
    assert [(line, isinstance(row, RowError)) for line, row in rows] == [(2, False), (3, True), (4, False)]
    assert "UTF-8" in str(rows[1][1])


@pytest.mark.parametrize("size", [MAX_LINE - 1, MAX_LINE, 3 * MAX_LINE, 5 * MAX_LINE + 17])
def test_lines_without_bounds_are_bad_rows(tmp_path: Path, size: int) -> None:
    text = HEADER + LINE.format("a") + LINE.format("x" * size) + LINE.format("b")
    rows = read(write(tmp_path / "f", text, packed=True))
    assert [line for line, _ in rows] == [2, 3, 4]
    assert isinstance(rows[1][1], RowError)
    assert (rows[0][1], rows[2][1]) == ("a", "b")


def test_a_json_line_without_bounds_is_a_bad_row(tmp_path: Path) -> None:
    good = '{"item_id":"a","item_name":"M","store_id":2,"price_in_cents":1,"currency":"USD"}'
    rows = read(write(tmp_path / "f", f'{good}\n{{"a":"{"x" * MAX_LINE}"}}\n{good}'))
    assert "longer than" in str(rows[1][1])
    assert rows[2] == (3, "a")


def test_a_quote_that_is_never_closed_costs_a_bounded_part(tmp_path: Path) -> None:
    text = HEADER + LINE.format("a") + 'b,"Milk,2,387,USD\n' + LINE.format("c") * 20_000
    rows = read(write(tmp_path / "f", text))
    assert "never closed" in str(rows[1][1])
    assert rows[1][0] == 3
    assert len(rows) > 10_000
    assert all(row == "c" for _, row in rows[3:])


def test_a_damaged_gzip_file_is_told_after_what_is_good(tmp_path: Path) -> None:
    whole = gzip.compress((HEADER + "".join(LINE.format(f"i{n}") for n in range(5000))).encode())
    path = write(tmp_path / "f", whole[:-200])
    rows = read(path)
    assert rows[0] == (2, "i0")
    line, last = rows[-1]
    assert "damaged" in str(last)
    assert line == len(rows) + 1


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "empty"),
        (b" \n\n", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b"PK\x03\x04rest", "not a text file"),
        (b"\x89PNG\0\0", "not a text file"),
        (b'[{"item_id": 1}]', "one JSON array"),
        (b"\x1f\x8bxx", "damaged gzip"),
        (b"a,a\n", "two columns are called 'a'"),
        (b"a,b\n", "say where to find item_id"),
    ],
)
def test_files_that_hold_no_prices(tmp_path: Path, data: bytes, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        read(write(tmp_path / "f", data))


def test_much_white_space_is_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"empty|columns"):
        read(write(tmp_path / "f", " \n" * 10_000))


@pytest.mark.parametrize(("name", "text"), [("nothing", "no such file"), (".", "a folder")])
def test_no_such_file(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        read(tmp_path / name)


def test_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=(HEADER + LINE.format("a"),))
    writer.start()
    with open_source(path) as source:
        assert [line for line, _ in read_rows(source, make_spec())] == [2]
        assert (source.size, source.position) == (0, 0)
    writer.join()


@given(st.binary(max_size=200))
def test_any_bytes_are_rows_or_a_config_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    for content in (data, HEADER.encode() + data, b"{" + data):
        path.write_bytes(content)
        try:
            rows = read(path)
        except ConfigError:
            continue
        lines = [line for line, _ in rows]
        assert lines == sorted(lines)
