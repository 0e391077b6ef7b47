from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select

from notifyd.store import users
from notifyd.store.schema import broadcast_states
from notifyd.store.users import Acknowledged, Known, Marks

if TYPE_CHECKING:
    from tests.store.conftest import Tables

SEEN, READ, ARCHIVED = 1, 2, 3


def test_a_higher_mark_covers_the_lower_ones() -> None:
    got = Marks(appeared=4, seen=1, read=9, archived=2)
    assert [got.at_least(rank) for rank in (SEEN, READ, ARCHIVED)] == [9, 9, 2]


@pytest.mark.parametrize(
    ("seq", "everyone", "rank"),
    [(1, False, 3), (2, False, 2), (3, False, 1), (4, False, 0), (5, True, 1), (6, True, 0), (2, True, 2)],
)
def test_marks_give_each_notification_a_rank(seq: int, everyone: bool, rank: int) -> None:
    assert Marks(appeared=5, seen=3, read=2, archived=1).rank(seq, everyone=everyone) == rank


def test_a_mark_rises_and_never_falls(tables: Tables) -> None:
    for up_to in (5, 3):
        tables.write(users.raise_mark, "u", READ, up_to)
    assert tables.read(users.marks, "u", 0) == Marks(0, read=5)


def test_a_mark_replaces_the_single_states_that_it_covers(tables: Tables) -> None:
    for name in "abc":
        tables.tell(None, name)
    found = [Known(seq, everyone=True, rank=0) for seq in (1, 2, 3)]
    tables.write(users.raise_single, "u", READ, found[:1])
    tables.write(users.raise_single, "u", ARCHIVED, found[1:2])
    tables.write(users.raise_single, "u", READ, found[2:])
    tables.write(users.raise_mark, "u", READ, 2)
    count = select(func.count()).select_from(broadcast_states)
    assert tables.read(lambda tx: tx.execute(count).scalar()) == 2


def test_the_first_appearance_is_noted_once(tables: Tables) -> None:
    assert tables.read(users.marks, "u", 7).appeared == 7
    tables.write(users.raise_floors, {"u": 1})
    assert tables.read(users.marks, "u", 7).appeared == 7
    tables.write(users.appeared, {"u": 3, "v": 4})
    tables.write(users.appeared, {"u": 5})
    assert tables.read(users.marks, "u", 7).appeared == 3
    assert tables.read(users.marks, "v", 7).appeared == 4


def test_one_finds_only_what_one_has(tables: Tables) -> None:
    tables.tell("u", "mine")
    tables.tell("v", "not mine")
    tables.tell(None, "everyones")
    tables.write(users.raise_single, "u", READ, [Known(3, everyone=True, rank=0)])
    tables.write(users.raise_single, "u", SEEN, [Known(1, everyone=False, rank=0)])
    assert tables.read(users.find, "u", ["mine", "not mine", "everyones", "nothing"]) == {
        "mine": Known(1, everyone=False, rank=SEEN),
        "everyones": Known(3, everyone=True, rank=READ),
    }
    assert tables.read(users.find, "v", ["everyones"])["everyones"].rank == 0


@pytest.mark.parametrize("user_id", ["u", None])
def test_whether_something_is_below_a_rank(tables: Tables, user_id: str | None) -> None:
    tables.tell(user_id, "a")
    tables.tell("other", "b")
    none = Marks(0)
    assert tables.read(users.any_below, "u", none, READ, 9)
    assert not tables.read(users.any_below, "u", none, READ, 0)
    assert not tables.read(users.any_below, "u", Marks(0, archived=1), READ, 9)
    tables.write(users.raise_single, "u", READ, [Known(1, everyone=user_id is None, rank=0)])
    assert not tables.read(users.any_below, "u", none, READ, 9)
    assert tables.read(users.any_below, "u", none, ARCHIVED, 9)


def test_what_has_expired_or_was_withdrawn_is_below_nothing(tables: Tables) -> None:
    tables.tell("u", "a", expires_ms=tables.now_ms)
    tables.tell(None, "b")
    tables.write(users.withdraw, "b")
    assert not tables.read(users.any_below, "u", Marks(0), READ, 9)


def test_a_withdrawal_names_whom_it_concerns_once(tables: Tables) -> None:
    tables.add(tables.new("u", "n"), tables.new("v", "n"))
    tables.tell(None, "m")
    assert tables.write(users.withdraw, "n") == ["u", "v"]
    assert tables.write(users.withdraw, "n") == []
    assert tables.write(users.withdraw, "m") == [None]
    assert tables.write(users.withdraw, "x") is None


def test_the_higher_floor_counts(tables: Tables) -> None:
    assert tables.read(users.floor, "u") == 0
    tables.write(users.raise_floors, {"u": 5, "v": 2})
    tables.write(users.raise_floors, {"u": 4})
    assert [tables.read(users.floor, user) for user in "uvw"] == [5, 2, 0]


def test_an_acknowledgement_keeps_its_time_and_connection_and_never_goes_back(tables: Tables) -> None:
    tables.write(users.raise_floors, {"u": 1})
    assert tables.read(users.acknowledged, "u") is None
    for ack in (Acknowledged(5, "c", 100), Acknowledged(4, "d", 200)):
        tables.write(users.acknowledge, {"u": ack})
    assert tables.read(users.acknowledged, "u") == Acknowledged(5, "c", 100)
