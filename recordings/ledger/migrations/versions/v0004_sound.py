"""What normalizing found: which audio tracks were taken, and how loud the recording is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("recordings", sa.Column("tracks", sa.Text))
    op.add_column("recordings", sa.Column("peak_dbfs", sa.Float))
