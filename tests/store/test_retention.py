from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from notifyd.store import log, retention, users
from notifyd.store.log import REMEMBERED_MS, Answer, Key
from notifyd.store.schema import broadcast_states, idempotency, notifications
from notifyd.store.users import Known

if TYPE_CHECKING:
    from sqlalchemy import Table

    from tests.store.conftest import Tables


def count(tables: Tables, table: Table) -> int:
    return int(tables.read(lambda tx: tx.execute(select(func.count()).select_from(table)).scalar()))


def test_the_oldest_go_and_the_floors_of_those_concerned_rise_with_them(tables: Tables) -> None:
    tables.tell("u", "1", "2")
    tables.tell(None, "3")
    tables.tell("v", "4")
    tables.now_ms += 1000
    tables.tell("u", "5")
    assert tables.write(retention.drop_oldest, tables.now_ms) == 4
    assert [tables.read(users.floor, user) for user in "uvw"] == [3, 4, 3]
    assert [entry.seq for entry in tables.read(log.everything_after, 0, 9)] == [5]
    assert tables.write(retention.drop_oldest, tables.now_ms) == 0


def test_one_transaction_deletes_a_batch(tables: Tables) -> None:
    tables.tell("u", *map(str, range(retention.BATCH + 3)))
    assert tables.write(retention.drop_oldest, tables.now_ms + 1) == retention.BATCH
    assert tables.write(retention.drop_oldest, tables.now_ms + 1) == 3
    assert count(tables, notifications) == 0


def test_what_a_clock_that_went_back_made_young_stays(tables: Tables) -> None:
    for ms in (1000, 5000, 1000):
        tables.now_ms = ms
        tables.tell("u", "x")
    assert tables.write(retention.drop_oldest, 3000) == 2
    assert [entry.seq for entry in tables.read(log.everything_after, 0, 9)] == [2]


def test_users_with_too_many_rows_lose_their_oldest(tables: Tables) -> None:
    tables.tell("u", "1", "2", "3", "4")
    tables.tell("v", "5", "6")
    tables.tell(None, "7", "8", "9")
    cuts = tables.read(retention.over_limit, ["u", "v", "w"], 2)
    assert cuts == {"u": 2}
    assert tables.write(retention.drop_own, "u", 2) == 2
    assert tables.write(retention.drop_own, "u", 2) == 0
    assert tables.read(users.floor, "u") == 2
    assert tables.read(users.floor, "v") == 0
    assert [e.seq for e in tables.read(log.page, "u", 2, 9, 999).entries] == [3, 4, 7, 8, 9]


def test_the_users_of_the_log_come_by_name(tables: Tables) -> None:
    for user in ("c", "a", "b", "a", None):
        tables.tell(user, "x")
    assert tables.read(retention.users_after, "", 2) == ["a", "b"]
    assert tables.read(retention.users_after, "b", 2) == ["c"]
    assert tables.read(retention.users_after, "c", 2) == []


def test_answers_are_forgotten_after_a_day(tables: Tables) -> None:
    tables.write(log.remember, {Key("p", "old"): Answer(b"", 1, "n")})
    tables.now_ms += REMEMBERED_MS
    tables.write(log.remember, {Key("p", "new"): Answer(b"", 1, "n")})
    assert tables.write(retention.forget_answers) == 1
    assert count(tables, idempotency) == 1


def test_single_states_of_announcements_that_are_gone_go_too(tables: Tables) -> None:
    tables.tell(None, "1")
    tables.now_ms += 1000
    tables.tell(None, "2")
    for seq in (1, 2):
        tables.write(users.raise_single, "u", 1, [Known(seq, everyone=True, rank=0)])
    tables.write(retention.drop_oldest, tables.now_ms)
    assert tables.write(retention.forget_singles) == 1
    assert count(tables, broadcast_states) == 1
