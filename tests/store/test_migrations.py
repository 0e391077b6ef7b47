from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from notifyd.errors import ConfigError
from notifyd.store.migrations import newest_revision
from notifyd.store.outgoing import outgoing
from notifyd.store.schema import REVISION, metadata
from notifyd.store.sql import Call, open_database, prepare

if TYPE_CHECKING:
    from notifyd.store.sql import Database


def test_the_code_expects_the_newest_revision() -> None:
    assert newest_revision() == REVISION


def test_the_migrations_make_exactly_the_tables_of_the_schema(database: Database) -> None:
    with database.writer_engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        own = [metadata] if connection.dialect.name == "sqlite" else [metadata, outgoing.metadata]
        wanted_tables: Any = own  # alembic takes several, though its types do not say so
        assert compare_metadata(context, wanted_tables) == []
        found = inspect(connection)
        for table in [table for each in own for table in each.tables.values()]:
            indexes = {
                (i["name"], tuple(i["column_names"]))
                for i in found.get_indexes(table.name)
                if "duplicates_constraint" not in i
            }
            wanted = {(i.name, tuple(c.name for c in i.columns)) for i in table.indexes}
            assert indexes == wanted


def test_a_migration_that_fails_leaves_nothing(bare_database_url: str) -> None:
    with open_database(bare_database_url, busy_s=1) as database:
        database.write(lambda tx: tx.execute(text("CREATE TABLE users (x INTEGER)")), Call(1))
        with pytest.raises(ConfigError, match="users"):
            prepare(database, 1)
        with database.writer_engine.connect() as connection:
            assert inspect(connection).get_table_names() == ["users"]


def test_a_database_of_newer_code_is_refused(database_url: str) -> None:
    with open_database(database_url, busy_s=1) as database:
        prepare(database, 1)
        newer = text("UPDATE alembic_version SET version_num = '9999'")
        database.write(lambda tx: tx.execute(newer), Call(1))
        with pytest.raises(ConfigError, match=r"older than the database.*9999"):
            prepare(database, 1)


def test_a_database_that_lacks_what_its_revision_has_is_refused(database_url: str) -> None:
    with open_database(database_url, busy_s=1) as database:
        prepare(database, 1)
        database.write(lambda tx: tx.execute(text("ALTER TABLE idempotency DROP COLUMN body_hash")), Call(1))
        with pytest.raises(ConfigError, match=r"\(idempotency\.body_hash is missing\); use another file"):
            prepare(database, 1)


def test_preparing_again_changes_nothing(database: Database) -> None:
    first = prepare(database, 1)
    assert prepare(database, 2) == first
