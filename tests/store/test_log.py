from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy.dialects import postgresql, sqlite

from notifyd.store import listing, log, retention, users
from notifyd.store.log import REMEMBERED_MS, Answer, Key
from notifyd.store.schema import metadata, notifications
from notifyd.store.sql import open_database

if TYPE_CHECKING:
    from sqlalchemy.sql import Executable

    from tests.store.conftest import Tables

STATEMENTS = {
    f"{module.__name__}.{name}": statement
    for module in (log, users, listing, retention)
    for name, statement in vars(module).items()
    if hasattr(statement, "compile") and name.startswith("_")
} | {f"list {f} {s}": listing._page(f, s) for f in (True, False) for s in (True, False)}


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
def test_every_statement_is_sql_for_both_databases(statement: Executable) -> None:
    for dialect in (sqlite.dialect(), postgresql.dialect()):  # type: ignore[no-untyped-call]
        assert str(statement.compile(dialect=dialect))  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["notifyd.store.log._PAGE", "list True False", "list False True"])
def test_a_page_is_read_along_the_index_and_never_beyond_it(name: str, sqlite_url: str) -> None:
    compiled = STATEMENTS[name].compile(dialect=sqlite.dialect())
    with open_database(sqlite_url, busy_s=1) as database, database.writer_engine.connect() as connection:
        metadata.create_all(connection)
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", (1,) * len(compiled.positiontup))
        steps = [row[3] for row in plan]
    assert "MERGE (UNION ALL)" in steps
    assert not {"SCAN notifications", "SCAN broadcast_states"} & set(steps)


# --- appending --------------------------------------------------------------------------------------


def test_seqs_follow_each_other(tables: Tables) -> None:
    assert tables.read(log.head) == 0
    assert list(tables.tell("u", "a", "b")) == [1, 2]
    assert list(tables.tell(None, "c")) == [3]
    assert tables.read(log.head) == 3


def test_seqs_of_what_was_undone_are_given_again(tables: Tables) -> None:
    with pytest.raises(ZeroDivisionError):
        tables.write(lambda tx: log.allocate(tx, 5) / 0)
    assert list(tables.tell("u", "a")) == [1]


def test_an_update_has_no_state_and_so_is_never_listed(tables: Tables) -> None:
    tables.add(tables.update("u"), tables.new("u", "a"))
    rows = tables.read(lambda tx: tx.execute(notifications.select().order_by("seq")).all())
    assert [(row.type, row.state) for row in rows] == [("notification-updated", None), ("x-test", 0)]


# --- pages ------------------------------------------------------------------------------------------


def test_a_page_holds_ones_own_and_everyones_in_order(tables: Tables) -> None:
    tables.tell("u", "1")
    tables.tell(None, "2")
    tables.tell("other", "3")
    tables.add(tables.update("u"))
    tables.tell("u", "5")
    page = tables.read(log.page, "u", 1, 10, 10_000)
    assert [entry.seq for entry in page.entries] == [2, 4, 5]
    assert (page.head, page.complete, page.trimmed) == (5, True, False)


def test_a_page_ends_at_its_rows_or_bytes_but_never_before_the_first(tables: Tables) -> None:
    tables.tell("u", *"abcd")
    assert [(e.seq) for e in tables.read(log.page, "u", 0, 3, 10_000).entries] == [1, 2, 3]
    assert not tables.read(log.page, "u", 0, 3, 10_000).complete
    assert tables.read(log.page, "u", 0, 4, 10_000).complete
    assert [(e.seq) for e in tables.read(log.page, "u", 0, 10, 4).entries] == [1, 2]
    assert [(e.seq) for e in tables.read(log.page, "u", 0, 10, 0).entries] == [1]


def test_what_has_expired_or_was_withdrawn_is_left_out(tables: Tables) -> None:
    now = tables.now_ms
    tables.tell("u", "gone", expires_ms=now)
    tables.tell("u", "stays", expires_ms=now + 1)
    tables.tell("u", "back")
    tables.tell(None, "back too")
    for name in ("back", "back too"):
        tables.write(users.withdraw, name)
    assert [e.notification_id for e in tables.read(log.page, "u", 0, 9, 999).entries] == ["stays"]
    assert [e.notification_id for e in tables.read(log.newest, 9, 999)[0]] == ["stays"]
    assert [e.notification_id for e in tables.read(log.everything_after, 0, 9)] == ["stays"]


def test_a_page_says_when_the_log_was_trimmed_behind_it(tables: Tables) -> None:
    tables.tell("u", *"abcd")
    tables.write(users.raise_floors, {"u": 2})
    assert tables.read(log.page, "u", 1, 9, 999).trimmed
    assert not tables.read(log.page, "u", 2, 9, 999).trimmed
    assert not tables.read(log.page, "v", 1, 9, 999).trimmed


# --- the newest -------------------------------------------------------------------------------------


def test_the_newest_of_all_users_oldest_first(tables: Tables) -> None:
    tables.tell("u", "a")
    tables.tell(None, "b")
    tables.tell("v", "c")
    entries, floor, _ = tables.read(log.newest, 10, 1000)
    assert [entry.seq for entry in entries] == [1, 2, 3]
    assert floor == 0


def test_the_newest_end_where_no_more_fits(tables: Tables) -> None:
    tables.tell("u", *"abcde")
    assert [e.seq for e in tables.read(log.newest, 2, 1000)[0]] == [4, 5]
    assert tables.read(log.newest, 2, 1000)[1] == 3
    assert tables.read(log.newest, 10, 6)[1] == 2


def test_the_newest_of_a_trimmed_log_come_with_the_floors_of_users(tables: Tables) -> None:
    tables.tell("u", *"abcde")
    tables.write(users.raise_floors, {"v": 3, "w": 2, "x": 0})
    entries, floor, floors = tables.read(log.newest, 10, 1000)
    assert [entry.seq for entry in entries] == [1, 2, 3, 4, 5]
    assert (floor, floors) == (0, {"v": 3, "w": 2})


def test_the_newest_reach_no_further_back_than_there_is_room_for_floors(tables: Tables) -> None:
    tables.tell("u", *"abcde")
    tables.write(users.raise_floors, {"v": 4, "w": 4, "x": 3, "y": 3})
    assert tables.read(log.newest, 3, 1000)[1:] == (3, {"v": 4, "w": 4})


# --- remembered answers -----------------------------------------------------------------------------


def test_an_answer_is_remembered_for_its_publisher_and_for_a_day(tables: Tables) -> None:
    key, other = Key("p", "k"), Key("q", "k")
    tables.write(log.remember, {key: Answer(b"1", 7, "n")})
    assert tables.read(log.answers, [key, other, Key("p", "x")]) == {key: Answer(b"1", 7, "n")}
    tables.now_ms += REMEMBERED_MS - 1
    assert tables.read(log.answers, [key]) != {}
    tables.now_ms += 1
    assert tables.read(log.answers, [key]) == {}
    tables.write(log.remember, {key: Answer(b"2", 8, "m")})
    assert tables.read(log.answers, [key]) == {key: Answer(b"2", 8, "m")}
