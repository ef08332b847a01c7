"""Recordings, deliveries and batches."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "recordings",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("kind", sa.String(32)),
        sa.Column("reason", sa.Text),
        sa.Column("flags", sa.JSON, nullable=False),
        sa.Column("seconds", sa.Float),
        sa.Column("channels", sa.Integer),
        sa.Column("speech_seconds", sa.Float),
        sa.Column("language", sa.String(8)),
        sa.Column("words", sa.Integer),
        sa.Column("preview", sa.Text),
        sa.Column("normalized_key", sa.String(64)),
        sa.Column("transcript_key", sa.String(64)),
        sa.Column("enriched_key", sa.String(64)),
        sa.Column("timings", sa.JSON, nullable=False),
        sa.Column("changed_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_recordings"),
        sa.CheckConstraint(
            "state IN ('received', 'normalized', 'transcribed', 'done', 'quarantined', 'failed')",
            name="ck_recordings_state",
        ),
    )
    op.create_index("ix_recordings_state", "recordings", ["state"])
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64)),
        sa.Column("batch_key", sa.String(64)),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(32)),
        sa.Column("reason", sa.Text),
        sa.Column("flags", sa.JSON, nullable=False),
        sa.Column("placed", sa.JSON, nullable=False),
        sa.Column("received_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.ForeignKeyConstraint(["sha256"], ["recordings.sha256"], name="fk_deliveries_sha256"),
        sa.CheckConstraint("kind IS NULL OR sha256 IS NULL", name="ck_deliveries_read_or_not"),
    )
    for column in ("sha256", "batch_key", "name"):
        op.create_index(f"ix_deliveries_{column}", "deliveries", [column])
    op.create_table(
        "batches",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("origin", sa.String(32), nullable=False),
        sa.Column("made_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_batches"),
    )
    op.create_table(
        "batch_members",
        sa.Column("batch_key", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("delivery_id", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("batch_key", "position", name="pk_batch_members"),
        sa.ForeignKeyConstraint(["batch_key"], ["batches.key"], name="fk_batch_members_batch_key"),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name="fk_batch_members_delivery_id"),
    )
    op.create_index("ix_batch_members_delivery_id", "batch_members", ["delivery_id"])


def downgrade() -> None:
    for table in ("batch_members", "batches", "deliveries", "recordings"):
        op.drop_table(table)
