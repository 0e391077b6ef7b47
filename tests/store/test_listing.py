from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from notifyd.store import listing, users
from notifyd.store.users import Known, Marks

if TYPE_CHECKING:
    from tests.store.conftest import Tables

LAST = 2**62


def page(
    tables: Tables,
    got: Marks,
    *,
    after: int = 0,
    before: int = LAST,
    forward: bool = True,
    rank: int | None = None,
    limit: int = 100,
) -> list[tuple[int, int]]:
    lines = tables.read(
        listing.page, "u", got, after=after, before=before, forward=forward, rank=rank, limit=limit
    )
    return [(line.entry.seq, line.rank) for line in lines]


@pytest.fixture
def mixed(tables: Tables) -> Tables:
    """1 and 4 are the user's, 2 and 5 everyone's, 3 somebody else's, 6 an update."""
    for number, user in enumerate(("u", None, "v", "u", None), 1):
        tables.tell(user, str(number))
    tables.add(tables.update("u"))
    return tables


def test_both_directions_without_updates_and_others(mixed: Tables) -> None:
    none = Marks(0)
    assert page(mixed, none) == [(1, 0), (2, 0), (4, 0), (5, 0)]
    assert page(mixed, none, forward=False) == [(5, 0), (4, 0), (2, 0), (1, 0)]
    assert page(mixed, none, after=1, before=5) == [(2, 0), (4, 0)]
    assert page(mixed, none, limit=1, forward=False) == [(5, 0)]


def test_the_highest_of_mark_and_single_state_counts(mixed: Tables) -> None:
    mixed.write(
        users.raise_single, "u", 3, [Known(4, everyone=False, rank=0), Known(2, everyone=True, rank=0)]
    )
    assert page(mixed, Marks(appeared=2, seen=1)) == [(1, 1), (2, 3), (4, 3), (5, 0)]
    assert page(mixed, Marks(appeared=5, read=2)) == [(1, 2), (2, 3), (4, 3), (5, 1)]
    assert page(mixed, Marks(0, archived=5), rank=3) == [(1, 3), (2, 3), (4, 3), (5, 3)]
    assert page(mixed, Marks(appeared=2, seen=1), rank=3) == [(2, 3), (4, 3)]
    assert page(mixed, Marks(appeared=2, seen=1), rank=0) == [(5, 0)]


def test_unread_is_what_the_list_shows_as_unread(mixed: Tables) -> None:
    for got, wanted in ((Marks(0), 4), (Marks(2), 3), (Marks(0, seen=1), 3), (Marks(5, archived=4), 0)):
        assert mixed.read(listing.unread, "u", got) == wanted == len(page(mixed, got, rank=0))
    mixed.write(
        users.raise_single, "u", 1, [Known(1, everyone=False, rank=0), Known(5, everyone=True, rank=0)]
    )
    assert mixed.read(listing.unread, "u", Marks(0)) == 2
    assert mixed.read(listing.unread, "v", Marks(0)) == 3


def test_the_withdrawn_and_the_expired_are_not_there(mixed: Tables) -> None:
    mixed.write(users.withdraw, "1")
    mixed.write(users.withdraw, "5")
    mixed.tell("u", "late", expires_ms=mixed.now_ms)
    assert page(mixed, Marks(0)) == [(2, 0), (4, 0)]
    assert page(mixed, Marks(0), rank=4) == []
    assert mixed.read(listing.unread, "u", Marks(0)) == 2
