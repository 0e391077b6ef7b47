from __future__ import annotations

import gc
import itertools
import json
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from notifyd.broker.window import Joined, Slot, Window
from notifyd.store.base import Entry

if TYPE_CHECKING:
    from collections.abc import Callable


def lines(cursor: str, message: bytes) -> bytes:
    return message + b"\n"


def bare(cursor: str, message: bytes) -> bytes:
    return f"{cursor};".encode()


def ids(joined: Joined) -> list[str]:
    return [json.loads(line)["id"] for line in joined.data.splitlines()]


def test_join_gives_own_entries_and_those_for_everyone_in_order(entry: Callable[..., Entry]) -> None:
    window = Window("e", 0)
    window.put([entry(1, "ann"), entry(2), entry(3, "bob"), entry(4, "ann")])
    assert ids(window.join("ann", 0, lines)) == ["e-1", "e-2", "e-4"]
    assert ids(window.join("bob", 1, lines)) == ["e-2", "e-3"]
    assert window.join("bob", 3, lines) == Joined(b"", 4, False)
    assert window.join("eve", 4, lines) == Joined(b"", 4, False)


def test_join_stops_at_the_limit_and_says_where(entry: Callable[..., Entry]) -> None:
    window = Window("e", 0)
    window.put([entry(seq) for seq in (1, 2, 3, 4, 5)])
    first = window.join("ann", 0, bare, limit=8)
    assert first == Joined(b"e-1;e-2;", 2, True)
    assert window.join("ann", 2, bare, limit=8) == Joined(b"e-3;e-4;", 4, True)
    assert window.join("ann", 4, bare, limit=8) == Joined(b"e-5;", 5, False)


def test_an_entry_larger_than_the_limit_is_given_alone(entry: Callable[..., Entry]) -> None:
    window = Window("e", 0)
    window.put([entry(1, size=100), entry(2, size=100)])
    assert ids(window.join("ann", 0, lines, limit=10)) == ["e-1"]


def test_announcements_are_joined_once_for_all_readers_at_a_position(entry: Callable[..., Entry]) -> None:
    window = Window("e", 0)
    window.put([entry(1), entry(2)])
    assert window.join("ann", 0, lines).data is window.join("bob", 0, lines).data
    window.put([entry(3)])
    assert ids(window.join("bob", 0, lines)) == ["e-1", "e-2", "e-3"]


def test_each_entry_is_framed_once_per_format(entry: Callable[..., Entry]) -> None:
    calls: list[str] = []

    def counting(cursor: str, message: bytes) -> bytes:
        calls.append(cursor)
        return message

    window = Window("e", 0)
    window.put([entry(1), entry(2, "ann")])
    for user in ("ann", "bob", "ann", "eve"):
        window.join(user, 0, counting)
    assert calls == ["e-1", "e-2"]


def test_old_entries_leave_and_the_floor_rises(entry: Callable[..., Entry]) -> None:
    window = Window("e", 0, max_entries=3)
    window.put([entry(seq, "ann" if seq % 2 else None) for seq in range(1, 6)])
    assert (window.floor, window.head) == (2, 5)
    assert not window.covers(1)
    assert window.covers(2)
    assert ids(window.join("ann", 2, lines)) == ["e-3", "e-4", "e-5"]


def test_bytes_are_bounded_too(entry: Callable[..., Entry]) -> None:
    window = Window("e", 0, max_bytes=10_000)
    window.put([entry(seq, size=1000) for seq in range(1, 9)])
    assert window.floor >= 5
    window.put([entry(9, size=1_000_000)])
    assert (window.floor, window.head) == (9, 9)


def test_filled_from_a_log_with_holes(entry: Callable[..., Entry]) -> None:
    window = Window("e", 9)
    window.fill([entry(4), entry(7, "ann")], floor=3)
    assert (window.floor, window.head) == (3, 9)
    assert ids(window.join("ann", 3, lines)) == ["e-4", "e-7"]
    assert window.join("ann", 3, lines).position == 9


def test_withdrawn_entries_are_left_out(entry: Callable[..., Entry]) -> None:
    window = Window("e", 0)
    window.put([entry(1, "ann", name="a"), entry(2, "bob", name="a"), entry(3, name="b")])
    assert ids(window.join("ann", 0, lines)) == ["e-1", "e-3"]
    window.put([entry(4, "ann", name="c")], frozenset({"a", "unknown"}))
    assert ids(window.join("ann", 0, lines)) == ["e-3", "e-4"]
    assert ids(window.join("bob", 0, lines)) == ["e-3"]


def test_expired_entries_are_left_out(entry: Callable[..., Entry]) -> None:
    window = Window("e", 0, max_entries=4)
    window.put([entry(1, expires_ms=2000), entry(2, expires_ms=1000), entry(3)])
    expiring_at_first = window.expiring
    assert expiring_at_first
    assert ids(window.join("ann", 0, lines)) == ["e-1", "e-2", "e-3"]
    window.expire(999)
    assert ids(window.join("ann", 0, lines)) == ["e-1", "e-2", "e-3"]
    window.expire(1000)
    assert ids(window.join("ann", 0, lines)) == ["e-1", "e-3"]
    window.put([entry(4), entry(5)])  # the first one is evicted before it expires
    window.expire(5000)
    assert not window.expiring
    assert ids(window.join("ann", 1, lines)) == ["e-3", "e-4", "e-5"]


def test_what_has_left_is_not_kept_until_it_would_have_expired(entry: Callable[..., Entry]) -> None:
    window = Window("e", 0, max_entries=10)
    for seq in range(1, 1001):
        window.put([entry(seq, "a user of this test", expires_ms=10**13)])
    slots = [each for each in gc.get_objects() if isinstance(each, Slot)]
    assert sum(slot.entry.user_id == "a user of this test" for slot in slots) < 100
    window.expire(10**13)
    assert window.join("a user of this test", 990, lines).data == b""
    assert not window.expiring


def test_news_says_whom_how_much_concerns(entry: Callable[..., Entry]) -> None:
    window = Window("e", 0, max_entries=4)
    window.put([entry(1, "ann"), entry(2, "bob"), entry(3, "bob", name="n")])
    assert window.news(0) == (0, {"ann": 1, "bob": 2})
    assert window.news(1) == (0, {"bob": 2})
    assert window.news(3) == (0, {})
    window.put([], frozenset({"n"}))
    assert window.news(1) == (0, {"bob": 1})
    window.put([entry(4)])
    assert window.news(1) == (1, {"bob": 1})
    window.put([entry(5, "eve")])
    assert window.news(4) == (0, {"eve": 1})
    assert window.news(0).everyone == 1
    window.put([entry(6, "eve"), entry(7, "eve"), entry(8, "eve")])
    assert window.news(0).everyone == 1, "below the floor nobody knows whom it concerned"


def test_count_is_how_many_a_user_would_get(entry: Callable[..., Entry]) -> None:
    window = Window("e", 0)
    window.put([entry(1, "ann"), entry(2), entry(3, "bob"), entry(4, "ann"), entry(5)])
    assert window.count("ann", 0, 5) == 4
    assert window.count("ann", 1, 4) == 2
    assert window.count("eve", 2, 9) == 1
    assert window.count("ann", 4, 2) == 0


@given(
    users=st.lists(st.sampled_from(["ann", "bob", None]), max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=5),
    position=st.integers(0, 40),
    capacity=st.integers(1, 40),
    limit=st.integers(1, 40),
)
def test_reading_on_from_any_position_gives_exactly_what_concerns_the_user(
    users: list[str | None], cuts: list[int], position: int, capacity: int, limit: int
) -> None:
    entries = [Entry(seq, user, "x-t", b"{}", 0, None, f"n{seq}") for seq, user in enumerate(users, start=1)]
    window = Window("e", 0, max_entries=capacity)
    bounds = sorted({0, len(entries), *(cut for cut in cuts if cut < len(entries))})
    for start, end in itertools.pairwise(bounds):
        window.put(entries[start:end])
    position = max(position, window.floor)
    expected = [f"e-{e.seq};" for e in entries if e.seq > position and e.user_id in ("ann", None)]
    got = b""
    more = True
    while more:
        data, position, more = window.join("ann", position, bare, limit)
        got += data
    assert got.decode() == "".join(expected)
    assert position == max(window.head, position)


def test_an_erased_user_is_gone_and_must_ask_the_log(entry: Callable[..., Entry]) -> None:
    window = Window("e", 0, max_entries=4)
    window.put([entry(1, "ann"), entry(2), entry(3, "ann", expires_ms=50), entry(4, "bob")])
    assert window.floor_of("ann") == 0
    window.erase("ann", 3)
    assert ids(window.join("ann", 0, lines)) == ["e-2"]
    assert ids(window.join("bob", 0, lines)) == ["e-2", "e-4"]
    assert (window.floor_of("ann"), window.floor_of("bob"), window.floor) == (3, 0, 0)
    assert not window.expiring
    window.put([entry(5, "ann")])  # who has come back
    assert ids(window.join("ann", 0, lines)) == ["e-2", "e-5"]
    window.put([entry(seq) for seq in (6, 7, 8, 9)])
    assert window.floor_of("ann") == window.floor == 5
    window.erase("bob", 4)  # what lies below the window needs no line of its own
    assert window.floor_of("bob") == 5
