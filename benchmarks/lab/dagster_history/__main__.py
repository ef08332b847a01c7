"""``python -m benchmarks.lab.dagster_history``: fill a Dagster instance, measure it, delete what is old, measure it again."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile
import yaml

from benchmarks.files import write_text
from benchmarks.lab.dagster_history.fill import Databases, fill
from benchmarks.lab.dagster_history.measure import PROJECT, Measured, Times, delete_old, measure
from benchmarks.platform.machine import collect_facts

_DAYS = 365


def main() -> None:
    """Measure and print; with ``--out``, write it too."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lab.dagster_history", description=__doc__)
    parser.add_argument("--runs", type=int, default=200_000, help="how many, over a year; 200,000 need 3 GB of disk")
    parser.add_argument("--postgres", help="SQLAlchemy URL of an empty database; default: SQLite")
    parser.add_argument("--place", type=Path, help="a folder for the databases; default: a temporary one")
    parser.add_argument("--out", type=Path, help="a Markdown file to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.place) as place:
        report = _measure(Path(place), options.runs, options.postgres)
    print(report)
    if options.out:
        write_text(report, options.out)


def _measure(place: Path, count: int, postgres: str | None) -> str:
    home, data = place / "dagster", place / "data"
    home.mkdir()
    (data / "raw_audio").mkdir(parents=True)
    config = yaml.safe_load((PROJECT / "dagster.yaml").read_text(encoding="utf-8"))
    databases = Databases(f"sqlite:///{home}/history/runs.db", f"sqlite:///{home}/history/runs/index.db")
    if postgres:
        storage = {"module": "stt_orchestration.storage", "class": "RetryingPostgresStorage"}
        config["storage"] = {"custom": {**storage, "config": {"postgres_url": postgres}}}
        databases = Databases(postgres, postgres)
    (home / "dagster.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    environment = {"DAGSTER_HOME": str(home), "STT_DATA_DIR": str(data)}
    soundfile.write(data / "raw_audio/silence.wav", np.zeros(16_000, np.int16), 16_000)
    command = [sys.executable, "-m", "stt_orchestration.cli", "run"]
    subprocess.run(command, env={**os.environ, **environment}, check=True, stdout=subprocess.DEVNULL)
    empty = measure(databases, environment)
    fill(databases, count, _DAYS)
    before = measure(databases, environment)
    ticks = delete_old(environment)
    after = measure(databases, environment)
    title = "PostgreSQL" if postgres else "SQLite"
    return _format(title, count, {"one run": empty, "a year": before, "after retention": after}, ticks)


_ABOUT = """\
A year of runs, partitions, materializations and checks, copied from one real run by `benchmarks/lab/dagster_history/fill.py`, and
the same after the sensor `retention` has deleted what is old. Copies have two of the four assets and are smaller than real runs.
Seconds by the clock and, behind the stroke, of processor time of the process that did it, which other programs on the machine move
less. PostgreSQL's own work is not in the second. Of a tick the median of five; of a page's query the first answer and, in brackets,
the median of three later ones."""


def _format(title: str, count: int, measured: dict[str, Measured], ticks: list[Times]) -> str:
    def row(name: str, cells: Iterable[str]) -> str:
        return f"| {' | '.join([name, *cells])} |"

    states = measured.values()
    first = next(iter(states))
    option = "" if title == "SQLite" else " --postgres URL"
    wall, work, longest = (sum(t.wall for t in ticks), sum(t.work for t in ticks), max(t.wall for t in ticks))
    lines = [
        f"# Dagster with {count:,} batches, {title}",
        "",
        f"{_ABOUT}\nCommand: `python -m benchmarks.lab.dagster_history --runs {count}{option}`.",
        "",
        *(f"* {name}: {value}" for name, value in collect_facts().items()),
        "",
        row("", measured),
        row("---", ["---"] * len(measured)),
        *(row(name, (f"{each.counts[name]:,}" for each in states)) for name in first.counts),
        row("MB of databases", (f"{each.megabytes:,.0f}" for each in states)),
        *(row(name, (_format_seconds(each, name) for each in states)) for name in first.times),
        "",
        f"Deleting took {len(ticks)} ticks, {wall:.0f} s in all, {work:.0f} s of processor time. The longest: {longest:.1f} s.",
    ]
    return "\n".join(lines) + "\n"


def _format_seconds(measured: Measured, name: str) -> str:
    later = measured.again.get(name)
    return _format_times(measured.times[name]) + (f" ({_format_times(later)})" if later else "")


def _format_times(times: Times) -> str:
    return f"{times.wall:.3f} / {times.work:.3f}"


if __name__ == "__main__":
    main()
