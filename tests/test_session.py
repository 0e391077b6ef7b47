"""The protocol of one client as a pure machine."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifyd.errors import CloseCode
from notifyd.messages import Cursor, ErrorData, Pong
from notifyd.session import (
    _TRANSITIONS,
    Acknowledge,
    AcknowledgePinged,
    Action,
    Close,
    Establish,
    Input,
    Say,
    Session,
    SetState,
    State,
    Verify,
)

EXPIRES_MS = 1_700_000_000_000


def text(type_: str, **data: Any) -> str:
    return json.dumps({"type": type_, "data": data})


def opened(now: float = 100.0) -> Session:
    session = Session(now)
    assert session.accepted("ann", EXPIRES_MS) == [Establish()]
    return session


def codes(actions: list[Action]) -> list[str | int]:
    """Error codes and close codes among `actions`."""
    found: list[str | int] = []
    for action in actions:
        if isinstance(action, Close):
            found.append(int(action.code))
        elif isinstance(action, Say) and isinstance(action.data, ErrorData):
            found.append(action.data.code)
    return found


# --- the first frame ------------------------------------------------------------------------------------


def test_the_first_frame_is_a_token_to_be_verified() -> None:
    session = Session(100.0)
    assert session.handle(text("auth", token="t"), 101.0) == [Verify("t")]
    assert session.accepted("ann", EXPIRES_MS) == [Establish()]
    assert (session.state, session.user_id) == (State.OPEN, "ann")


@pytest.mark.parametrize("first", [text("ping"), text("ack", up_to="e1-1"), "nonsense", text("huh"), b"\xff"])
def test_any_other_first_frame_ends_it(first: str | bytes) -> None:
    session = Session(100.0)
    assert codes(session.handle(first, 101.0)) == ["unauthorized", 4501]
    assert session.state is State.CLOSING


def test_a_first_token_that_is_refused_ends_it() -> None:
    session = Session(100.0)
    assert codes(session.refused()) == ["unauthorized", 4501]


def test_the_first_frame_has_five_seconds_and_a_pause_of_ours_does_not_count() -> None:
    session = Session(100.0)
    assert session.due(100.0, 0) == 105.0
    assert session.tick(104.9, 0) == []
    assert session.tick(170.0, 0, resumed_at=169.0) == []
    assert codes(session.tick(174.0, 0, resumed_at=169.0)) == ["unauthorized", 4501]


# --- the token's life -----------------------------------------------------------------------------------


def test_a_connection_outlives_its_token_by_thirty_seconds() -> None:
    session = opened()
    assert session.due(100.0, EXPIRES_MS - 10_000) == 140.0
    assert session.tick(140.0, EXPIRES_MS + 29_999) == []
    assert codes(session.tick(140.0, EXPIRES_MS + 30_000)) == ["token_expired", 4001]
    assert session.tick(141.0, EXPIRES_MS + 40_000) == []


def test_a_refresh_prolongs_and_never_shortens() -> None:
    session = opened()
    assert session.handle(text("auth", token="t"), 101.0) == [Verify("t")]
    assert session.accepted("ann", EXPIRES_MS + 60_000) == []
    assert session.accepted("ann", EXPIRES_MS) == []
    assert session.tick(140.0, EXPIRES_MS + 89_999) == []
    assert codes(session.tick(140.0, EXPIRES_MS + 90_000)) == ["token_expired", 4001]


def test_a_refresh_by_another_user_ends_it() -> None:
    assert codes(opened().accepted("ben", EXPIRES_MS)) == ["unauthorized", 4501]


def test_a_refresh_that_is_refused_is_an_error_only() -> None:
    session = opened()
    assert codes(session.refused()) == ["unauthorized"]
    assert session.state is State.OPEN


# --- messages -------------------------------------------------------------------------------------------


def test_ping_is_answered() -> None:
    assert opened().handle(text("ping"), 101.0) == [Say(Pong())]


def test_a_pong_acknowledges_until_the_client_does_so_itself() -> None:
    session = opened()
    assert session.handle(text("pong"), 101.0) == [AcknowledgePinged()]
    assert session.pong() == [AcknowledgePinged()]
    assert session.handle(text("ack", up_to="e1-7"), 101.0) == [Acknowledge(Cursor("e1", 7))]
    assert session.handle(text("pong"), 101.0) == []


def test_marks() -> None:
    session = opened()
    (by_id,) = session.handle(text("mark", notification_ids=["n1"], state="read"), 101.0)
    (by_cursor,) = session.handle(text("mark", up_to="e1-7", state="seen"), 101.0)
    assert isinstance(by_id, SetState)
    assert isinstance(by_cursor, SetState)
    assert (by_id.data.notification_ids, by_id.up_to) == (["n1"], None)
    assert (by_cursor.data.state, by_cursor.up_to) == ("seen", Cursor("e1", 7))


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("", "bad_message"),
        ("[]", "bad_message"),
        (text("ack", up_to="seven"), "bad_message"),
        (text("mark", up_to="seven", state="seen"), "bad_message"),
        (text("mark", state="seen"), "bad_message"),
        (text("mark", up_to="e1-7", notification_ids=["n1"], state="seen"), "bad_message"),
        (text("mark", up_to="e1-7", state="withdrawn"), "bad_message"),
        (text("subscribe"), "unknown_type"),
    ],
)
def test_what_cannot_be_obeyed_is_answered_and_the_connection_goes_on(message: str, code: str) -> None:
    session = opened()
    assert codes(session.handle(message, 101.0)) == [code]
    assert session.state is State.OPEN
    assert not session.has_acked


# --- rates ----------------------------------------------------------------------------------------------


def test_forty_messages_at_once_and_twenty_a_second() -> None:
    session = opened()
    for _ in range(40):
        assert session.handle(text("ping"), 101.0) == [Say(Pong())]
    for _ in range(20):
        assert session.handle(text("ping"), 102.0) == [Say(Pong())]
    assert codes(session.handle(text("ping"), 102.0)) == ["rate_limited", 4029]
    assert session.handle(text("ping"), 103.0) == []


def test_twenty_control_frames_at_once_and_ten_a_second() -> None:
    session = opened()
    assert [session.control_frame(101.0) for _ in range(20)] == [[]] * 20
    assert [session.control_frame(102.0) for _ in range(10)] == [[]] * 10
    assert codes(session.control_frame(102.0)) == ["rate_limited", 4029]
    assert session.control_frame(103.0) == []


# --- the states -----------------------------------------------------------------------------------------


def test_every_state_but_the_last_can_be_left_and_nothing_leads_back() -> None:
    order = list(State)
    assert {state for state, _ in _TRANSITIONS} == set(order[:-1])
    assert all(order.index(end) >= order.index(start) for (start, _), end in _TRANSITIONS.items())
    assert all(_TRANSITIONS[state, Input.GONE] is State.CLOSED for state in order[:-1])


CALLS = st.one_of(
    st.tuples(st.just("handle"), st.one_of(st.text(max_size=40), st.binary(max_size=40))),
    st.tuples(
        st.just("handle"),
        st.sampled_from(
            [
                text("ping"),
                text("pong"),
                text("auth", token="t"),
                text("ack", up_to="e1-1"),
                text("mark", up_to="e1-1", state="read"),
            ]
        ),
    ),
    st.tuples(st.sampled_from(["refused", "close", "gone", "pong"]), st.none()),
    st.tuples(st.just("accepted"), st.sampled_from(["ann", "ben"])),
    st.tuples(st.sampled_from(["tick", "control_frame"]), st.none()),
)


@given(st.lists(CALLS, max_size=60))
def test_whatever_happens_a_close_is_last_and_said_once(calls: list[tuple[str, Any]]) -> None:
    session, now, closes = Session(0.0), 0.0, 0
    for name, argument in calls:
        now += 0.05
        ended = session.state in (State.CLOSING, State.CLOSED)
        match name:
            case "handle":
                actions = session.handle(argument, now)
            case "accepted":
                actions = session.accepted(argument, EXPIRES_MS)
            case "tick":
                actions = session.tick(now, EXPIRES_MS)
            case "control_frame":
                actions = session.control_frame(now)
            case _:
                actions = getattr(session, name)() or []
        assert not (ended and actions)
        closes += sum(isinstance(action, Close) for action in actions)
        if any(isinstance(action, Close) for action in actions):
            assert isinstance(actions[-1], Close)
            assert isinstance(actions[-1].code, CloseCode)
            assert session.state is State.CLOSING
    assert closes <= 1
