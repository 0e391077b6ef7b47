from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import create_engine, make_url, select

from notifyd.messages import encode_json
from notifyd.store.json_rows import INT, TEXT, records, rows_of, together

ROWS = rows_of("keys", name=TEXT, number=INT)
TOGETHER = select(together(ROWS.c.number, ROWS.c.name)).where(ROWS.c.number > 0)


class Pair(NamedTuple):
    number: int
    name: str | None


def test_rows_go_in_and_out_as_one_text() -> None:
    rows = [("é ☃ '\"\\", 2**53), (None, 1), ("dropped", 0)]
    with create_engine("sqlite://").connect() as connection:
        found = connection.execute(TOGETHER, {"keys": encode_json(rows).decode()}).scalar_one()
        assert records(found.encode(), Pair) == [Pair(2**53, "é ☃ '\"\\"), Pair(1, None)]
        assert connection.execute(TOGETHER, {"keys": "[]"}).scalar_one() == "[]"


def test_both_databases_are_asked_in_their_own_words() -> None:
    def spoken_by(url: str) -> str:
        return str(TOGETHER.compile(dialect=make_url(url).get_dialect()()))

    on_sqlite = spoken_by("sqlite://")
    assert "json_group_array(json_array(given_keys.number, given_keys.name))" in on_sqlite
    assert "json_extract(keys_json.value, '$[1]') AS number" in on_sqlite
    on_postgresql = spoken_by("postgresql+psycopg://")
    assert "json_agg(json_build_array(given_keys.number, given_keys.name))" in on_postgresql
    assert "CAST(keys_json.value ->> 1 AS BIGINT) AS number" in on_postgresql
    assert "jsonb_array_elements(CAST(" in on_postgresql
