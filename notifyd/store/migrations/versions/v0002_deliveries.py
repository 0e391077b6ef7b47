"""Deliveries, their outbox, preferences and webhooks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("users", sa.Column("bounced_email", TEXT, nullable=True))
    _create_wishes()
    _create_deliveries()
    _create_outbox()


def _create_wishes() -> None:
    op.create_table(
        "preferences",
        sa.Column("user_id", TEXT, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_preferences")),
    )
    op.create_table(
        "webhooks",
        sa.Column("publisher", TEXT, nullable=False),
        sa.Column("url", TEXT, nullable=False),
        sa.Column("secret", TEXT, nullable=False),
        sa.Column("every", sa.Boolean(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("publisher", name=op.f("pk_webhooks")),
    )
    op.create_table(
        "server_keys",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_server_keys")),
    )


def _create_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("user_id", TEXT, nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("channel", TEXT, nullable=False),
        sa.Column("due_ms", sa.BigInteger(), nullable=True),
        sa.Column("waits_for", TEXT, nullable=True),
        sa.Column("reason", TEXT, nullable=True),
        sa.Column("message_id", TEXT, nullable=True),
        sa.Column("decided_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("user_id", "seq", "channel", name=op.f("pk_deliveries")),
    )
    op.create_index("ix_deliveries_due_ms", "deliveries", ["due_ms"])
    op.create_index("ix_deliveries_message_id", "deliveries", ["message_id"])
    op.create_index("ix_deliveries_seq", "deliveries", ["seq"])
    op.create_table(
        "announcements",
        sa.Column("seq", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("after_user", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_announcements")),
    )


def _create_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("message_id", TEXT, nullable=False),
        sa.Column("channel", TEXT, nullable=False),
        sa.Column("user_id", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("due_ms", sa.BigInteger(), nullable=True),
        sa.Column("lease_ms", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("error", TEXT, nullable=True),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_outbox")),
    )
    op.create_index("ix_outbox_due_ms", "outbox", ["due_ms"])
    op.create_index("ix_outbox_status_ended_ms", "outbox", ["status", "ended_ms"])
    op.create_index("ix_outbox_user_id", "outbox", ["user_id"])
