"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    _create_log()
    _create_idempotency()
    _create_users()
    _create_ledger()
    _create_prices()
    _create_words()
    _create_watches()
    _create_watch_index()
    if op.get_bind().dialect.name == "postgresql":
        _create_outgoing()


def _create_log() -> None:
    op.create_table(
        "meta",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", TEXT, nullable=False),
        sa.Column("head", sa.BigInteger(), nullable=False),
        sa.Column("broadcast_floor", sa.BigInteger(), nullable=False),
        sa.Column("checker_cursor", sa.BigInteger(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_meta_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_meta")),
    )
    op.create_table(
        "notifications",
        sa.Column("seq", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("notification_id", TEXT, nullable=True),
        sa.Column("user_id", TEXT, nullable=True),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.SmallInteger(), nullable=True),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_notifications")),
    )
    op.create_index(
        "ix_notifications_user_id_seq", "notifications", ["user_id", "seq", "state", "expires_ms"]
    )
    op.create_index("ix_notifications_notification_id", "notifications", ["notification_id", "user_id"])


def _create_idempotency() -> None:
    op.create_table(
        "idempotency",
        sa.Column("key", TEXT, nullable=False),
        sa.Column("publisher", TEXT, nullable=False),
        sa.Column("body_hash", sa.LargeBinary(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("notification_id", TEXT, nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", "publisher", name=op.f("pk_idempotency")),
    )
    op.create_index("ix_idempotency_created_ms", "idempotency", ["created_ms"])


def _create_users() -> None:
    op.create_table(
        "users",
        sa.Column("user_id", TEXT, nullable=False),
        sa.Column("appeared_seq", sa.BigInteger(), nullable=True),
        sa.Column("floor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("seen_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("read_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("archived_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("ack_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("ack_ms", sa.BigInteger(), nullable=True),
        sa.Column("ack_connection", TEXT, nullable=True),
        sa.Column("email", TEXT, nullable=True),
        sa.Column("locale", TEXT, nullable=True),
        sa.Column("time_zone", TEXT, nullable=True),
        sa.Column("profile_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_users")),
    )
    op.create_table(
        "erased_users",
        sa.Column("user_id", TEXT, nullable=False),
        sa.Column("erased_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_erased_users")),
    )
    op.create_table(
        "broadcast_states",
        sa.Column("user_id", TEXT, nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "seq", name=op.f("pk_broadcast_states")),
    )
    op.create_index("ix_broadcast_states_seq", "broadcast_states", ["seq"])


def _create_ledger() -> None:
    op.create_table(
        "connections",
        sa.Column("connection_id", TEXT, nullable=False),
        sa.Column("user_id", TEXT, nullable=False),
        sa.Column("transport", TEXT, nullable=False),
        sa.Column("connected_ms", sa.BigInteger(), nullable=False),
        sa.Column("start_seq", sa.BigInteger(), nullable=True),
        sa.Column("closed_ms", sa.BigInteger(), nullable=True),
        sa.Column("close_code", sa.Integer(), nullable=True),
        sa.Column("end_seq", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("connection_id", name=op.f("pk_connections")),
    )
    op.create_index("ix_connections_user_id_connected_ms", "connections", ["user_id", "connected_ms"])
    op.create_index("ix_connections_closed_ms", "connections", ["closed_ms"])
    op.create_table(
        "connection_marks",
        sa.Column("connection_id", TEXT, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("behind", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.connection_id"],
            name=op.f("fk_connection_marks_connection_id_connections"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("connection_id", "at_ms", name=op.f("pk_connection_marks")),
    )
    op.create_table(
        "dispatches",
        sa.Column("seq", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_dispatches")),
    )


# --- prices and watches -----------------------------------------------------------------------------


def _create_prices() -> None:
    op.create_table(
        "price_log",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("last_price_id", sa.BigInteger(), nullable=False),
        sa.Column("last_run_id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_price_log_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_price_log")),
    )
    op.create_table(
        "items",
        sa.Column("item_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("folded_name", TEXT, nullable=False),
        sa.Column("named_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_items")),
    )
    op.create_table(
        "price_series",
        sa.Column("series_id", ROW_ID, nullable=False),
        sa.Column("item_id", TEXT, nullable=False),
        sa.Column("store_id", TEXT, nullable=False),
        sa.Column("currency", TEXT, nullable=False),
        sa.Column("store_name", TEXT, nullable=False),
        sa.Column("named_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("series_id", name=op.f("pk_price_series")),
        sa.UniqueConstraint(
            "item_id", "store_id", "currency", name=op.f("uq_price_series_item_id_store_id_currency")
        ),
    )
    op.create_table(
        "prices",
        sa.Column("price_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("series_id", sa.BigInteger(), nullable=False),
        sa.Column("observed_ms", sa.BigInteger(), nullable=False),
        sa.Column("price_in_cents", sa.BigInteger(), nullable=False),
        sa.Column("valid_until_ms", sa.BigInteger(), nullable=True),
        sa.Column("url", TEXT, nullable=True),
        sa.Column("image_url", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("price_id", name=op.f("pk_prices")),
        sa.UniqueConstraint(
            "series_id",
            "observed_ms",
            "price_in_cents",
            name=op.f("uq_prices_series_id_observed_ms_price_in_cents"),
        ),
    )
    _create_batches()


def _create_batches() -> None:
    op.create_table(
        "price_runs",
        sa.Column("run_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("batch_id", TEXT, nullable=False),
        sa.Column("publisher", TEXT, nullable=False),
        sa.Column("first_price_id", sa.BigInteger(), nullable=False),
        sa.Column("last_price_id", sa.BigInteger(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_price_runs")),
    )
    op.create_table(
        "price_batches",
        sa.Column("publisher", TEXT, nullable=False),
        sa.Column("batch_id", TEXT, nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("publisher", name=op.f("pk_price_batches")),
    )


def _create_watches() -> None:
    op.create_table(
        "watches",
        sa.Column("watch_key", ROW_ID, nullable=False),
        sa.Column("user_id", TEXT, nullable=False),
        sa.Column("watch_id", TEXT, nullable=False),
        sa.Column("item_id", TEXT, nullable=True),
        sa.Column("search", TEXT, nullable=True),
        sa.Column("word_count", sa.Integer(), nullable=False),
        sa.Column("stores", TEXT, nullable=True),
        sa.Column("rule", TEXT, nullable=False),
        sa.Column("measure", TEXT, nullable=False),
        sa.Column("rule_limit", sa.BigInteger(), nullable=False),
        sa.Column("since_price_id", sa.BigInteger(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("watch_key", name=op.f("pk_watches")),
        sa.UniqueConstraint("user_id", "watch_id", name=op.f("uq_watches_user_id_watch_id")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "watch_states",
        sa.Column("watch_key", ROW_ID, nullable=False),
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("armed", sa.Boolean(), nullable=False),
        sa.Column("told_in_cents", sa.BigInteger(), nullable=False),
        sa.Column("fired_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["watch_key"],
            ["watches.watch_key"],
            name=op.f("fk_watch_states_watch_key_watches"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("watch_key", "series_id", name=op.f("pk_watch_states")),
    )
    op.create_index("ix_watch_states_series_id", "watch_states", ["series_id"])
    op.create_table(
        "deal_ends",
        sa.Column("notification_id", TEXT, nullable=False),
        sa.Column("ends_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("notification_id", name=op.f("pk_deal_ends")),
    )
    op.create_index("ix_deal_ends_ends_ms", "deal_ends", ["ends_ms"])


def _create_words() -> None:
    op.create_table(
        "item_words",
        sa.Column("item_id", TEXT, nullable=False),
        sa.Column("word", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("item_id", "word", name=op.f("pk_item_words")),
    )
    op.create_index("ix_item_words_word_item_id", "item_words", ["word", "item_id"])


def _create_watch_index() -> None:
    op.create_table(
        "watch_items",
        sa.Column("watch_key", ROW_ID, nullable=False),
        sa.Column("item_id", TEXT, nullable=False),
        sa.Column("measure", TEXT, nullable=False),
        sa.Column("rule_limit", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["watch_key"],
            ["watches.watch_key"],
            name=op.f("fk_watch_items_watch_key_watches"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("watch_key", "item_id", name=op.f("pk_watch_items")),
    )
    op.create_index(
        "ix_watch_items_item_id_measure_rule_limit", "watch_items", ["item_id", "measure", "rule_limit"]
    )
    op.create_table(
        "watch_words",
        sa.Column("watch_key", ROW_ID, nullable=False),
        sa.Column("word", TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["watch_key"],
            ["watches.watch_key"],
            name=op.f("fk_watch_words_watch_key_watches"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("watch_key", "word", name=op.f("pk_watch_words")),
    )
    op.create_index("ix_watch_words_word_watch_key", "watch_words", ["word", "watch_key"])


# --- publishing inside an application's own transaction -------------------------------------------------


def _create_outgoing() -> None:
    op.create_table(
        "outgoing",
        sa.Column("outgoing_id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("user_id", TEXT, nullable=True),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("data", postgresql.JSONB(), nullable=False),
        sa.Column("idempotency_key", TEXT, nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("rejected", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("outgoing_id"),
    )
    op.create_index(
        "ix_outgoing_waiting", "outgoing", ["outgoing_id"], postgresql_where=sa.text("rejected IS NULL")
    )
    op.execute(PUBLISH)
    op.execute("REVOKE ALL ON FUNCTION notifyd_publish(text, text, jsonb, text) FROM PUBLIC")


#: With the rights of its owner, so that callers need none on the table, and with the path of this moment.
PUBLISH = """
CREATE FUNCTION notifyd_publish(user_id text, type text, data jsonb, idempotency_key text DEFAULT NULL)
RETURNS void LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    INSERT INTO outgoing (user_id, type, data, idempotency_key, created_ms)
    VALUES ($1, $2, $3, $4, floor(extract(epoch FROM clock_timestamp()) * 1000));
    SELECT pg_notify('notifyd_outgoing', '');
$$
"""
