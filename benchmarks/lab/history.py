"""What ticks and commands cost after a long history: a ledger of millions of finished deliveries.

The ledger's code is not the benchmarks', so it runs as a process of its own, ``recordings.intake.history_timing``. With
``STT_LEDGER_URL`` set to an empty database in PostgreSQL, that one is filled; else a file of SQLite.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_ROWS = 1_000_000


@dataclass(frozen=True)
class History:
    """Figures of one ledger.

    Attributes:
        rows: Deliveries in it.
        database: ``sqlite`` or ``postgresql``.
        bytes: Size of the database.
        filled_s: Seconds that filling took.
        seconds: Question -> seconds by the clock, the median of some.
    """

    rows: int
    database: str
    bytes: int
    filled_s: float
    seconds: Mapping[str, float]

    def table(self) -> str:
        """For a terminal."""
        heading = (
            f"{self.rows:,} deliveries in {self.database}, {self.bytes / 1e9:.2f} GB, filled in {self.filled_s:.0f} s"
        )
        widest = max(map(len, self.seconds))
        return "\n".join([heading, *(f"{name:<{widest}}  {s * 1000:10.1f} ms" for name, s in self.seconds.items())])


def measure(rows: int = DEFAULT_ROWS) -> History:
    """Run the measurement in a process of its own.

    Args:
        rows: How many deliveries the ledger has.
    """
    url = os.environ.get("STT_LEDGER_URL", "")
    command = [sys.executable, "-m", "recordings.intake.history_timing", str(rows)]
    if url.startswith("postgresql"):
        command.append(url)
    process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return History(**json.loads(process.stdout))
