"""Months of load in compressed time: whether counts stay right, and how sizes and times grow with the history.

The ledger's code is not the benchmarks', so the load runs as a process of its own, ``recordings.intake.year``. What of it is real
stands in ``recordings.intake.year_load``. With ``STT_LEDGER_URL`` set to an empty database in PostgreSQL, that one is used; else a
file of SQLite. ``python -m benchmarks.lab.year --results JSON ...`` writes year.{json,md,svg} of what such processes printed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.platform.machine import collect_facts

DEFAULT_DAYS = 30
DEFAULT_PER_DAY = 10_000
_SHOWN = 6  # samples in a table


@dataclass(frozen=True)
class Year:
    """What a load came to.

    Attributes:
        result: As ``recordings.intake.year.measure`` returns it.
    """

    result: Mapping[str, Any]

    def table(self) -> str:
        """For a terminal."""
        samples = _select(self.result["samples"])
        names = list(samples[-1]["seconds"]) if samples else []
        rows = [["after days", *(f"{sample['day']:,}" for sample in samples)]]
        rows.append(["deliveries", *(f"{sample['deliveries']:,}" for sample in samples)])
        rows.append(["database, GB", *(f"{sample['bytes'] / 1e9:.2f}" for sample in samples)])
        rows.append(["batches at work", *(f"{sample['open_batches']:,}" for sample in samples)])
        rows += [[f"{name}, ms", *(f"{sample['seconds'][name] * 1000:.1f}" for sample in samples)] for name in names]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [describe_load(self.result)]
        for row in rows:
            figures = (f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
            lines.append("  ".join([f"{row[0]:<{widths[0]}}", *figures]))
        return "\n".join([*lines, describe_end(self.result)])


def measure(days: int = DEFAULT_DAYS, per_day: int = DEFAULT_PER_DAY) -> Year:
    """Run the load in a process of its own.

    Args:
        days: Days on which recordings arrive.
        per_day: How many a day.
    """
    command = [sys.executable, "-m", "recordings.intake.year", str(days), str(per_day)]
    url = os.environ.get("STT_LEDGER_URL", "")
    if url.startswith("postgresql"):
        command += ["--url", url]
    process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Year(json.loads(process.stdout))


def describe_load(result: Mapping[str, Any]) -> str:
    """What was played, in a line."""
    return (
        f"{result['days']} days of {result['per_day']:,} recordings in {result['database']}, "
        f"played in {result['seconds'] / 60:.0f} min"
    )


def describe_end(result: Mapping[str, Any]) -> str:
    """What was left when nothing arrived any more, in some sentences."""
    end, audits = result["end"], result["audits"]
    states = ", ".join(f"{number:,} {state}" for state, number in end["states"].items() if number)
    wrong = sum(audit["wrong"] for audit in audits)
    return (
        f"At the end: {end['listed']:,} delivered, {end['inputs']:,} in the ledger ({states}); {end['names']:,} of "
        f"{end['names_listed']:,} names; {end['open_batches']} batches open, {end['waiting']} deliveries waiting. "
        f"{len(audits)} audits of the counts found {wrong or 'nothing'} wrong."
    )


def format_report(results: Mapping[str, Any]) -> str:
    """The loads as Markdown."""
    lines = [
        "# A load of many days",
        "",
        "Recordings arrive day after day in compressed time. The sensor's planner and the ledger are real.",
        "Dagster's runs are a table that forgets after 30 days. No audio is decoded and no model runs. Files are sent again,",
        "replaced, put back and delivered under a second name. Recordings cannot be decoded, fail, and are retried. Runs die, are",
        "lost, or last too long. The operator changes a setting twice, and has deleted outputs made anew.",
        "",
        "Of each day's names some are listed and go through the planner. Of their batches everything that is not ordinary, and ten",
        "ordinary recordings, go through the ledger's calls one by one. The steps of the others are written by three statements",
        "for a batch. The rest of the day is written into the tables as finished, with its batches.",
        "",
        "Seconds are by the clock, the median of five. *Work* is counted in tens of instructions of SQLite, the same on every",
        "processor.",
        "",
        *(f"* {name}: {value}" for name, value in results["machine"].items()),
    ]
    lines += [f"* {note}" for note in results["notes"]]
    for result in results["loads"]:
        samples = _select(result["samples"])
        command = f"python -m recordings.intake.year {result['asked_days']} {result['per_day']} --listed {result['listed_per_day']}"
        lines += ["", f"## {result['database']}", "", f"{describe_load(result)}. {describe_end(result)}"]
        lines += [f"Of a day's names {result['listed_per_day']:,} were listed.", ""]
        lines += [f"Command: `{command}`.", "", f"| after days | {' | '.join(str(s['day']) for s in samples)} |"]
        lines += ["|---" * (len(samples) + 1) + "|"]
        lines += [f"| deliveries | {' | '.join(f'''{s['deliveries']:,}''' for s in samples)} |"]
        lines += [f"| database, MB | {' | '.join(f'''{s['bytes'] / 1e6:,.0f}''' for s in samples)} |"]
        lines += [f"| batches at work | {' | '.join(str(s['open_batches']) for s in samples)} |"]
        for name in samples[-1]["seconds"] if samples else ():
            lines.append(f"| {name}, ms | {' | '.join(f'''{s['seconds'][name] * 1000:.1f}''' for s in samples)} |")
        for name in samples[-1]["work"] if samples and samples[-1]["work"]["stt status"] is not None else ():
            lines.append(f"| {name}, work | {' | '.join(f'''{s['work'][name]:,}''' for s in samples)} |")
        lines += ["", "What happened:", ""]
        lines += [f"* {event}: {times:,}" for event, times in sorted(result["events"].items())]
        lines += [
            f"* setting changed on day {each['day']} with {each['deliveries']:,} deliveries: {each['again']:,} done again, "
            f"{each['kept']:,} kept as their audio is gone, found in {each['seconds']:.1f} s"
            for each in result["changes"]
        ]
        lines += [
            f"* audit on day {each['day']}: {each['sentence']} ({each['seconds']:.1f} s)" for each in result["audits"]
        ]
    return "\n".join(lines) + "\n"


def plot(results: Mapping[str, Any], target: Path) -> None:
    """Size, and seconds of questions, over days."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    loads = results["loads"]
    figure, panels = plt.subplots(1, 1 + len(loads), figsize=(4.6 * (1 + len(loads)), 4.6), squeeze=False)
    for result, panel in zip(loads, panels[0][1:], strict=True):
        days = [sample["day"] for sample in result["samples"]]
        panels[0][0].plot(days, [sample["bytes"] / 1e6 for sample in result["samples"]], label=result["database"])
        for name in result["samples"][0]["seconds"]:
            panel.plot(days, [max(s["seconds"][name], 1e-5) * 1000 for s in result["samples"]], label=name)
        panel.set_yscale("log")
        panel.set_title(result["database"])
        panel.set_ylabel("ms by the clock")
    panels[0][0].set_title("size of the database")
    panels[0][0].set_ylabel("MB")
    panels[0][0].set_ylim(bottom=0)
    for panel in panels[0]:
        panel.set_xlabel(f"days of {loads[0]['per_day']:,} recordings")
        panel.grid(alpha=0.3)
        panel.legend(frameon=False, fontsize=7)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})
    plt.close(figure)


def _select(samples: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A few samples, the first and the last among them."""
    if len(samples) <= _SHOWN:
        return list(samples)
    return [samples[round(i * (len(samples) - 1) / (_SHOWN - 1))] for i in range(_SHOWN)]


def main(arguments: list[str]) -> None:
    """Write the results of loads that were played."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lab.year", description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, nargs="+", required=True, help="what recordings.intake.year printed")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder of the results")
    parser.add_argument("--note", action="append", default=[], help="a sentence about the machine at that time")
    given = parser.parse_args(arguments)
    loads = [json.loads(path.read_text()) for path in given.results]
    results = {"machine": collect_facts(), "notes": given.note, "loads": loads}
    (given.out / "year.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (given.out / "year.md").write_text(format_report(results), encoding="utf-8")
    plot(results, given.out / "year.svg")


if __name__ == "__main__":
    main(sys.argv[1:])
