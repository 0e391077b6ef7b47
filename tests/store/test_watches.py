from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, delete

from notifyd.messages import encode_json
from notifyd.store import evidence, history, item_words, prices, runs, watches
from notifyd.store.evidence import Compared, ComparedStore, Told
from notifyd.store.history import SeriesLowest, SeriesPrice
from notifyd.store.json_rows import records
from notifyd.store.prices import Batch, add_batch
from notifyd.store.runs import Run, RunPrice
from notifyd.store.schema import metadata
from notifyd.store.schema import watches as watch_table
from notifyd.store.watch_rules import (
    BASELINES,
    PercentDrop,
    Rule,
    TargetPrice,
    WatchSpec,
    decode_store_id,
    decode_stores,
    encode_store_id,
    encode_stores,
)
from notifyd.store.watches import Awaited, Fired, Limit, Newest, StateRow, Watch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.store.conftest import Tables

TARGET = TargetPrice(price_in_cents=100)


def keys(*rows: object) -> str:
    return encode_json(rows).decode()


def put(tables: Tables, watch_id: str, rule: Rule = TARGET, item_id: str = "a", *states: StateRow) -> int:
    return tables.write(watches.put_watch, "ann", watch_id, WatchSpec(item_id=item_id, rule=rule), states)


def post(tables: Tables, number: int, *rows: tuple[str, str, int, int]) -> None:
    """Rows of (item, store, observed_ms, cents)."""
    series = dict.fromkeys((item, store, "USD") for item, store, *_ in rows)
    batch = Batch(
        batch_id=str(number),
        publisher="feed",
        items=keys(*((item, f"Item {item}", item, 0) for item in dict.fromkeys(row[0] for row in rows))),
        stores=keys(*((*key, f"Store {key[1]}", 0) for key in series)),
        prices=keys(
            *(
                (offset, item, store, "USD", at_ms, cents, None, None, None)
                for offset, (item, store, at_ms, cents) in enumerate(rows, 1)
            )
        ),
        count=len(rows),
        answer=b"{",
    )
    tables.write(add_batch, batch)


def names(found: Iterable[Watch]) -> list[str]:
    return sorted(each.watch_id for each in found)


def test_a_watch_is_put_found_listed_and_deleted(tables: Tables) -> None:
    first = put(tables, "b")
    put(tables, "a", PercentDrop(percent=15, baseline="lowest"))
    found = tables.read(watches.find_watch, "ann", "b")
    assert found is not None
    assert (found.watch_key, found.item_id, found.stores, found.created_ms) == (first, "a", None, 1_000_000)
    assert tables.read(watches.find_watch, "bob", "b") is None
    assert [each.watch_id for each in tables.read(watches.list_watches, "ann", "", 9)] == ["a", "b"]
    assert [each.watch_id for each in tables.read(watches.list_watches, "ann", "a", 9)] == ["b"]
    assert [each.watch_id for each in tables.read(watches.list_watches, "ann", "", 1)] == ["a"]
    assert tables.write(watches.delete_watch, "ann", "b") is True
    assert tables.write(watches.delete_watch, "ann", "b") is False


def test_a_watch_put_again_has_a_key_that_was_never_used(tables: Tables) -> None:
    first = put(tables, "w")
    second = put(tables, "w")
    tables.write(watches.delete_watch, "ann", "w")
    third = put(tables, "w")
    assert first < second < third
    assert tables.read(watches.are_there, keys((third,)), 1)
    assert not tables.read(watches.are_there, keys((second,), (third,)), 2)


def test_states_go_with_their_watch(tables: Tables) -> None:
    post(tables, 1, ("a", "3", 0, 90))
    key = put(tables, "w", TARGET, "a", StateRow(0, 1, 0, 90, 5))
    states = records(tables.read(watches.fired, keys(1, 2), 9), Fired)
    assert [(each[:4], each.watch.watch_key, each.measure) for each in states] == [
        ((1, False, 90, 5), key, "target")
    ]
    assert states[0].armed is False
    tables.write(watches.delete_watch, "ann", "w")
    assert tables.read(watches.fired, keys(1), 9) == b"[]"


def test_states_are_replaced_and_forgotten(tables: Tables) -> None:
    post(tables, 1, ("a", "3", 0, 90), ("a", "4", 0, 90))
    key = put(tables, "w", TARGET, "a", StateRow(0, 1, 0, 90, 5), StateRow(0, 2, 0, 80, 5))
    tables.write(watches.replace_states, keys((key, 1), (key, 2)), keys(StateRow(key, 2, 1, 70, 6)))
    assert [each[:4] for each in records(tables.read(watches.fired, keys(1, 2), 9), Fired)] == [
        (2, True, 70, 6)
    ]


def test_only_prices_stored_later_concern_a_watch(tables: Tables) -> None:
    put(tables, "before")
    post(tables, 1, ("a", "3", 0, 90), ("a", "3", 1, 80))
    put(tables, "after", TARGET, "a", StateRow(0, 1, 0, 80, 1))
    limit = keys(Limit("a", "target", 90))
    assert names(records(tables.read(watches.met_targets, limit, 1), Watch)) == ["before"]
    assert names(records(tables.read(watches.met_targets, limit, 3), Watch)) == ["after", "before"]
    assert records(tables.read(watches.fired, keys(1), 1), Fired) == []
    assert names(each.watch for each in records(tables.read(watches.fired, keys(1), 3), Fired)) == ["after"]


limits = st.tuples(st.sampled_from("abc"), st.sampled_from(["target", *BASELINES]), st.integers(1, 40))


@settings(deadline=None, max_examples=35, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    set_=st.lists(limits, max_size=30), asked=st.lists(limits, max_size=4, unique_by=lambda each: each[:2])
)
def test_the_index_finds_what_a_look_at_every_watch_finds(
    tables: Tables, set_: list[tuple[str, Any, int]], asked: list[tuple[str, Any, int]]
) -> None:
    tables.write(lambda tx: tx.execute(delete(watch_table)).rowcount)
    for number, (item_id, measure, limit) in enumerate(set_):
        target = TargetPrice(price_in_cents=limit)
        rule = target if measure == "target" else PercentDrop(percent=limit, baseline=measure)
        put(tables, str(number), rule, item_id)
    drops = [(item, measure, limit * 100) for item, measure, limit in asked if measure != "target"]
    targets = [each for each in asked if each[1] == "target"]
    found = records(tables.read(watches.met_targets, keys(*targets), 1), Watch)
    found += records(tables.read(watches.met_drops, keys(*drops), 1), Watch)
    expected = [
        str(number)
        for number, (item_id, measure, limit) in enumerate(set_)
        for item, by, met in asked
        if (item, by) == (item_id, measure) and (limit >= met if by == "target" else limit <= met)
    ]
    assert names(found) == sorted(expected)
    awaited = records(tables.read(watches.awaited, keys("a", "z")), Awaited)
    waited = {by: [limit * 100 for item, m, limit in set_ if (item, m) == ("a", by)] for by in BASELINES}
    assert Awaited("z", None, None, None, None, None) in awaited
    highest = max((limit for item, m, limit in set_ if (item, m) == ("a", "target")), default=None)
    expected_drops = ["a", *(min(waited[by], default=None) for by in BASELINES), None, highest]
    assert Awaited._make(expected_drops) in awaited


@pytest.mark.parametrize(
    "statement",
    [
        watches._met_targets,
        watches._met_drops,
        watches._awaited,
        watches._fired,
        history._newest,
        history._newest_of_series,
        history._lowest,
        history._window,
        evidence._told,
        evidence._compared,
        evidence._compared_stores,
        runs._run_prices,
        history._recent_lowest,
        history._steps,
        history._others_lowest,
        item_words._forget_words,
        item_words._add_words,
        item_words._forget_links,
        item_words._add_links,
        item_words._link_item,
        item_words._link_words,
        watches._later_of_item,
        watches._later_of_words,
        watches._newest_of_items,
        prices._fresh_items,
        prices._fresh_stores,
        prices._add_items,
        prices._rename_items,
        prices._add_series,
        prices._rename_stores,
        prices._add_prices,
    ],
)
def test_no_question_of_a_batch_or_run_reads_a_whole_table(statement: Any) -> None:
    engine = create_engine("sqlite://")
    sql = str(statement.compile(dialect=engine.dialect))
    with engine.connect() as connection:
        metadata.create_all(connection)
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", (0,) * sql.count("?"))
        steps = [row.detail for row in plan]
    assert any(step.startswith("SEARCH") for step in steps)
    made = ("json", "CONSTANT ROW", "subquery", "all_steps", "hits", "has", "meant", "parsed_keys")
    assert not [step for step in steps if step.startswith("SCAN") and not any(each in step for each in made)]


def test_history_is_what_was_stored_before(tables: Tables) -> None:
    post(tables, 1, ("a", "3", 50, 100), ("a", "3", 20, 70), ("a", "3", 50, 90), ("a", "4", 9, 1))
    post(tables, 2, ("a", "3", 60, 10))

    def newest(*each: Sequence[int]) -> list[SeriesPrice]:
        return records(tables.read(history.newest, keys(*each)), SeriesPrice)

    assert newest((1, 5)) == [SeriesPrice(1, 50, 90)]
    assert newest((1, 3)) == [SeriesPrice(1, 50, 100)]
    assert newest((1, 1)) == []
    assert records(tables.read(history.newest_of_series, keys(1, 2), 3), SeriesPrice) == [(1, 50, 100)]
    assert sorted(newest((1, 99), (2, 99))) == [SeriesPrice(1, 60, 10), SeriesPrice(2, 9, 1)]
    lowest = records(tables.read(history.lowest, keys((1, 5), (2, 1))), SeriesLowest)
    assert sorted(lowest, key=str) == [SeriesLowest(1, 70), SeriesLowest(2, None)]

    def window(*each: Sequence[int]) -> list[int]:
        return sorted(row.price for row in records(tables.read(history.window, keys(*each)), SeriesPrice))

    assert window((1, 5, 0, 0)) == [70, 90, 100]
    assert window((1, 5, 50, 0)) == [90, 100]
    assert window((1, 5, 0, 100)) == [70, 90, 100]
    assert window((1, 5, 0, 101)) == []


def test_runs_come_in_turn_and_the_cursor_moves_once(tables: Tables) -> None:
    assert tables.read(runs.next_run) is None
    post(tables, 1, ("a", "3", 50, 100), ("b", '"3"', 20, 70))
    post(tables, 2, ("a", "3", 51, 100))
    run = tables.read(runs.next_run)
    assert run == Run(1, 1, 2, 0)
    assert sorted(records(tables.read(runs.run_prices, 1, 2), RunPrice)) == [
        RunPrice(1, 1, 50, 100, "a", "3", "USD"),
        RunPrice(2, 2, 20, 70, "b", '"3"', "USD"),
    ]
    assert tables.write(runs.advance, run) is True
    assert tables.write(runs.advance, run) is False
    assert tables.read(runs.next_run) == Run(2, 3, 3, 1)


def test_evidence(tables: Tables) -> None:
    post(tables, 1, ("a", "3", 50, 100), ("a", "4", 10, 70), ("a", "5", 40, 70), ("a", "3", 51, 90))
    post(tables, 2, ("a", "3", 52, 95), ("a", "6", 52, 1), ("b", "7", 52, 1))
    (told,) = records(tables.read(evidence.told, keys((5, 0))), Told)
    assert told == Told(5, "Item a", "Store 3", None, None, None, 2)
    assert records(tables.read(evidence.compared, keys((5, 40))), Compared) == [(5, 2)]
    assert records(tables.read(evidence.compared, keys((5, 10))), Compared) == [(5, 3)]
    stores = records(tables.read(evidence.compared_stores, keys((5, 40))), ComparedStore)
    assert sorted(stores) == [(5, "3"), (5, "5")]


def test_the_newest_of_an_item_and_whether_there_is_news(tables: Tables) -> None:
    post(tables, 1, ("a", "3", 50, 100), ("a", "3", 20, 70), ("b", "3", 99, 1))
    found = records(tables.read(watches.newest_of_items, keys(("a",), ("none",))), Newest)
    assert found == [Newest(1, "a", "Item a", "3", "Store 3", "USD", 1, 50, 100, None)]

    def has_news(item_id: str, price_id: int) -> bool:
        return tables.read(watches.has_prices_after, WatchSpec(item_id=item_id, rule=TARGET), price_id)

    assert has_news("a", 1)
    assert not has_news("a", 2)
    assert has_news("b", 2)


@given(stores=st.lists(st.integers(-(2**53), 2**53) | st.text(min_size=1, max_size=20), min_size=1))
def test_store_ids_stay_as_given(stores: list[int | str]) -> None:
    texts = decode_stores(encode_stores(stores))
    assert texts == frozenset(encode_store_id(store) for store in stores)
    assert [decode_store_id(encode_store_id(store)) for store in stores] == stores
