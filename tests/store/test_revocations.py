"""Revocations as they are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notifyd.store import revocations
from notifyd.store.sql import Call

if TYPE_CHECKING:
    from notifyd.store.base import Transaction
    from notifyd.store.sql import Database


def test_they_are_there_again_and_only_grow(database: Database) -> None:
    def put(tx: Transaction) -> None:
        revocations.put_token(tx, "i", "for ever", None)
        revocations.put_token(tx, "i", "for ever", 50)
        revocations.put_token(tx, "i", "later", 50)
        revocations.put_token(tx, "i", "later", 90)
        revocations.put_token(tx, "i", "later", 60)
        revocations.put_token(tx, "", "later", 60)
        revocations.put_user(tx, "ann", 7)
        revocations.put_user(tx, "ann", 3)

    database.write(put, Call(1))
    tokens, users = database.read(revocations.load, Call(1))
    assert tokens == {("i", "for ever"): None, ("i", "later"): 90, ("", "later"): 60}
    assert users == {"ann": 7}


def test_the_next_one_drops_those_that_have_expired(database: Database) -> None:
    database.write(lambda tx: revocations.put_token(tx, "i", "a", 50), Call(1))
    database.write(lambda tx: revocations.put_token(tx, "i", "b", None), Call(49))
    assert len(database.read(revocations.load, Call(49))[0]) == 2
    database.write(lambda tx: revocations.put_token(tx, "i", "c", 99), Call(50))
    assert set(database.read(revocations.load, Call(50))[0]) == {("i", "b"), ("i", "c")}
