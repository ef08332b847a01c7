"""The janitor removes orphaned Jobs and pods, and runs older than the retention time.

What is removed is planned first, by a pure function, and can be shown without being done. The namespace may hold objects of other
programs, so only those with the labels of a run of the given code location are considered.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from k8s_run_launcher.evidence import Object, at, holds, moment

RUN_LABEL = "dagster/run-id"
LOCATION_LABEL = "dagster/code-location"

_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_RUNS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Rules:
    """When something goes.

    Attributes:
        grace_s: Seconds after a run's end in which its Jobs may still be ending by themselves; and the age from which a Job of a
            run that Dagster does not know is taken for left over.
        finished_s: Seconds after which a finished Job without ``ttlSecondsAfterFinished`` is removed.
        run_days: Days after which ended runs go with their event logs; None: never.
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
    why: str


def plan_objects(
    jobs: Sequence[Object], pods: Sequence[Object], runs: Mapping[str, RunEnd], rules: Rules, now: float
) -> list[Removal]:
    """Which Jobs and pods to remove.

    Args:
        jobs: Of the namespace, as the API has them.
        pods: The same.
        runs: The runs that Dagster knows, among those that the objects' labels name.
        rules: When something goes.
        now: Seconds since 1970.
    """
    names = {at(job, "metadata", "name") for job in jobs}
    found = [removal for job in jobs if (removal := _job(job, runs, rules, now)) is not None]
    for pod in pods:
        owners = {owner.get("name") for owner in at(pod, "metadata", "ownerReferences") or ()}
        if owners & names:
            continue  # it goes with its Job
        why = _left_over(pod, runs, rules, now)
        if why is not None:
            found.append(Removal("Pod", at(pod, "metadata", "name"), why))
    return found


def _job(job: Object, runs: Mapping[str, RunEnd], rules: Rules, now: float) -> Removal | None:
    name = at(job, "metadata", "name")
    if not (holds(job, "Complete") or holds(job, "Failed")):
        why = _left_over(job, runs, rules, now)
        return Removal("Job", name, why) if why is not None else None
    ended = max((moment(c.get("lastTransitionTime")) or now for c in at(job, "status", "conditions")), default=now)
    if at(job, "spec", "ttlSecondsAfterFinished") is None and now - ended > rules.finished_s:
        return Removal("Job", name, f"it ended {_ago(now - ended)} ago and has no time to live")
    return None


def _left_over(thing: Object, runs: Mapping[str, RunEnd], rules: Rules, now: float) -> str | None:
    run_id = at(thing, "metadata", "labels", RUN_LABEL)
    age = now - (moment(at(thing, "metadata", "creationTimestamp")) or now)
    run = runs.get(run_id)
    if run is None:
        # A Job can exist while its run was not yet read from Dagster's storage, for a short time only.
        return f"Dagster does not know its run {run_id}" if age > rules.grace_s else None
    if run.ended_at is not None and now - run.ended_at > rules.grace_s:
        return f"its run {run_id} ended {_ago(now - run.ended_at)} ago"
    return None


def _ago(seconds: float) -> str:
    return f"{seconds / 86_400:.1f} days" if seconds > 86_400 else f"{seconds / 60:.0f} min"


class Janitor:
    """Carries a plan out.

    Args:
        instance: Dagster's.
        namespace: To look into.
        location: The code location whose runs are ours.
        rules: When something goes.
    """

    def __init__(self, instance: dg.DagsterInstance, namespace: str, location: str, rules: Rules) -> None:
        from kubernetes import client

        self._instance = instance
        self._namespace = namespace
        self._selector = f"{RUN_LABEL},{LOCATION_LABEL}={location}"
        self._rules = rules
        self._batch = client.BatchV1Api()
        self._core = client.CoreV1Api()

    def plan(self) -> list[Removal]:
        """What would be removed now."""
        jobs = self._list(self._batch.list_namespaced_job)
        pods = self._list(self._core.list_namespaced_pod)
        # Read the runs after the objects, so that every listed object's run is already stored.
        named = {at(thing, "metadata", "labels", RUN_LABEL) for thing in (*jobs, *pods)}
        return [*plan_objects(jobs, pods, self._runs(named), self._rules, time.time()), *self._old_runs()]

    def remove(self, removals: Sequence[Removal]) -> Iterator[Removal]:
        """Remove, and yield each that is gone now."""
        from kubernetes.client.rest import ApiException

        for removal in removals:
            try:
                self._remove(removal)
            except ApiException as error:
                if error.status != 404:  # it went by itself
                    raise
            yield removal

    def _remove(self, removal: Removal) -> None:
        if removal.kind == "Job":
            self._batch.delete_namespaced_job(removal.name, self._namespace, propagation_policy="Background")
        elif removal.kind == "Pod":
            self._core.delete_namespaced_pod(removal.name, self._namespace)
        else:
            self._instance.delete_run(removal.name)

    def _list(self, call: Any) -> list[Object]:
        found = json.loads(call(self._namespace, label_selector=self._selector, _preload_content=False).data)
        items: list[Object] = found["items"]
        return items

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
        before = datetime.fromtimestamp(time.time() - days * 86_400, UTC)
        old = dg.RunsFilter(statuses=_ENDED, updated_before=before)
        records = self._instance.get_run_records(old, limit=_RUNS_AT_ONCE, ascending=True)
        return [
            Removal(
                "run",
                record.dagster_run.run_id,
                f"it ended more than {days} days ago ({record.dagster_run.status.value})",
            )
            for record in records
        ]


def connect() -> str:
    """Connect to the cluster that this process is in, or to that of the kubeconfig; returns the namespace to work in.

    Raises:
        NoCluster: There is neither.
    """
    from dagster_k8s.utils import detect_current_namespace
    from kubernetes import config
    from kubernetes.config.config_exception import ConfigException

    try:
        config.load_incluster_config()
    except ConfigException:
        try:
            config.load_kube_config()
        except (ConfigException, OSError) as error:
            raise NoCluster(
                f"No cluster to look at: this is no pod, and there is no usable kubeconfig ({error})."
            ) from error
        _, active = config.list_kube_config_contexts()
        return str(active["context"].get("namespace", "default"))
    return detect_current_namespace(None) or "default"


class NoCluster(Exception):  # noqa: N818 - reads as what it says
    """There is no cluster to connect to."""
