from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from notifyd.store import ledger, schema
from notifyd.store.ledger import LOST, Closed, Kept, Mark, Opened
from notifyd.store.retention import BATCH

if TYPE_CHECKING:
    from sqlalchemy import Table

    from tests.store.conftest import Tables


def rows(tables: Tables, table: Table) -> int:
    found: int = tables.read(lambda tx: tx.execute(select(func.count()).select_from(table)).scalar_one())
    return found


def test_a_connection_is_written_as_it_goes(tables: Tables) -> None:
    tables.write(ledger.note, [Opened("a", "u", "websocket", 100, 5)], [], [])
    open_ = Kept("a", "websocket", 100, 5, None, None, None)
    assert tables.read(ledger.connections_since, "u", 999, 9) == [open_]
    tables.write(ledger.note, [], [Mark("a", 150, 6, True), Mark("a", 160, 9, False)], [])
    tables.write(ledger.note, [], [], [Closed("a", 200, 1000, 9)])
    ended = Kept("a", "websocket", 100, 5, 200, 1000, 9)
    assert tables.read(ledger.connections_since, "u", 200, 9) == [ended]
    assert tables.read(ledger.connections_since, "u", 201, 9) == []
    assert tables.read(ledger.marks_of, ["a", "b"]) == [
        Mark("a", 150, 6, True),
        Mark("a", 160, 9, False),
    ]


def test_one_that_comes_and_goes_in_one_line(tables: Tables) -> None:
    tables.write(
        ledger.note, [Opened("a", "u", "sse", 1, 0)], [Mark("a", 1, 0, True)], [Closed("a", 2, 1006, 0)]
    )
    (kept,) = tables.read(ledger.connections_since, "u", 0, 9)
    assert (kept.closed_ms, kept.close_code) == (2, 1006)


def test_lines_of_an_erased_connection_are_left_out(tables: Tables) -> None:
    tables.write(ledger.note, [], [Mark("gone", 1, 1, True)], [Closed("gone", 2, 1000, 1)])
    assert rows(tables, schema.connection_marks) == rows(tables, schema.connections) == 0


def test_only_the_newest_connections_are_told_oldest_first(tables: Tables) -> None:
    tables.write(ledger.note, [Opened(str(at), "u", "sse", at, 0) for at in range(5)], [], [])
    tables.write(ledger.note, [Opened("v", "v", "sse", 9, 0)], [], [])
    assert [each.connected_ms for each in tables.read(ledger.connections_since, "u", 0, 3)] == [2, 3, 4]


def test_what_a_killed_server_left_open_is_ended(tables: Tables) -> None:
    tables.write(ledger.note, [Opened("a", "u", "sse", 1, 0), Opened("b", "u", "sse", 2, 0)], [], [])
    tables.write(ledger.note, [], [], [Closed("b", 3, 1000, 0)])
    assert tables.write(ledger.end_left_open) == 1
    codes = {each.connection_id: each.close_code for each in tables.read(ledger.connections_since, "u", 0, 9)}
    assert codes == {"a": LOST, "b": 1000}


def test_an_entry_was_dispatched_by_the_first_look_that_found_it_so(tables: Tables) -> None:
    for seq, at_ms in ((3, 100), (7, 200), (7, 300)):
        tables.write(ledger.dispatched, seq, at_ms)
    found = [tables.read(ledger.dispatched_ms, seq) for seq in (1, 3, 4, 7, 8)]
    assert found == [100, 100, 200, 200, None]


def test_the_ledger_is_forgotten_with_the_log(tables: Tables) -> None:
    opened = [Opened(str(number), "u", "sse", 1, 0) for number in range(BATCH + 1)]
    tables.write(ledger.note, opened, [Mark("0", 1, 0, True)], [])
    tables.write(ledger.note, [], [], [Closed(each.connection_id, 50, 1000, 0) for each in opened])
    tables.write(ledger.note, [Opened("young", "u", "sse", 1, 0)], [], [Closed("young", 100, 1000, 0)])
    tables.write(ledger.note, [Opened("open", "u", "sse", 1, 0)], [], [])
    assert tables.write(ledger.forget_connections, 100) == BATCH
    assert tables.write(ledger.forget_connections, 100) == 1
    assert rows(tables, schema.connections) == 2
    assert rows(tables, schema.connection_marks) == 0
    for seq, at_ms in ((1, 50), (2, 99), (3, 100)):
        tables.write(ledger.dispatched, seq, at_ms)
    assert tables.write(ledger.forget_dispatches, 100) == 2
    assert tables.read(ledger.dispatched_ms, 1) == 100
