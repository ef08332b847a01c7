"""Finds deliveries by a part of their name without walking all of them, however many there are.

Both databases keep an index of each three characters of a name: SQLite in a table of its own (FTS5), PostgreSQL over a function.
A text of fewer than three characters is only looked for among the newest deliveries.
"""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection

from recordings.ledger.schema import deliveries, recordings

_NEWEST = 3_000
"""Deliveries looked at one by one, the newest first. A text that many names have is found there; the index serves a rare one."""

_TRIGRAM = 3

_SAMPLE, _RAREST = 300, 4
"""See ``_list_rarest``."""

_SHA256_BEGINNING = re.compile(r"[0-9a-f]{4,64}")


def find_ids(connection: Connection, text: str, limit: int) -> list[str]:
    """Ids of deliveries by name, id or beginning of a sha256 of at least four digits, and by part of a name; unsorted.

    Old names are searched for the part where nothing has the name, the id or the sha256.

    Args:
        connection: To the ledger.
        text: What is looked for.
        limit: How many of each kind; of parts of names the newest.
    """
    found: dict[str, None] = dict.fromkeys(connection.scalars(_select_exact(text, limit)))
    if _SHA256_BEGINNING.fullmatch(text):
        for query in _select_by_sha256(text, limit):
            found.update(dict.fromkeys(connection.scalars(query)))
    in_newest = list(connection.scalars(_select_newest(text, limit)))
    # Where something is called so, nobody means an old name that has it as a part.
    is_searched = not found and len(in_newest) < limit and len(text) >= _TRIGRAM
    found.update(dict.fromkeys(in_newest))
    if is_searched and connection.dialect.name == "postgresql":
        found.update(dict.fromkeys(connection.scalars(_select_by_index_postgres(connection, text, limit))))
    elif is_searched:
        found.update(dict.fromkeys(connection.scalars(_select_by_index_sqlite(text, limit))))
    return list(found)


def _has_part(name: sa.ColumnElement[str], text: str) -> sa.ColumnElement[bool]:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return name.ilike(f"%{escaped}%", escape="\\")


def _select_exact(text: str, limit: int) -> sa.Select[Any]:
    is_it = (deliveries.c.name == text) | (deliveries.c.id == text)
    return sa.select(deliveries.c.id).where(is_it).order_by(deliveries.c.received_at.desc()).limit(limit)


def _select_by_sha256(text: str, limit: int) -> list[sa.Select[Any]]:
    """By a range, which an index serves in any collation: ``g`` follows every digit."""
    of_recording = recordings.c.bytes_sha256.between(text, f"{text}g")
    joined = deliveries.join(recordings, recordings.c.sha256 == deliveries.c.sha256)
    return [
        sa.select(deliveries.c.id).where(deliveries.c.sha256.between(text, f"{text}g")).limit(limit),
        sa.select(deliveries.c.id).select_from(joined).where(of_recording).limit(limit),
    ]


def _select_newest(text: str, limit: int) -> sa.Select[Any]:
    newest = (
        sa.select(deliveries.c.id, deliveries.c.name)
        .order_by(deliveries.c.received_at.desc())
        .limit(_NEWEST)
        .subquery("newest")
    )
    return sa.select(newest.c.id).where(_has_part(newest.c.name, text)).limit(limit)


def _select_by_index_sqlite(text: str, limit: int) -> sa.Select[Any]:
    phrase = '"' + text.replace('"', '""') + '"'
    names = (
        sa.text("SELECT name FROM delivery_names WHERE delivery_names MATCH :phrase ORDER BY rowid DESC LIMIT :most")
        .bindparams(phrase=phrase, most=limit)
        .columns(sa.column("name", sa.Text))
        .subquery("names")
    )
    return sa.select(deliveries.c.id).join(names, names.c.name == deliveries.c.name).limit(limit)


def _select_by_index_postgres(connection: Connection, text: str, limit: int) -> sa.Select[Any]:
    trigrams = sa.cast(_list_rarest(connection, text), postgresql.ARRAY(sa.Text))
    # Materialized: the planner else may walk all deliveries by date, the newest first, in hope of an early match.
    matches = (
        sa.select(deliveries.c.id, deliveries.c.received_at)
        .where(sa.func.stt_list_trigrams(deliveries.c.name).op("@>")(trigrams), _has_part(deliveries.c.name, text))
        .cte("matches")
        .prefix_with("MATERIALIZED")
    )
    return sa.select(matches.c.id).order_by(matches.c.received_at.desc()).limit(limit)


def _list_rarest(connection: Connection, text: str) -> list[str]:
    """The trigrams of a text that the fewest of some names have. The index reads a long list for each that many names have."""
    values = {"text": text, "sample": _SAMPLE, "rarest": _RAREST}
    return list(connection.scalars(_RAREST_QUERY, values))


_RAREST_QUERY = sa.text("""
    SELECT own FROM unnest(stt_list_trigrams(CAST(:text AS text))) AS own
    LEFT JOIN (
        SELECT of_name, count(*) AS number
        FROM (SELECT name FROM deliveries ORDER BY received_at DESC LIMIT :sample) AS newest,
            unnest(stt_list_trigrams(name)) AS of_name
        GROUP BY of_name
    ) AS counted ON of_name = own
    ORDER BY coalesce(number, 0) LIMIT :rarest
""")
