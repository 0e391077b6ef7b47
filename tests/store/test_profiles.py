from __future__ import annotations

from typing import TYPE_CHECKING

from notifyd.store import profiles, users
from notifyd.store.profiles import Profile

if TYPE_CHECKING:
    from tests.store.conftest import Tables


def test_a_profile_is_replaced_as_a_whole(tables: Tables) -> None:
    assert tables.write(
        profiles.put, [Profile("u", "u@x.example", "de", None), Profile("v", None, None, None)]
    ) == {
        "u",
        "v",
    }
    assert tables.write(profiles.put, [Profile("u", None, None, "Europe/Paris")]) == set()
    assert tables.read(profiles.find, "u") == Profile("u", None, None, "Europe/Paris")
    assert tables.read(profiles.find, "w") is None


def test_a_user_who_was_only_met_has_none(tables: Tables) -> None:
    tables.write(users.appeared, {"u": 7})
    assert tables.read(profiles.find, "u") is None
    assert tables.write(profiles.put, [Profile("u", None, None, None)]) == {"u"}
    assert tables.read(users.marks, "u", 0).appeared == 7
