"""What a long history needs: what a delivery shows, counts, recipes, results of audits, and indexes for each of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_BROKEN = "state IN ('quarantined', 'failed')"
_ENDED = "('done', 'quarantined', 'failed')"
_RECIPES = ("normalized_recipe", "transcript_recipe", "enriched_recipe")


def upgrade() -> None:
    for recipe in _RECIPES:
        op.add_column("recordings", sa.Column(recipe, sa.String(16), nullable=False, server_default=""))
    op.add_column("deliveries", sa.Column("state", sa.String(16), nullable=False, server_default="received"))
    op.add_column("deliveries", sa.Column("open", sa.Boolean, nullable=False, server_default=sa.true()))
    op.drop_index("ix_recordings_state", "recordings")
    op.drop_index("ix_deliveries_name", "deliveries")
    op.drop_index("ix_deliveries_batch_key", "deliveries")
    op.create_index("ix_deliveries_name", "deliveries", ["name", "received_at"])
    _fill()
    _create_index("ix_recordings_recipes", "recordings", _RECIPES, "state = 'done'")
    op.create_index("ix_deliveries_received_at", "deliveries", ["received_at"])
    _create_index("ix_deliveries_broken", "deliveries", ("received_at",), _BROKEN)
    _create_index("ix_deliveries_open", "deliveries", ("batch_key",), "open" if _is_postgres() else "open = 1")
    _create_index("ix_deliveries_waiting", "deliveries", ("received_at", "name"), "batch_key IS NULL")
    op.create_table(
        "audits",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("ended_at", sa.Float, nullable=False),
        sa.Column("looked_at", sa.BigInteger, nullable=False),
        sa.Column("wrong", sa.BigInteger, nullable=False),
        sa.Column("sentence", sa.Text, nullable=False),
        sa.Column("cursor", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_audits"),
    )
    _index_names()


def _is_postgres() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _create_index(name: str, table: str, columns: tuple[str, ...], where: str) -> None:
    op.create_index(name, table, list(columns), sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def _fill() -> None:
    """Write what every delivery shows, and count."""
    placed = "placed ->> 'enriched'" if _is_postgres() else "json_extract(placed, '$.enriched')"
    own = "SELECT {} FROM recordings r WHERE r.sha256 = deliveries.sha256"
    unread = "CASE WHEN kind IS NULL THEN 'received' ELSE 'quarantined' END"
    op.execute(f"UPDATE deliveries SET state = COALESCE(({own.format('r.state')}), {unread})")
    op.execute(
        f"UPDATE deliveries SET open = {'false' if _is_postgres() else '0'} WHERE state IN {_ENDED} AND NOT ("
        f"state = 'done' AND COALESCE({placed}, '') <> COALESCE(({own.format('r.enriched_key')}), '') "
        "AND NOT EXISTS (SELECT 1 FROM deliveries newer WHERE newer.name = deliveries.name AND newer.id <> deliveries.id "
        "AND newer.received_at > deliveries.received_at))"
    )
    op.create_table(
        "counts",
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("deliveries", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counts"),
    )
    names = ("received", "normalized", "transcribed", "done", "quarantined", "failed", "inputs")
    for name in names:
        same = "" if name == "inputs" else f" WHERE state = '{name}'"
        op.execute(f"INSERT INTO counts (name, deliveries) SELECT '{name}', COUNT(*) FROM deliveries{same}")


def _index_names() -> None:
    """An index of all parts of names: of each three characters that follow each other."""
    if _is_postgres():
        op.execute(
            "CREATE FUNCTION stt_list_trigrams(text) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS "
            "$$ SELECT array_agg(DISTINCT substr(lower($1), i, 3)) FROM generate_series(1, length($1) - 2) i $$"
        )
        op.execute("CREATE INDEX ix_deliveries_name_parts ON deliveries USING gin (stt_list_trigrams(name))")
        return
    op.execute("CREATE VIRTUAL TABLE delivery_names USING fts5(name, tokenize = 'trigram')")
    op.execute("INSERT INTO delivery_names (name) SELECT name FROM deliveries GROUP BY name ORDER BY MIN(received_at)")
    op.execute(
        "CREATE TRIGGER deliveries_insert_name AFTER INSERT ON deliveries "
        "WHEN NOT EXISTS (SELECT 1 FROM deliveries WHERE name = new.name AND id <> new.id) "
        "BEGIN INSERT INTO delivery_names (name) VALUES (new.name); END"
    )
