"""What is derived and stored: the state that a delivery shows, whether work is left on it, and how many show each state.

Whoever changes what they are made of calls ``update_derived`` in the same transaction. So no question walks all rows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from recordings.ledger.engine import split_variables
from recordings.ledger.rows import has_work_left, join_recordings, visible_state
from recordings.ledger.schema import counts, deliveries, recordings

_ADD = (
    sa.update(counts)
    .where(counts.c.name == sa.bindparam("which"))
    .values(deliveries=counts.c.deliveries + sa.bindparam("change"))
)


def hold(connection: Connection, sha256s: Iterable[str], is_affected: sa.ColumnElement[bool]) -> None:
    """Hold rows until the transaction ends: recordings, then deliveries, each in one order. The first statement of a transaction.

    So two transactions cannot wait for each other, nor derive from what the other is about to change. SQLite has one writer anyway.

    Args:
        connection: Inside a transaction that writes.
        sha256s: The recordings that are changed, or under whose names something is.
        is_affected: All deliveries that the transaction may change.
    """
    if connection.dialect.name != "postgresql":
        return
    for part in split_variables(sorted(set(sha256s))):
        rows = sa.select(recordings.c.sha256).where(recordings.c.sha256.in_(part)).order_by(recordings.c.sha256)
        connection.execute(rows.with_for_update(key_share=True)).all()
    rows = sa.select(deliveries.c.id).where(is_affected).order_by(deliveries.c.id)
    connection.execute(rows.with_for_update()).all()


@cache
def is_derived_wrong() -> sa.ColumnElement[bool]:
    """Whether a delivery, joined with its recording, has another ``state`` or ``open`` than it should."""
    return (deliveries.c.state != visible_state()) | (deliveries.c.open != has_work_left())


def update_derived(connection: Connection, is_affected: sa.ColumnElement[bool]) -> None:
    """Write ``state`` and ``open`` of some deliveries anew, and count: the last statements of a transaction that changed them.

    Args:
        connection: Inside a transaction that writes.
        is_affected: Which deliveries.
    """
    change_counts(connection, write_derived(connection, is_affected))


def write_derived(connection: Connection, is_affected: sa.ColumnElement[bool]) -> Counter[str]:
    """Write ``state`` and ``open`` of some deliveries anew. Returns state -> how many more show it now."""
    changed: dict[tuple[str, bool], list[str]] = defaultdict(list)
    moved: Counter[str] = Counter()
    for row in connection.execute(_select_wrong().where(is_affected)):
        changed[row.shown, bool(row.left)].append(row.id)
        moved[row.state] -= 1
        moved[row.shown] += 1
    for (shown, left), ids in changed.items():
        for part in split_variables(ids):
            connection.execute(sa.update(deliveries).where(deliveries.c.id.in_(part)).values(state=shown, open=left))
    return moved


@cache
def _select_wrong() -> sa.Select[Any]:
    shown, left = visible_state().label("shown"), has_work_left().label("left")
    columns = (deliveries.c.id, deliveries.c.state, shown, left)
    return sa.select(*columns).select_from(join_recordings()).where(is_derived_wrong()).order_by(deliveries.c.id)


def change_counts(connection: Connection, change: Mapping[str, int]) -> None:
    """Add to counts. Always in the same order, so that two transactions cannot wait for each other."""
    rows = [{"which": name, "change": change[name]} for name in sorted(change) if change[name]]
    if rows:
        connection.execute(_ADD, rows)
