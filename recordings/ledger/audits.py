"""Audits: slow looks at what is believed otherwise. The ledger keeps the last result of each, and audits its own counts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from recordings.ledger.engine import LedgerEngine, split_variables
from recordings.ledger.rows import join_recordings
from recordings.ledger.schema import INPUTS, audits, counts, deliveries
from recordings.ledger.upkeep import change_counts, is_derived_wrong, write_derived
from recordings.states import State

COUNTS_AUDIT = "counts"
"""Name of the audit of ``AuditLedger.audit_counts``."""


@dataclass(frozen=True, slots=True)
class Audit:
    """The last result of an audit.

    Attributes:
        name: What was looked at.
        ended_at: When it ended, seconds since the epoch.
        looked_at: How many were looked at.
        wrong: How many of them were not as they should be.
        sentence: The result, for a person.
        cursor: Where the next audit goes on, if each looks at a part.
    """

    name: str
    ended_at: float
    looked_at: int
    wrong: int
    sentence: str
    cursor: str = ""


class AuditLedger(LedgerEngine):
    """Keeps the results of audits, and audits the ledger itself."""

    def record_audit(self, audit: Audit) -> None:
        """Keep a result in place of the last one of that name."""
        values = {name: getattr(audit, name) for name in Audit.__slots__}
        with self._write() as connection:
            connection.execute(self._insert_new(audits).values(**values))
            connection.execute(sa.update(audits).where(audits.c.name == audit.name).values(**values))

    def list_audits(self) -> list[Audit]:
        """The last result of each audit, by name."""
        columns = [audits.c[name] for name in Audit.__slots__]
        with self._read() as connection:
            return [Audit(*row) for row in connection.execute(sa.select(*columns).order_by(audits.c.name))]

    def audit_counts(self) -> Audit:
        """Count all deliveries, compare with what is stored, and mend what differs.

        It reads every row, so it takes seconds for each million. Nobody waits for it: it changes only what is wrong.
        """
        wrong = self._mend_derived()
        shown = sa.select(deliveries.c.state, sa.func.count()).group_by(deliveries.c.state).subquery("shown")
        # One statement sees one moment, so what others change meanwhile is in both or in neither.
        both = sa.select(sa.literal("counted"), *shown.c).union_all(
            sa.select(sa.literal("stored"), counts.c.name, counts.c.deliveries)
        )
        counted: Counter[str] = Counter()
        stored: dict[str, int] = {}
        with self._read() as connection:
            for kind, name, number in connection.execute(both):
                (counted if kind == "counted" else stored)[name] = number
        total = counted.total()
        counted[INPUTS] = total
        drift = {name: counted[name] - stored.get(name, 0) for name in (*State, INPUTS)}
        drift = {str(name): number for name, number in drift.items() if number}
        with self._write() as connection:
            change_counts(connection, drift)
        audit = Audit(
            COUNTS_AUDIT, time.time(), total, wrong + sum(map(abs, drift.values())), _describe(total, wrong, drift)
        )
        self.record_audit(audit)
        return audit

    def _mend_derived(self) -> int:
        query = sa.select(deliveries.c.id).select_from(join_recordings()).where(is_derived_wrong())
        with self._read() as connection:
            ids = list(connection.scalars(query))
        for part in split_variables(ids):
            with self._write() as connection:
                write_derived(connection, deliveries.c.id.in_(part))
        return len(ids)


def _describe(total: int, wrong: int, drift: Mapping[str, int]) -> str:
    if not wrong and not drift:
        return f"the states of {total} deliveries were counted, and the stored counts are the same"
    found = [f"{wrong} showed another state than they should"] if wrong else []
    found += [f"{-number:+d} were counted in {name}" for name, number in drift.items()]
    return f"of {total} deliveries {', '.join(found)}; the ledger was corrected"
