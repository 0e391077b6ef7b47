"""Events come out of bytes alike, however they are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifyd.client.events import EventParser, EventTooBig


def parsed(*parts: bytes) -> list[bytes]:
    parser = EventParser(1000)
    return [event for part in parts for event in parser.feed(part)]


@pytest.mark.parametrize(
    ("text", "events"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data:a\r\n\r\n", [b"a"]),
        (b"data:  a\r\rdata: b\r\r.", [b" a", b"b"]),
        (b":\nretry: 2000\n\nid: e-1\nevent: x\ndata: {}\n\n", [b"{}"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data\n\ndata:\n\n", []),
        (b"data: never ended\n", []),
        (b"datum: a\n: data: b\n\n", []),
    ],
)
def test_lines_and_fields(text: bytes, events: list[bytes]) -> None:
    assert parsed(text) == events


@given(
    events=st.lists(
        st.binary(min_size=1, max_size=20).filter(lambda data: not {10, 13} & {*data}), max_size=6
    ),
    end=st.sampled_from([b"\n", b"\r\n"]),
    cuts=st.lists(st.integers(0, 200), max_size=10),
)
def test_how_it_is_cut_makes_no_difference(events: list[bytes], end: bytes, cuts: list[int]) -> None:
    text = b"".join(b"id: 1" + end + b"data: " + event + end + end for event in events)
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    parts = [text[start:stop] for start, stop in pairwise(places)]
    assert parsed(*parts) == events


@pytest.mark.parametrize(
    "text", [b"data: " + b"x" * 1000, b"data: " + b"x" * 600 + b"\ndata: " + b"y" * 600 + b"\n"]
)
def test_what_has_no_end_is_given_up(text: bytes) -> None:
    with pytest.raises(EventTooBig):
        parsed(text)
