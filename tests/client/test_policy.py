"""When the client comes back, and what it has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifyd.client.policy import Ended, Received, Reconnects, Transports, closed, lost, refused
from notifyd.errors import CloseCode
from notifyd.messages import Cursor, parse_cursor

if TYPE_CHECKING:
    from notifyd.client.policy import TransportChoice


@pytest.mark.parametrize("code", list(CloseCode))
def test_close_codes_are_obeyed(code: CloseCode) -> None:
    ended = closed(int(code), None)
    assert ended.comes_back is code.reconnect
    assert ended.code == code
    assert code.reason in ended.text


@pytest.mark.parametrize(("code", "back"), [(1005, False), (3000, False), (4000, True), (4500, False)])
def test_close_codes_outside_the_table(code: int, back: bool) -> None:
    assert closed(code, "why").comes_back is back
    assert "why" in closed(code, "why").text


def test_too_fast_means_later() -> None:
    assert closed(4029, None).at_least_s == 5.0
    assert closed(4012, None).at_least_s == 0.0


@pytest.mark.parametrize(
    ("status", "back"),
    [
        (301, False),
        (400, False),
        (401, False),
        (403, False),
        (404, False),
        (408, True),
        (425, True),
        (429, True),
        (500, True),
        (502, True),
        (503, True),
        (507, True),
    ],
)
def test_http_refusals(status: int, back: bool) -> None:
    assert refused(status, {}, b"").comes_back is back
    assert refused(status, {}, None).code == status


def test_a_refusal_tells_what_the_server_said() -> None:
    assert "Origin" in refused(403, {}, b'{"title": "No", "detail": "Origin not allowed"}').text
    assert "No" in refused(403, {}, b'{"title": "No"}').text
    assert "no reason" in refused(403, {}, b"<html>\xff").text


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("999999", 3600.0),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 5.0),
        ("-1", 5.0),
        ("²", 5.0),
    ],
)
def test_retry_after(value: str, seconds: float) -> None:
    assert refused(429, {"retry-after": value}, None).at_least_s == seconds


def test_no_retry_after() -> None:
    assert refused(429, {}, None).at_least_s == 5.0
    assert refused(503, {}, None).at_least_s == 0.0


def test_waits_double_up_to_the_cap() -> None:
    reconnects = Reconnects(draw=lambda: 1.0)
    waits = [reconnects.delay_s(lost(""), lasted_s=0) for _ in range(7)]
    assert waits == [1, 2, 4, 8, 16, 30, 30]


@given(st.integers(0, 5000), st.floats(0, 1, exclude_max=True))
def test_waits_are_full_jitter_without_end(failures: int, drawn: float) -> None:
    reconnects = Reconnects(draw=lambda: drawn)
    wait = 0.0
    for _ in range(min(failures, 40) + 1):
        wait = reconnects.delay_s(lost(""), lasted_s=9.9)
    assert wait == drawn * min(30, 2 ** min(failures, 40))


def test_only_a_connection_that_lasted_starts_anew() -> None:
    reconnects = Reconnects(draw=lambda: 1.0)
    assert [reconnects.delay_s(lost(""), lasted_s=9.9) for _ in range(3)] == [1, 2, 4]
    assert reconnects.delay_s(lost(""), lasted_s=10) == 1


def test_a_slot_of_the_server_is_kept_and_is_no_failure() -> None:
    reconnects = Reconnects(draw=lambda: 1.0)
    assert reconnects.delay_s(closed(1001, None), lasted_s=1, slot_s=2.5) == 2.5
    assert reconnects.delay_s(lost(""), lasted_s=0) == 1


def test_the_shortest_wait_comes_on_top() -> None:
    assert Reconnects(draw=lambda: 0.5).delay_s(closed(4029, None), lasted_s=0) == 5.5


def test_a_position_is_taken_over_unless_ours_was_recovered() -> None:
    received = Received()
    received.start("e-5", recovered=False)
    assert received.position == Cursor("e", 5)
    received.advance(Cursor("e", 9))
    received.start("e-7", recovered=True)
    assert received.position == Cursor("e", 9)
    received.start("e-7", recovered=False)
    assert received.position == Cursor("e", 7)
    received.start("nonsense!", recovered=False)
    assert received.position == Cursor("e", 7)


def test_another_epoch_is_new() -> None:
    received = Received(Cursor("e", 5))
    assert received.is_new(Cursor("f", 1))
    received.advance(Cursor("f", 1))
    assert not received.is_new(Cursor("f", 1))


@given(st.lists(st.integers(1, 30)))
def test_each_entry_is_new_once_however_the_wire_repeats(seqs: list[int]) -> None:
    received, taken = Received(Cursor("e", 0)), []
    for seq in seqs:
        place = parse_cursor(f"e-{seq}")
        assert place is not None
        if received.is_new(place):
            taken.append(seq)
        received.advance(place)
    assert taken == sorted(set(taken))
    assert max(seqs, default=0) == max(taken, default=0)


# --- which transport -----------------------------------------------------------------------------------

OURS = b'{"type": "urn:notifyd:problem:forbidden", "detail": "Origin"}'


@pytest.mark.parametrize(
    "ended",
    [
        lost("no answer"),
        refused(403, {}, b"<h1>No</h1>"),
        refused(404, {}, b""),
        refused(426, {}, b'{"type": "urn:notifyd:problem:upgrade-required"}'),
        closed(1002, None),
        closed(1006, None),
    ],
)
def test_sse_follows_at_once_where_a_websocket_does_not_get_through(ended: Ended) -> None:
    transports = Transports()
    assert transports.next(0) == "websocket"
    assert transports.failed("websocket", ended)
    assert transports.next(0) == "sse"


@pytest.mark.parametrize(
    "ended", [refused(403, {}, OURS), refused(503, {}, OURS), closed(4501, None), closed(1013, None)]
)
def test_what_the_server_says_itself_changes_no_transport(ended: Ended) -> None:
    transports = Transports()
    assert not transports.failed("websocket", ended)
    assert transports.next(0) == "websocket"


def test_a_server_that_is_away_behind_its_proxy_is_no_reason_the_first_time() -> None:
    transports = Transports()
    assert not transports.failed("websocket", refused(502, {}, b""))
    assert transports.next(0) == "websocket"
    assert transports.failed("websocket", refused(502, {}, b""))
    assert transports.next(0) == "sse"
    assert not transports.failed("sse", refused(502, {}, b""))
    assert transports.next(0) == "websocket"


def test_where_sse_fails_too_both_are_tried_in_turn() -> None:
    transports = Transports()
    for _ in range(3):
        assert transports.next(0) == "websocket"
        assert transports.failed("websocket", lost(""))
        assert transports.next(0) == "sse"
        assert not transports.failed("sse", lost(""))


def test_sse_is_remembered_and_a_websocket_tried_later_and_later() -> None:
    transports, now = Transports(), 0.0
    for wait_s in (300.0, 600.0, 1200.0, 2400.0, 3600.0, 3600.0):
        assert transports.next(now) == "websocket"
        assert transports.failed("websocket", lost(""))
        transports.established("sse", now)
        assert transports.next(now + wait_s - 1) == "sse"
        assert not transports.failed("sse", lost("")), "a server that is away for a moment changes nothing"
        transports.established("sse", now + wait_s - 1)
        assert transports.next(now + wait_s - 1) == "sse"
        now += wait_s
    transports.established("websocket", now)
    assert transports.failed("websocket", lost(""))
    transports.established("sse", now)
    assert transports.next(now + 299) == "sse"
    assert transports.next(now + 301) == "websocket"


@pytest.mark.parametrize("choice", ["websocket", "sse"])
def test_a_chosen_transport_stays(choice: TransportChoice) -> None:
    transports = Transports(choice)
    assert transports.next(0) == choice
    assert not transports.failed("sse" if choice == "sse" else "websocket", lost(""))
    assert transports.next(0) == choice
