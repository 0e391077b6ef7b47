"""Revoked tokens and users."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "revoked_tokens",
        sa.Column("issuer", TEXT, nullable=False),
        sa.Column("token_id", TEXT, nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("issuer", "token_id", name=op.f("pk_revoked_tokens")),
    )
    op.create_table(
        "revoked_users",
        sa.Column("user_id", TEXT, nullable=False),
        sa.Column("not_before_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_revoked_users")),
    )
