"""Lines are cut alike however they come, and the same input has the same keys."""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifyd.cli.lines import MAX_LINE_BYTES, BadLine, Line, Reader, Splitter

GOOD = b'{"user_id": "7", "type": "system-message", "data": {"message": "Hello"}}'


def cut(*parts: bytes) -> list[Line]:
    splitter = Splitter()
    return [line for part in parts for line in splitter.feed(part)] + [*splitter.end()]


@given(
    lines=st.lists(st.binary(max_size=8).filter(lambda line: b"\n" not in line)),
    size=st.integers(1, 20),
    ended=st.booleans(),
)
def test_how_it_comes_makes_no_difference(lines: list[bytes], size: int, ended: bool) -> None:
    text = b"\n".join(lines) + (b"\n" if ended else b"")
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    told = text.removeprefix(BOM_UTF8).split(b"\n")
    wanted = [Line(number, line.strip()) for number, line in enumerate(told, 1) if line.strip()]
    assert cut(*parts) == wanted


def test_blank_lines_count_and_a_byte_order_mark_does_not() -> None:
    assert cut(b"\xef\xbb\xbf{}\r\n\n  \n[]") == [Line(1, b"{}"), Line(4, b"[]")]


@pytest.mark.parametrize("end", [b"", b"\n", b"\n{}"])
def test_of_a_line_too_long_nothing_is_kept(end: bytes) -> None:
    parts = [b"x" * 40_000, b"x" * 40_000, b"x" * 40_000 + end]
    assert cut(b"{}\n", *parts)[:2] == [Line(1, b"{}"), Line(2, None)]
    assert cut(b"x" * MAX_LINE_BYTES + b"\n") == [Line(1, b"x" * MAX_LINE_BYTES)]


def key(reader: Reader, text: bytes) -> Any:
    return reader.read(Line(1, text))["idempotency_key"]


def test_the_same_line_again_is_another_one_and_the_same_input_again_is_the_same() -> None:
    other = GOOD.replace(b"Hello", b"Bye")
    first, second = Reader(), Reader()
    keys = [key(first, text) for text in (GOOD, other, GOOD, GOOD)]
    assert len(set(keys)) == 4
    assert [key(second, text) for text in (GOOD, GOOD, b'{"type": "mended"}', GOOD, other)] == [
        keys[0],
        keys[2],
        key(Reader(), b'{"type": "mended"}'),
        keys[3],
        keys[1],
    ]


def test_spaces_and_order_mean_nothing_and_the_batch_does() -> None:
    turned = b'{"data":{"message":"Hello"},"type":"system-message","user_id":"7","idempotency_key":null}'
    assert key(Reader(), GOOD) == key(Reader(), turned)
    assert key(Reader("monday"), GOOD) != key(Reader(), GOOD)
    assert key(Reader("monday"), GOOD) == key(Reader("monday"), GOOD)


def test_a_key_of_its_own_stays() -> None:
    assert key(Reader(), b'{"idempotency_key": "mine"}') == "mine"
    assert key(Reader(), b'{"idempotency_key": 5}') == 5, "the server says what is wrong with it"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "longer than 65,536 bytes"),
        (b"{", "not JSON: "),
        (b'{"a": "\xff"}', "not JSON: "),
        (b"[]", "not an object such as"),
        (b'"text"', "not an object such as"),
        (b"[" * 60_000, "not JSON: "),
    ],
)
def test_what_is_no_notification_is_told(text: bytes | None, why: str) -> None:
    with pytest.raises(BadLine, match=why):
        Reader().read(Line(1, text))
