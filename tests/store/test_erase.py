from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, insert, select

from notifyd.store import erase, ledger, log, profiles, retention, schema, users
from notifyd.store.ledger import Closed, Mark, Opened
from notifyd.store.profiles import Profile
from notifyd.store.sql import open_database, prepare
from notifyd.store.users import Acknowledged, Known
from tests.store.conftest import Tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pytest
    from sqlalchemy import Table

    from notifyd.store.base import Transaction

OWNED = (
    schema.notifications,
    schema.broadcast_states,
    schema.watches,
    schema.connections,
    schema.users,
    schema.erased_users,
)


def count(tables: Tables, table: Table, user_id: str = "u") -> int:
    query = select(func.count()).select_from(table).where(table.c.user_id == user_id)
    found: int = tables.read(lambda tx: tx.execute(query).scalar_one())
    return found


def watch(tables: Tables, user_id: str, watch_id: str) -> None:
    values: dict[str, Any] = {
        "user_id": user_id,
        "watch_id": watch_id,
        "item_id": "i",
        "word_count": 0,
        "rule": "{}",
        "measure": "target",
        "rule_limit": 1,
        "since_price_id": 0,
        "created_ms": 1,
    }

    def work(tx: Transaction) -> None:
        key = tx.execute(insert(schema.watches).values(values).returning(schema.watches.c.watch_key)).scalar()
        state = {"watch_key": key, "series_id": 1, "armed": True, "told_in_cents": 1, "fired_ms": 1}
        tx.execute(insert(schema.watch_states).values(state))
        item = {"watch_key": key, "item_id": "i", "measure": "target", "rule_limit": 1}
        tx.execute(insert(schema.watch_items).values(item))
        tx.execute(insert(schema.watch_words).values(watch_key=key, word="w"))

    tables.write(work)


def furnish(tables: Tables, user_id: str) -> None:
    """Everything that the store can know of a user."""
    own = tables.tell(user_id, f"{user_id}1", f"{user_id}2")
    (news,) = tables.tell(None, f"news for {user_id}")
    tables.write(users.raise_single, user_id, 1, [Known(news, everyone=True, rank=0)])
    tables.write(users.raise_mark, user_id, 2, own[0])
    tables.write(users.acknowledge, {user_id: Acknowledged(own[1], "c", 5)})
    tables.write(users.appeared, {user_id: 1})
    tables.write(profiles.put, [Profile(user_id, "a@b.example", "de", "Europe/Berlin")])
    watch(tables, user_id, "w")
    tables.write(
        ledger.note,
        [Opened(f"c-{user_id}", user_id, "sse", 1, 0)],
        [Mark(f"c-{user_id}", 2, 1, True)],
        [Closed(f"c-{user_id}", 3, 1000, 1)],
    )


def run(tables: Tables, user_id: str = "u") -> int | None:
    for drop in erase.DROPS:
        while tables.write(drop, user_id) == erase.BATCH:
            pass
    return tables.write(erase.finish, user_id)


def test_nothing_of_the_user_is_left_but_the_floor(tables: Tables) -> None:
    for user_id in ("u", "v"):
        furnish(tables, user_id)
    before = {table.name: count(tables, table, "v") for table in OWNED}
    assert run(tables) == 2
    left = {table.name: count(tables, table) for table in OWNED}
    assert left == dict.fromkeys(left, 0) | {"users": 1, "erased_users": 1}
    row = tables.read(lambda tx: tx.execute(select(schema.users).where(schema.users.c.user_id == "u")).one())
    assert {name: value for name, value in row._mapping.items() if value} == {"user_id": "u", "floor": 2}
    assert {table.name: count(tables, table, "v") for table in OWNED} == before
    for table in (schema.watch_states, schema.watch_items, schema.watch_words, schema.connection_marks):
        kept: Any = tables.read(lambda tx, t=table: tx.execute(select(func.count()).select_from(t)).scalar())
        assert kept == 1


def test_twice_is_as_good_as_once(tables: Tables) -> None:
    furnish(tables, "u")
    assert run(tables) == run(tables) == 2
    assert run(tables, "nobody") == 0
    assert count(tables, schema.users, "nobody") == count(tables, schema.erased_users, "nobody") == 0


def test_a_user_without_own_entries_leaves_no_row(tables: Tables) -> None:
    tables.tell(None, "news")
    tables.write(profiles.put, [Profile("u", None, "de", None)])
    assert run(tables) == 0
    assert count(tables, schema.users) == 0


def test_many_rows_go_in_small_batches(tables: Tables) -> None:
    for number in range(erase.BATCH + 1):
        tables.tell("u", str(number))
    assert tables.write(erase.drop_entries, "u") == erase.BATCH
    assert tables.read(users.floor, "u") == erase.BATCH  # raised with each batch
    assert tables.write(erase.drop_entries, "u") == 1


def test_what_comes_meanwhile_is_told(tables: Tables) -> None:
    furnish(tables, "u")
    for drop in erase.DROPS:
        tables.write(drop, "u")
    tables.tell("u", "late")
    assert tables.write(erase.finish, "u") is None
    assert tables.write(erase.finish_now, "u") == 2
    assert count(tables, schema.notifications) == 1


def test_the_id_goes_when_the_log_is_younger(tables: Tables) -> None:
    tables.tell("v", "older")
    furnish(tables, "u")
    assert run(tables) == 3
    assert tables.write(erase.forget_erased) == 0  # v's entry is older than the floor
    tables.now_ms += 1000
    tables.tell("v", "younger")
    tables.write(retention.drop_oldest, tables.now_ms)
    assert tables.write(erase.forget_erased) == 1
    assert count(tables, schema.users) == count(tables, schema.erased_users) == 0
    assert tables.read(users.floor, "u") >= 3  # everyone's now


def test_the_row_of_one_who_came_back_stays(tables: Tables) -> None:
    furnish(tables, "u")
    run(tables)
    tables.write(profiles.put, [Profile("u", None, None, None)])
    tables.now_ms += 1
    tables.write(retention.drop_oldest, tables.now_ms)
    assert tables.write(erase.forget_erased) == 1
    assert tables.write(erase.forget_erased) == 0
    assert (count(tables, schema.users), count(tables, schema.erased_users)) == (1, 0)


STEPS = st.lists(
    st.one_of(
        st.sampled_from(["tell u", "tell v", "news", "erase", "old", "forget"]),
        st.integers(0, 4).map(lambda up_to: f"drop {up_to}"),
    ),
    max_size=25,
)


@settings(max_examples=35, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_no_cursor_ever_hides_a_gap(
    steps: list[str],
    new_database: Callable[[Path], AbstractContextManager[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Whatever is told, trimmed and erased: above the floor nothing that was ever for the user is missing."""
    folder: Path = tmp_path_factory.mktemp("erase")
    with new_database(folder) as url, open_database(url, busy_s=1) as database:
        prepare(database, 1)
        tables = Tables(database)
        ever: dict[str, set[int]] = {"u": set(), "v": set()}
        highest = 0
        for step in steps:
            verb, _, rest = step.partition(" ")
            if verb == "tell":
                ever[rest].update(tables.tell(rest, "n"))
            elif verb == "news":
                seqs = tables.tell(None, "n")
                for known in ever.values():
                    known.update(seqs)
            elif verb == "erase":
                run(tables)
            elif verb == "old":
                tables.now_ms += 10
                tables.write(retention.drop_oldest, tables.now_ms)
            elif verb == "forget":
                tables.write(erase.forget_erased)
            else:
                tables.write(retention.drop_own, "v", int(rest))
            head = tables.read(log.head)
            assert head >= highest  # no seq is ever used again
            highest = head
            for user_id, known in ever.items():
                floor = tables.read(users.floor, user_id)
                page = tables.read(log.page, user_id, floor, 999, 10**6)
                assert [e.seq for e in page.entries] == sorted(seq for seq in known if seq > floor)
