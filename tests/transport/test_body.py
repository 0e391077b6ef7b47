"""The door knows the last byte of every body, in whatever pieces it comes."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifyd.errors import BadRequest
from notifyd.transport.body import ChunkedBody, LengthBody, body_of
from notifyd.transport.head import parse_head


def feed_all(body: ChunkedBody | LengthBody, data: bytes, sizes: list[int]) -> int:
    """Feed `data` in pieces of `sizes`, then the rest; the number of bytes taken."""
    taken = 0
    for size in [*sizes, len(data)]:
        piece = data[taken : taken + size]
        count = body.feed(piece)
        taken += count
        if body.complete:
            break
        assert count == len(piece)
    return taken


def test_without_an_announcement_there_is_no_body() -> None:
    body = body_of(parse_head(b"GET / HTTP/1.0\r\n\r\n", "p"))
    assert body.complete
    assert body.feed(b"next") == 0


def test_the_head_says_how_the_body_ends() -> None:
    length = body_of(parse_head(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n", "p"))
    assert length.feed(b"abcd") == 3
    assert length.complete
    chunked = body_of(parse_head(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "p"))
    assert chunked.feed(b"0\r\n\r\nabc") == 5
    assert chunked.complete


chunks = st.lists(st.binary(min_size=1, max_size=40), max_size=6)
extensions = st.sampled_from([b"", b";a", b';a="b c"', b";"])
trailers = st.sampled_from([b"", b"X: y\r\n", b"X: y\r\nZ:\r\n"])
pieces = st.lists(st.integers(1, 20), max_size=60)


@given(chunks, extensions, trailers, pieces)
def test_a_chunked_body_ends_where_it_ends(
    parts: list[bytes], extension: bytes, trailer: bytes, sizes: list[int]
) -> None:
    wire = b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts)
    wire += b"0" + extension + b"\r\n" + trailer + b"\r\n"
    body = ChunkedBody()
    assert feed_all(body, wire + b"GET /next", sizes) == len(wire)
    assert body.complete


@given(st.integers(0, 100), pieces)
def test_a_measured_body_ends_where_it_ends(length: int, sizes: list[int]) -> None:
    body = LengthBody(length)
    assert feed_all(body, b"x" * 200, sizes) == length
    assert body.complete


MALFORMED = {
    "no size": b"\r\n",
    "not hex": b"g\r\n",
    "signed": b"+5\r\nabcde\r\n",
    "prefixed": b"0x5\r\nabcde\r\n",
    "blank before": b" 5\r\nabcde\r\n",
    "blank behind": b"5 \r\nabcde\r\n",
    "underscore": b"1_0\r\n",
    "too large": b"1" * 16 + b"\r\n",
    "bare LF after the size": b"5\nabcde\r\n",
    "bare CR in an extension": b"5;a\rb\r\nabcde\r\n",
    "NUL in an extension": b"5;a\x00\r\nabcde\r\n",
    "longer than said": b"5\r\nabcdefgh\r\n",
    "shorter than said": b"5\r\nabc\r\n0\r\n\r\n",
    "bare LF after the data": b"5\r\nabcde\n0\r\n\r\n",
    "endless size line": b"0" * 600,
    "endless extension": b"5;" + b"a" * 600,
    "trailer without colon": b"0\r\nabc\r\n\r\n",
    "folded trailer": b"0\r\nA: b\r\n c\r\n\r\n",
    "blank in a trailer name": b"0\r\nA : b\r\n\r\n",
    "bare LF ends it": b"0\r\n\n",
    "endless trailers": b"0\r\n" + b"A: bcdefgh\r\n" * 500,
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_malformed_chunks_are_refused(data: bytes, size: int) -> None:
    body = ChunkedBody()
    with pytest.raises(BadRequest):
        feed_all(body, data + b"\r\n" * 3, [size] * (len(data) // size + 7))


@given(st.one_of(st.binary(max_size=60), chunks.map(lambda parts: b"\r\n".join(parts))), pieces)
def test_any_bytes_are_taken_or_refused(data: bytes, sizes: list[int]) -> None:
    body = ChunkedBody()
    try:
        assert 0 <= feed_all(body, data, sizes) <= len(data)
    except BadRequest:
        assert not body.complete


@given(
    st.lists(
        st.sampled_from([b"0", b"3", b"a", b"abc", b"\r\n", b"\r", b"\n", b";", b"x: y", b" "]), max_size=14
    )
)
def test_what_is_taken_as_complete_h11_takes_as_the_same_body(parts: list[bytes]) -> None:
    data = b"".join(parts)
    body = ChunkedBody()
    try:
        taken = body.feed(data)
    except BadRequest:
        return
    if not body.complete:
        return
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    while not isinstance(connection.next_event(), h11.EndOfMessage):
        pass
    assert connection.trailing_data[0] == data[taken:]
