"""``python -m benchmarks [NAME ...] [--rows N] [--days N] [--per-day N]``: print the measurements, the machine's facts first.

Without names, all of them. ``--rows`` is for ``history``: how many deliveries its ledger has. ``--days`` and ``--per-day`` are for
``year``: how long recordings arrive, and how many.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import Protocol

from benchmarks.lab import (
    arrivals,
    first_transcript,
    history,
    long_file,
    long_speech,
    memory,
    overhead,
    short_call,
    year,
)
from benchmarks.platform.machine import format_header


class Measurement(Protocol):
    """A measurement's result."""

    def table(self) -> str:
        """The figures, for a terminal."""


MEASUREMENTS: dict[str, tuple[str, Callable[[], Measurement]]] = {
    "overhead": ("What orchestration costs a recording", overhead.measure),
    "long-file": ("Normalizing a ten-hour recording", long_file.measure),
    "long-speech": ("Transcribing ten hours of speech", long_speech.measure),
    "memory": ("Memory of each step, measured and estimated", memory.measure),
    "short-call": ("A short call beside a long recording", short_call.measure),
    "arrivals": ("The sensor on a bucket", arrivals.measure),
    "history": ("A ledger with a long history", history.measure),
    "year": ("Many days of load", year.measure),
    "first-transcript": ("From make run in a fresh clone to the first transcript", first_transcript.measure),
}


def main(arguments: list[str]) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Print the measurements of this project.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(MEASUREMENTS)}; default: all of them")
    parser.add_argument("--rows", type=int, default=history.DEFAULT_ROWS, help="deliveries in the ledger of `history`")
    parser.add_argument("--days", type=int, default=year.DEFAULT_DAYS, help="days of load in `year`")
    parser.add_argument("--per-day", type=int, default=year.DEFAULT_PER_DAY, help="recordings of a day in `year`")
    given = parser.parse_args(arguments)
    names: list[str] = given.names
    unknown = [name for name in names if name not in MEASUREMENTS]
    if unknown:
        print(f"No measurement is called {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}.", file=sys.stderr)
        return 2
    sized: dict[str, Callable[[], Measurement]] = {
        "history": partial(history.measure, given.rows),
        "year": partial(year.measure, given.days, given.per_day),
    }
    print(format_header())
    for name in names or MEASUREMENTS:
        title, measure = MEASUREMENTS[name]
        print(f"\n{title}", flush=True)
        print(sized.get(name, measure)().table(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
