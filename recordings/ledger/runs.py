"""What each run of a step cost. Rows are appended and never changed, so that predictions can be compared with real runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from recordings.ledger.engine import LedgerEngine
from recordings.ledger.schema import runs


@dataclass(frozen=True, slots=True)
class StepRun:
    """The cost of one run of a step.

    Attributes:
        step: Name of the step.
        batch_key: Which batch.
        ended_at: When it ended, seconds since the epoch.
        recordings: Number of recordings processed in this run.
        audio_seconds: Length of their audio.
        wall_seconds: Duration of the step, including loading the model.
        cores: Decoding threads, one per core.
        model_sha256: sha256 of the model weights.
        options: Options of the engine: all that can change a transcript.
    """

    step: str
    batch_key: str
    ended_at: float
    recordings: int
    audio_seconds: float
    wall_seconds: float
    cores: int
    model_sha256: str
    options: Mapping[str, Any]


class RunLedger(LedgerEngine):
    """Notes runs of steps and lists them."""

    def record_run(self, run: StepRun) -> None:
        """Append what a run of a step cost."""
        with self._write() as connection:
            connection.execute(sa.insert(runs).values({name: getattr(run, name) for name in StepRun.__slots__}))

    def list_runs(self, step: str, limit: int) -> list[StepRun]:
        """The newest runs of a step, the newest first."""
        columns = [runs.c[name] for name in StepRun.__slots__]
        query = sa.select(*columns).where(runs.c.step == step).order_by(runs.c.id.desc()).limit(limit)
        with self._read() as connection:
            return [StepRun(*row) for row in connection.execute(query)]
