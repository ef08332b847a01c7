"""Options that came with a recording, and which step found each of its flags."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("recordings", sa.Column("bytes_sha256", sa.String(64)))
    op.add_column("recordings", sa.Column("options", sa.JSON(none_as_null=True)))
    op.add_column("recordings", sa.Column("step_flags", sa.JSON(none_as_null=True)))
    op.create_index("ix_recordings_bytes_sha256", "recordings", ["bytes_sha256"])
