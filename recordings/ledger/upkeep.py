"""What is derived and stored: the state that a delivery shows, whether work is left on it, and how many show each state.

Whoever changes what they are made of calls ``update_derived`` in the same transaction. So no question walks all rows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import cache

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from recordings.ledger.engine import split_variables
from recordings.ledger.rows import has_work_left, join_recordings, visible_state
from recordings.ledger.schema import counts, deliveries


@cache
def is_derived_wrong() -> sa.ColumnElement[bool]:
    """Whether a delivery, joined with its recording, has another ``state`` or ``open`` than it should."""
    return (deliveries.c.state != visible_state()) | (deliveries.c.open != has_work_left())


def update_derived(connection: Connection, is_affected: sa.ColumnElement[bool]) -> None:
    """Write ``state`` and ``open`` of some deliveries anew, and count: the last statements of a transaction that changed them.

    PostgreSQL: a transaction that changes a recording, or what stands under its names, holds the recording's row before. So two
    of them cannot derive from what the other is about to change.

    Args:
        connection: Inside a transaction that writes.
        is_affected: Which deliveries.
    """
    change_counts(connection, write_derived(connection, is_affected))


def write_derived(connection: Connection, is_affected: sa.ColumnElement[bool]) -> Counter[str]:
    """Write ``state`` and ``open`` of some deliveries anew. Returns state -> how many more show it now."""
    query = (
        sa.select(deliveries.c.id, deliveries.c.state, visible_state().label("shown"), has_work_left().label("left"))
        .select_from(join_recordings())
        .where(is_affected, is_derived_wrong())
        .order_by(deliveries.c.id)
        .with_for_update(of=deliveries)
    )
    changed: dict[tuple[str, bool], list[str]] = defaultdict(list)
    moved: Counter[str] = Counter()
    for row in connection.execute(query):
        changed[row.shown, bool(row.left)].append(row.id)
        moved[row.state] -= 1
        moved[row.shown] += 1
    for (shown, left), ids in changed.items():
        for part in split_variables(ids):
            connection.execute(sa.update(deliveries).where(deliveries.c.id.in_(part)).values(state=shown, open=left))
    return moved


def change_counts(connection: Connection, change: Mapping[str, int]) -> None:
    """Add to counts. Always in the same order, so that two transactions cannot wait for each other."""
    for name in sorted(change):
        if change[name]:
            total = counts.c.deliveries + change[name]
            connection.execute(sa.update(counts).where(counts.c.name == name).values(deliveries=total))
