"""The janitor removes orphaned Jobs and pods, and runs older than the retention time.

What is removed is planned first, by a pure function, and can be shown without being done. The namespace may hold objects of other
programs, so only those with the labels of a run of the given code location are considered.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from k8s_run_launcher.cluster import ApiError, ClusterClient, K8sObject
from k8s_run_launcher.job_snapshot import get_nested, is_condition_true, parse_timestamp

RUN_LABEL = "dagster/run-id"
LOCATION_LABEL = "dagster/code-location"

_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_RUNS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """When objects and runs are removed.

    Attributes:
        grace_s: Seconds after a run's end in which its Jobs may still be ending by themselves; and the age from which a Job of a
            run that Dagster does not know is taken for left over.
        finished_s: Seconds after which a finished Job without ``ttlSecondsAfterFinished`` is removed.
        run_days: Days after which ended runs are deleted with their event logs; None: never.
    """

    grace_s: float = 600.0
    finished_s: float = 86_400.0
    run_days: int | None = None


@dataclass(frozen=True, slots=True)
class RunEnd:
    """What Dagster knows of a run: when it ended (seconds since 1970), None while it has not."""

    ended_at: float | None


@dataclass(frozen=True, slots=True)
class Removal:
    """One thing to be removed: ``Job``, ``Pod`` or ``run``, and why."""

    kind: str
    name: str
    reason: str


def plan_objects(
    jobs: Sequence[K8sObject], pods: Sequence[K8sObject], runs: Mapping[str, RunEnd], rules: RetentionRules, now: float
) -> list[Removal]:
    """Which Jobs and pods to remove.

    Args:
        jobs: Of the namespace, as the API has them.
        pods: The same.
        runs: The runs that Dagster knows, among those that the objects' labels name.
        rules: When objects are removed.
        now: The current time, seconds since 1970.
    """
    job_names = {get_nested(job, "metadata", "name") for job in jobs}
    removals = [removal for job in jobs if (removal := _plan_job(job, runs, rules, now)) is not None]
    for pod in pods:
        owners = {owner.get("name") for owner in get_nested(pod, "metadata", "ownerReferences") or ()}
        if owners & job_names:
            continue  # it goes with its Job
        reason = _find_orphan_reason(pod, runs, rules, now)
        if reason is not None:
            removals.append(Removal("Pod", get_nested(pod, "metadata", "name"), reason))
    return removals


def _plan_job(job: K8sObject, runs: Mapping[str, RunEnd], rules: RetentionRules, now: float) -> Removal | None:
    name = get_nested(job, "metadata", "name")
    if not (is_condition_true(job, "Complete") or is_condition_true(job, "Failed")):
        reason = _find_orphan_reason(job, runs, rules, now)
        return Removal("Job", name, reason) if reason is not None else None
    ended_at = max(
        (parse_timestamp(c.get("lastTransitionTime")) or now for c in get_nested(job, "status", "conditions")),
        default=now,
    )
    if get_nested(job, "spec", "ttlSecondsAfterFinished") is None and now - ended_at > rules.finished_s:
        return Removal("Job", name, f"it ended {_format_age(now - ended_at)} ago and has no time to live")
    return None


def _find_orphan_reason(
    k8s_object: K8sObject, runs: Mapping[str, RunEnd], rules: RetentionRules, now: float
) -> str | None:
    run_id = get_nested(k8s_object, "metadata", "labels", RUN_LABEL)
    age = now - (parse_timestamp(get_nested(k8s_object, "metadata", "creationTimestamp")) or now)
    run = runs.get(run_id)
    if run is None:
        # A Job can exist while its run was not yet read from Dagster's storage, for a short time only.
        return f"Dagster does not know its run {run_id}" if age > rules.grace_s else None
    if run.ended_at is not None and now - run.ended_at > rules.grace_s:
        return f"its run {run_id} ended {_format_age(now - run.ended_at)} ago"
    return None


def _format_age(seconds: float) -> str:
    return f"{seconds / 86_400:.1f} days" if seconds > 86_400 else f"{seconds / 60:.0f} min"


class Janitor:
    """Plans removals in a namespace and carries them out.

    Args:
        instance: Dagster's.
        namespace: The namespace of the Jobs and pods.
        location: The code location whose runs are ours.
        rules: When objects and runs are removed.
    """

    def __init__(self, instance: dg.DagsterInstance, namespace: str, location: str, rules: RetentionRules) -> None:
        self._instance = instance
        self._namespace = namespace
        self._selector = f"{RUN_LABEL},{LOCATION_LABEL}={location}"
        self._rules = rules
        self._cluster = ClusterClient()

    def plan_removals(self) -> list[Removal]:
        """What would be removed now."""
        jobs = self._cluster.list_jobs(self._namespace, self._selector)
        pods = self._cluster.list_pods(self._namespace, self._selector)
        # Read the runs after the objects, so that every listed object's run is already stored.
        run_ids = {get_nested(k8s_object, "metadata", "labels", RUN_LABEL) for k8s_object in (*jobs, *pods)}
        return [*plan_objects(jobs, pods, self._runs(run_ids), self._rules, time.time()), *self._old_runs()]

    def remove(self, removals: Sequence[Removal]) -> Iterator[Removal]:
        """Remove them one by one, and yield each removal when it is done."""
        for removal in removals:
            try:
                self._remove(removal)
            except ApiError as error:
                if error.status != 404:  # 404: it is gone already
                    raise
            yield removal

    def _remove(self, removal: Removal) -> None:
        if removal.kind == "Job":
            self._cluster.delete_job(self._namespace, removal.name)
        elif removal.kind == "Pod":
            self._cluster.delete_pod(self._namespace, removal.name)
        else:
            self._instance.delete_run(removal.name)

    def _runs(self, run_ids: set[str]) -> dict[str, RunEnd]:
        records = self._instance.get_run_records(dg.RunsFilter(run_ids=sorted(run_ids))) if run_ids else []
        return {
            record.dagster_run.run_id: RunEnd(
                (record.end_time or record.update_timestamp.timestamp()) if record.dagster_run.is_finished else None
            )
            for record in records
        }

    def _old_runs(self) -> list[Removal]:
        days = self._rules.run_days
        if days is None:
            return []
        ended_before = datetime.fromtimestamp(time.time() - days * 86_400, UTC)
        run_filter = dg.RunsFilter(statuses=_ENDED, updated_before=ended_before)
        records = self._instance.get_run_records(run_filter, limit=_RUNS_AT_ONCE, ascending=True)
        return [
            Removal(
                "run",
                record.dagster_run.run_id,
                f"it ended more than {days} days ago ({record.dagster_run.status.value})",
            )
            for record in records
        ]
