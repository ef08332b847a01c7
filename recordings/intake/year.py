"""Plays months of load against a ledger in compressed time, and prints what it measured as JSON.

``benchmarks.lab.year`` shows it. ``python -m recordings.intake.year DAYS PER_DAY``: the ledger is made in a temporary folder, or in
the empty database that ``--url`` names. What is real in it and what is not stands in ``recordings.intake.year_load``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from recordings.batches import BatchLimits
from recordings.intake.history_timing import get_size, take_time
from recordings.intake.reprocess import plan
from recordings.intake.year_load import Clock, Load, LoadPlan
from recordings.ledger.ledger import Ledger

_AUDITS = 4
_TIMES = 5  # each question is asked so often; the median counts


def measure(
    load_plan: LoadPlan, url: str | None, clock: Clock, most_minutes: float = float("inf"), samples: int = 24
) -> dict[str, Any]:
    """Play the load to its end.

    Args:
        load_plan: What is simulated.
        clock: ``time.time`` must be its ``read`` already.
        url: An empty database; None: a file of SQLite.
        most_minutes: After so long no further day begins.
        samples: How many are taken.

    Returns:
        ``asked_days``, ``days`` that were played, ``per_day``, ``listed_per_day``, ``own_calls``, ``database``, ``seconds``;
        ``samples`` of some days; ``audits``; ``changes`` of settings; ``events``; and ``end``: what is left when nothing arrives
        any more.
    """
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.open(url or f"sqlite:///{folder}/ledger.db")
        load = Load(load_plan, clock, ledger, Path(folder, "data"))
        taken: list[dict[str, Any]] = []
        audits: list[dict[str, Any]] = []
        changes: list[dict[str, Any]] = []
        days = 0
        while days < load_plan.days and time.perf_counter() - began < most_minutes * 60:
            ticks = load.pass_day()
            days += 1
            if days - 1 in load_plan.settings_change_on:
                changes.append(_change_setting(load, days))
            if days % max(1, load_plan.days // samples) == 0:
                taken.append(take_sample(load, days, ticks))
                _say(taken[-1])
            if days % max(1, load_plan.days // _AUDITS) == 0:
                audits.append(_audit(load, days))
        is_drained = load.drain()
        audits.append(_audit(load, days))
        end = _look_at_end(load) | {"drained": is_drained}
        load.close()
        ledger.close()
    return {
        "asked_days": load_plan.days,
        "days": days,
        "per_day": load_plan.per_day,
        "listed_per_day": load_plan.listed_per_day,
        "own_calls": load_plan.own_calls,
        "database": ledger.address.partition(":")[0].partition("+")[0],
        "seconds": time.perf_counter() - began,
        "samples": taken,
        "audits": audits,
        "changes": changes,
        "events": dict(load.events),
        "end": end,
    }


def take_sample(load: Load, day: int, ticks: list[float]) -> dict[str, Any]:
    """Sizes, seconds of questions, and with SQLite the work of each: tens of its instructions, the same on every processor."""
    ledger = load.workspace.ledger
    totals = ledger.count_totals()
    oldest_name = "2026/01/01/call-00007919.mp3"  # the second that arrived
    questions: dict[str, Callable[[], Any]] = {
        "tick, nothing new": load.choose_batches,
        "stt status": lambda: (
            ledger.count_totals(),
            ledger.count_open_batches(),
            ledger.count_waiting(),
            ledger.list_broken(20),
        ),
        "newest 20": lambda: ledger.list_newest(20),
        "broken 20": lambda: ledger.list_broken(20),
        "find a name of the first day": lambda: ledger.find(oldest_name),
        "find a part of it": lambda: ledger.find(oldest_name[8:-4]),
        "what other settings made": lambda: plan(load.workspace, load.current, BatchLimits(), "year"),
    }
    own_calls_s, load.own_calls_s = load.own_calls_s, []
    load.tick(0)  # what the operator reset is in batches then
    seconds = {name: take_time(ask, _TIMES) for name, ask in questions.items()}
    seconds["listing of a tick"] = take_time(load.scan, _TIMES)
    seconds["a recording by the ledger's calls"] = statistics.median(own_calls_s) if own_calls_s else 0.0
    seconds["tick with arrivals"] = statistics.median(ticks)
    return {
        "day": day,
        "deliveries": totals.inputs,
        "is_consistent": totals.is_consistent,
        "states": {str(state): number for state, number in totals.states.items()},
        "open_batches": ledger.count_open_batches(),
        "bytes": get_size(ledger),
        "seconds": seconds,
        "work": {name: _count_work(ledger, ask) for name, ask in questions.items()},
    }


def _change_setting(load: Load, day: int) -> dict[str, Any]:
    began = time.perf_counter()
    deliveries = load.workspace.ledger.count_totals().inputs
    found = load.change_setting()
    again = sum(found.recordings_by_step.values())
    seconds = time.perf_counter() - began
    return {"day": day, "deliveries": deliveries, "again": again, "kept": found.kept, "seconds": seconds}


def _audit(load: Load, day: int) -> dict[str, Any]:
    began = time.perf_counter()
    audit = load.workspace.ledger.audit_counts()
    seconds = time.perf_counter() - began
    return {
        "day": day,
        "looked_at": audit.looked_at,
        "wrong": audit.wrong,
        "sentence": audit.sentence,
        "seconds": seconds,
    }


def _look_at_end(load: Load) -> dict[str, Any]:
    """Whether what arrived is there and has ended."""
    ledger = load.workspace.ledger
    totals = ledger.count_totals()
    with ledger._read() as connection:  # noqa: SLF001
        names = connection.scalar(sa.text("SELECT COUNT(DISTINCT name) FROM deliveries"))
    return {
        "listed": load.listed,
        "inputs": totals.inputs,
        "is_consistent": totals.is_consistent,
        "names_listed": load.names,
        "names": names,
        "states": {str(state): number for state, number in totals.states.items()},
        "open_batches": ledger.count_open_batches(),
        "waiting": ledger.count_waiting(),
        "bytes": get_size(ledger),
    }


def _count_work(ledger: Ledger, ask: Callable[[], Any]) -> int | None:
    """Tens of instructions of SQLite's machine; None with another database."""
    engine = ledger._engine  # noqa: SLF001
    if engine.dialect.name != "sqlite":
        return None
    counted = [0]

    def count() -> None:
        counted[0] += 1

    def watch(connection: Any, *_: Any) -> None:
        connection.set_progress_handler(count, 10)

    def unwatch(connection: Any, *_: Any) -> None:
        connection.set_progress_handler(None, 0)

    sa.event.listen(engine, "checkout", watch)
    sa.event.listen(engine, "checkin", unwatch)
    ask()
    sa.event.remove(engine, "checkout", watch)
    sa.event.remove(engine, "checkin", unwatch)
    return counted[0]


def _say(sample: dict[str, Any]) -> None:
    said = {name: round(seconds * 1000, 1) for name, seconds in sample["seconds"].items()}
    sys.stderr.write(f"day {sample['day']}, {sample['bytes'] / 1e9:.2f} GB, ms: {said}\n")


def main(arguments: list[str]) -> None:
    """Read the arguments, measure and print."""
    parser = argparse.ArgumentParser(prog="python -m recordings.intake.year", description=__doc__.splitlines()[0])
    parser.add_argument("days", type=int)
    parser.add_argument("per_day", type=int)
    parser.add_argument("--url", help="an empty database in PostgreSQL; default: a file of SQLite")
    parser.add_argument(
        "--listed", type=int, default=500, help="of a day's names, how many the planner finds in the listing"
    )
    parser.add_argument(
        "--own-calls", type=int, default=10, help="ordinary recordings of a batch by the ledger's calls"
    )
    parser.add_argument("--stuck-days", type=int, default=40, help="how long the runs of a stuck batch die")
    parser.add_argument("--remembered-days", type=int, default=30, help="how long Dagster remembers a run")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after so long no further day begins")
    given = parser.parse_args(arguments)
    load_plan = LoadPlan(
        days=given.days,
        per_day=given.per_day,
        listed_per_day=min(given.listed, given.per_day),
        own_calls=given.own_calls,
        stuck_days=given.stuck_days,
        remembered_days=given.remembered_days,
    )
    clock = Clock()
    time.time = clock.read  # this process lives in the simulation's time
    sys.stdout.write(json.dumps(measure(load_plan, given.url, clock, given.minutes)))


if __name__ == "__main__":
    main(sys.argv[1:])
