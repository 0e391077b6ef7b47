"""Taking turns: who begins, who is left out, and what is compared."""

from __future__ import annotations

import contextlib

import pytest

from bench.broadcasts import Turn, available, compared, in_turns, ratios, rows_of_turns
from bench.load import LoadFailed
from bench.subjects import Subject


def subject(name: str, missing: str | None = None) -> Subject:
    return Subject(name, "websocket", contextlib.nullcontext, lambda: "1", lambda: missing)  # type: ignore[arg-type]


EVERY = [subject("notifyd"), subject("a"), subject("b")]


def test_each_round_begins_with_another_server() -> None:
    order: list[str] = []

    def turn(each: Subject) -> Turn:
        order.append(each.name)
        return Turn(100.0, 1.0, 2.0)

    turns = in_turns(EVERY, 3, turn, lambda text: None)
    assert order == ["notifyd", "a", "b", "a", "b", "notifyd", "b", "notifyd", "a"]
    assert {name: len(each) for name, each in turns.items()} == {"notifyd": 3, "a": 3, "b": 3}


def test_a_server_that_loses_a_message_is_named_and_left_out() -> None:
    said: list[str] = []

    def turn(each: Subject) -> Turn:
        if each.name == "a":
            raise LoadFailed("a message was lost")
        return Turn(100.0, 1.0, 2.0)

    assert in_turns(EVERY, 2, turn, said.append).keys() == {"notifyd", "b"}
    assert said[0] == "a is left out: a message was lost"


def test_notifyd_that_loses_a_message_fails_the_bench() -> None:
    def turn(each: Subject) -> Turn:
        raise LoadFailed("a message was lost")

    with pytest.raises(LoadFailed):
        in_turns(EVERY, 1, turn, lambda text: None)


def test_what_is_not_installed_is_named() -> None:
    said: list[str] = []
    found = available([subject("notifyd"), subject("a", "a is not there")], said.append)
    assert [each.name for each in found] == ["notifyd"]
    assert said == ["a is left out: a is not there (make bench-peers)"]


def test_a_ratio_is_taken_within_a_round_and_the_median_is_shown() -> None:
    turns = {
        "notifyd": [Turn(rate, 1.0, 2.0) for rate in (100.0, 10.0, 120.0)],
        "a": [Turn(rate, 3.0, 4.0) for rate in (50.0, 5.0, 100.0)],
    }
    assert ratios(turns, "notifyd", "a") == [2.0, 2.0, 1.2]
    row = compared("broadcast", 1.5, turns, "notifyd", "a")
    assert (row.name, row.measured, row.holds) == ("broadcast, against a", 2.0, True)
    assert row.told == "100 against 50 /s"
    assert "processor time of a delivery, a, the kernel's" in [each.name for each in rows_of_turns(turns)]
