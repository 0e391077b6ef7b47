"""Users are found by how their ids begin, whether they were met, told something, or both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notifyd.store import erase, finding, users

if TYPE_CHECKING:
    from tests.store.conftest import Tables


def test_users_are_found_in_order_by_how_they_begin(tables: Tables) -> None:
    tables.write(users.appeared, {"ann": 0, "anton": 0, "bob": 0})
    tables.tell("anne", "a", "b")
    tables.tell("ann", "c")
    tables.tell("añ", "d")
    tables.tell(None, "e")
    assert tables.read(finding.find, "an", 10) == ["ann", "anne", "anton"]
    assert tables.read(finding.find, "ann", 10) == ["ann", "anne"]
    assert tables.read(finding.find, "añ", 10) == ["añ"]
    assert tables.read(finding.find, "", 10) == ["ann", "anne", "anton", "añ", "bob"]
    assert tables.read(finding.find, "", 2) == ["ann", "anne"]
    assert tables.read(finding.find, "c", 10) == []
    assert tables.read(finding.find, "%", 10) == []


def test_whom_nothing_was_told_but_who_came_is_found_by_the_whole_id(tables: Tables) -> None:
    tables.write(users.appeared, {"ann": 0})
    tables.tell("bob", "a")
    assert tables.read(finding.find, "ann", 10) == ["ann"]
    assert tables.read(finding.find, "bob", 10) == ["bob"]


def test_an_erased_user_is_not_found(tables: Tables) -> None:
    tables.write(users.appeared, {"ann": 0, "anton": 0})
    tables.write(erase.finish_now, "ann")
    assert tables.read(finding.find, "an", 10) == ["anton"]
