"""Alembic's entry: runs the revisions on the connection that ``recordings.ledger.engine`` hands over."""

from __future__ import annotations

from alembic import context

from recordings.ledger.schema import metadata

# Batch mode, because SQLite cannot alter a table in place.
context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
