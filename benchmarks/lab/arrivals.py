"""What a tick of the sensor on a bucket costs: with a million known objects, and with 100,000 new ones.

The sensor's code is the shell's, so it runs as a process of its own, ``recordings.intake.timing``. With ``STT_STORE_URL``
set to a bucket a real server is measured too.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Arrivals:
    """Seconds of work (processor time, SQLite's included) of a tick over a listing that costs nothing.

    Attributes:
        known: Number of listed objects in the steady ticks.
        steady: Ticks in which every object is known.
        new: Number of listed objects in the taking ticks.
        taking: Ticks in which no object is known: they register all of them and make batches of the first.
        served: With a real server: objects, and seconds by the clock for ``listing`` them once, for the ticks ``taking`` them and
            for those in which all are known (``steady``); None where no bucket is given.
    """

    known: int
    new: int
    steady: Sequence[float]
    taking: Sequence[float]
    served: Mapping[str, Any] | None

    def table(self) -> str:
        """For a terminal."""
        steady, longest = statistics.median(self.steady), max(self.steady)
        lines = [
            f"{self.known:,} known, nothing new: {steady:.3f} s of work a tick, the longest of {len(self.steady)} {longest:.3f} s",
            f"{self.new:,} new: {len(self.taking)} ticks, the longest {max(self.taking):.2f} s of work",
        ]
        if self.served is None:
            return "\n".join([*lines, "a real server: not measured, STT_STORE_URL names no bucket"])
        served = self.served
        lines += [
            f"a real server with {served['objects']:,} objects: listing {served['listing']:.2f} s",
            f"  taking them {sum(served['taking']):.2f} s in {len(served['taking'])} ticks, listing included",
            f"  all known {statistics.median(served['steady']):.2f} s a tick, listing included",
        ]
        return "\n".join(lines)


def measure() -> Arrivals:
    """Run the measurement in a process of its own."""
    command = [sys.executable, "-m", "recordings.intake.timing"]
    process = subprocess.run(command, check=True, capture_output=True, text=True)
    return Arrivals(**json.loads(process.stdout))
