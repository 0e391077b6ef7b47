"""What alembic runs around the migrations: they go through the connection that `migrate` was given."""

from __future__ import annotations

from alembic import context

from notifyd.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
