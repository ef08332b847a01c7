"""``python -m benchmarks [NAME ...]``: print the measurements, the machine's facts first. Without names, all of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Protocol

from benchmarks.lab import arrivals, first_transcript, long_file, long_speech, memory, overhead, short_call
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
    "first-transcript": ("From make run in a fresh clone to the first transcript", first_transcript.measure),
}


def main(names: list[str]) -> int:
    """Measure and print; returns the exit code."""
    unknown = [name for name in names if name not in MEASUREMENTS]
    if unknown:
        print(f"No measurement is called {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}.", file=sys.stderr)
        return 2
    print(format_header())
    for name in names or MEASUREMENTS:
        title, measure = MEASUREMENTS[name]
        print(f"\n{title}", flush=True)
        print(measure().table(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
