"""The ledger: a SQL database of deliveries, of the recording each one contains (by sha256), and of each recording's state.

SQL through SQLAlchemy Core: SQLite by default, PostgreSQL where several machines work. Progress is stored nowhere else.
"""

from __future__ import annotations

from recordings.ledger.audits import AuditLedger
from recordings.ledger.batches import BatchLedger
from recordings.ledger.queries import QueryLedger
from recordings.ledger.recordings import RecordingLedger
from recordings.ledger.runs import RunLedger


class Ledger(BatchLedger, RecordingLedger, QueryLedger, RunLedger, AuditLedger):
    """All that the ledger can do, over one engine; each part stands in a module of its own."""
