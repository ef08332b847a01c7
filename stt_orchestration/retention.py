"""What Dagster forgets: ended runs by their age, with events, compute logs and partitions. The ledger and all outputs stay.

Called by the sensor ``retention`` and, for those who have no daemon, at the end of ``stt run``. A call costs what is due. It ends
when its time is up, and the next one goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import dagster as dg

from recordings.states import Step
from recordings.workspace import Workspace
from stt_orchestration.history import (
    Sweep,
    delete_runs,
    sweep_checks,
    sweep_compute_logs,
    sweep_event_files,
    sweep_partitions,
)
from stt_orchestration.jobs import CODE_LOCATION, JANITOR_NAME, JOB_NAME
from stt_orchestration.runs import ENDED_STATUSES, PARTITION_TAG

_ASSET_JOB = "__ASSET_JOB"
"""The job of what a person materializes in the UI, as Dagster calls it. Other code locations have one too."""

_REPOSITORY_TAGS = {".dagster/repository": f"__repository__@{CODE_LOCATION}"}

_RUNS = 100
"""Runs that are read and deleted together, between two looks at the time. A busy disk needs longer to flush than for the rest."""

_KEPT_OF_UNFINISHED = 12
"""Newest runs of an unfinished batch that stay, however old: they say when it is asked for again. From the seventh on, the time
between two of them no longer grows."""

_SWEEP_EVERY_S = 86_400.0

_STATE_KEY = "stt/retention"
"""Where the state is kept, among the cursors of Dagster's daemons. Both callers go on from it."""


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """When ended runs are deleted.

    Attributes:
        succeeded_days: Days after which a run that succeeded is deleted; 0: never. Leftovers of runs that Dagster no longer knows
            are removed after as many.
        failed_days: The same of a run that failed or was cancelled.
        keep_runs: Ended runs of the batch job that are kept of each outcome; None: as many as their age allows.
    """

    succeeded_days: int
    failed_days: int
    keep_runs: int | None = None

    def get_days(self, status: dg.DagsterRunStatus) -> int:
        """Days that a run is kept which ended so."""
        return self.succeeded_days if status is dg.DagsterRunStatus.SUCCESS else self.failed_days


@dataclass
class Retained:
    """What one call did.

    Attributes:
        runs: How many runs were deleted.
        leftovers: What else was removed -> how many.
        has_more: Whether the time was up before all was done.
    """

    runs: int = 0
    leftovers: dict[str, int] = field(default_factory=dict)
    has_more: bool = False

    def describe(self) -> str:
        """A sentence for the UI."""
        counts = {"runs": self.runs, **self.leftovers}
        done = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        end = "; the next tick goes on" if self.has_more else ""
        return f"Deleted: {done}{end}." if done else f"Nothing is old enough{end}."


@dataclass(frozen=True, slots=True)
class _Work:
    """What one call works with."""

    instance: dg.DagsterInstance
    rules: RetentionRules
    unfinished: _UnfinishedBatches
    is_over: Callable[[], bool]

    def needs(self, record: dg.RunRecord) -> bool:
        """Whether a run is among the newest of an unfinished batch."""
        return self.unfinished.needs(self.instance, record.dagster_run)


class _UnfinishedBatches:
    """The unfinished batches, asked for when somebody wants to know, and once."""

    def __init__(self, list_unfinished: Callable[[], Collection[str]]) -> None:
        self._list = list_unfinished
        self._keys: frozenset[str] | None = None
        self._needed: dict[str, frozenset[str]] = {}

    def pick(self, keys: Collection[str]) -> set[str]:
        """Those of the batches that are not finished."""
        if keys and self._keys is None:
            self._keys = frozenset(self._list())
        return set(keys) & (self._keys or frozenset())

    def needs(self, instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
        """Whether a run is among the newest of an unfinished batch."""
        key = run.tags.get(PARTITION_TAG)
        if key is None or not self.pick([key]):
            return False
        if key not in self._needed:
            newest = instance.get_run_ids(dg.RunsFilter(tags={PARTITION_TAG: key}), limit=_KEPT_OF_UNFINISHED)
            self._needed[key] = frozenset(newest)
        return run.run_id in self._needed[key]


def list_unfinished_batches(workspace: Workspace) -> list[str]:
    """The keys of all batches that are not finished."""
    return workspace.ledger.list_open_batches(made_before=float("inf"), limit=10**6)


def apply_retention(
    instance: dg.DagsterInstance,
    rules: RetentionRules,
    list_unfinished: Callable[[], Collection[str]],
    seconds: float,
) -> Retained:
    """Delete what is due, oldest first, until the time is up. What is queued or at work is never touched.

    Args:
        instance: Dagster's.
        rules: When runs are deleted.
        list_unfinished: The keys of batches that are not finished, as the ledger has them; called when something is due.
        seconds: How long this may take. The step that is under way then still ends.
    """
    deadline = time.monotonic() + seconds
    work = _Work(instance, rules, _UnfinishedBatches(list_unfinished), lambda: time.monotonic() > deadline)
    result = Retained()
    for due in _iter_due(work):
        if due:
            delete_runs(instance, due)
            result.runs += len(due)
            if work.is_over():
                result.has_more = True
                return result
    _sweep(work, result)
    return result


def _iter_due(work: _Work) -> Iterator[list[str]]:
    """The ids of runs to delete, some at a time. The consumer has deleted them before it asks for the next ones."""
    for status in ENDED_STATUSES:
        days = work.rules.get_days(status)
        if days:
            before = datetime.now(UTC) - timedelta(days=days)
            for job_name, tags in ((JOB_NAME, {}), (JANITOR_NAME, {}), (_ASSET_JOB, _REPOSITORY_TAGS)):
                wanted = partial(dg.RunsFilter, job_name=job_name, statuses=[status], tags=tags, updated_before=before)
                yield from _iter_old(work, wanted)
        if work.rules.keep_runs is not None:
            yield from _iter_surplus(work, status, work.rules.keep_runs)


def _iter_old(work: _Work, wanted: Callable[..., dg.RunsFilter]) -> Iterator[list[str]]:
    """The runs that fit, oldest first, without those that are needed."""
    after: datetime | None = None
    while True:
        # In the order of an index of status and time, so that only what is due is read.
        records = work.instance.get_run_records(
            wanted(updated_after=after), limit=_RUNS, order_by="update_timestamp", ascending=True
        )
        yield [
            record.dagster_run.run_id for record in records if _is_ours(record.dagster_run) and not work.needs(record)
        ]
        if len(records) < _RUNS or work.is_over():
            return
        after = records[-1].update_timestamp


def _is_ours(run: dg.DagsterRun) -> bool:
    """Whether a run is one of the transcription or of the janitor. A person's runs of the capacity assets stay."""
    return run.job_name != _ASSET_JOB or bool({dg.AssetKey(step) for step in Step} & set(run.asset_selection or ()))


def _iter_surplus(work: _Work, status: dg.DagsterRunStatus, keep: int) -> Iterator[list[str]]:
    """The oldest ended runs of the batch job beyond so many, without those that are needed."""
    wanted = dg.RunsFilter(job_name=JOB_NAME, statuses=[status])
    surplus = work.instance.get_runs_count(wanted) - keep
    cursor: str | None = None
    while surplus > 0 and not work.is_over():
        records = work.instance.get_run_records(wanted, limit=min(surplus, _RUNS), ascending=True, cursor=cursor)
        if not records:
            return
        surplus -= len(records)
        needed = [record.dagster_run.run_id for record in records if work.needs(record)]
        yield [record.dagster_run.run_id for record in records if record.dagster_run.run_id not in needed]
        cursor = needed[-1] if needed else cursor  # the others are gone when the next ones are read


def _sweep(work: _Work, result: Retained) -> None:
    """Once a day, look for what is left of runs that are gone; in as many calls as it needs."""
    if not work.rules.succeeded_days:
        return
    before = datetime.now(UTC) - timedelta(days=work.rules.succeeded_days)
    parts = _make_parts(work, before)
    kept = work.instance.daemon_cursor_storage
    state = json.loads(kept.get_cursor_values({_STATE_KEY}).get(_STATE_KEY, "{}"))
    if 0 <= time.time() - state.get("swept_at", 0.0) < _SWEEP_EVERY_S:
        return
    names = list(parts)
    place = names.index(state["part"]) if state.get("part") in names else 0
    position = state.get("position", "")
    while place < len(names):
        sweep = parts[names[place]](position)
        position = sweep.position
        if sweep.removed:
            result.leftovers[names[place]] = result.leftovers.get(names[place], 0) + sweep.removed
        if not position:
            place += 1
        if place < len(names) and work.is_over():
            result.has_more = True
            kept.set_cursor_values({_STATE_KEY: json.dumps({"part": names[place], "position": position})})
            return
    kept.set_cursor_values({_STATE_KEY: json.dumps({"swept_at": time.time()})})


def _make_parts(work: _Work, before: datetime) -> Mapping[str, Callable[[str], Sweep]]:
    """What leftovers are called -> how they are removed, given the position to go on from."""
    instance = work.instance
    return {
        "partitions": lambda position: sweep_partitions(instance, position, before, work.unfinished.pick),
        "checks of deleted runs": lambda position: sweep_checks(instance, position, before),
        "compute logs of deleted runs": lambda position: sweep_compute_logs(instance, position, before, work.is_over),
        "event files of deleted runs": lambda position: sweep_event_files(instance, position, before, work.is_over),
    }
