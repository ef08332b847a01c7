"""Runs as the schedule and the commands see them: which are alive, which only look it, and which are old enough to go."""

from __future__ import annotations

import os
import socket

import dagster as dg

from assets.step import PROCESS_TAG
from stt_orchestration.jobs import JOB_NAME

ALIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
PARTITION_TAG = "dagster/partition"


def live_runs(instance: dg.DagsterInstance, batch_key: str | None = None) -> list[dg.DagsterRun]:
    """Runs of the batch job that are queued or at work; with a key, those of that batch.

    A run whose process was killed stays "started" in Dagster's books. One that was executed on this host is recognised by its
    tag and marked failed here, so that it blocks nobody.
    """
    tags = {PARTITION_TAG: batch_key} if batch_key else {}
    runs = instance.get_runs(dg.RunsFilter(job_name=JOB_NAME, statuses=ALIVE, tags=tags))
    alive = []
    for run in runs:
        if _process_is_gone(run.tags.get(PROCESS_TAG)):
            instance.report_run_failed(run, f"The process {run.tags[PROCESS_TAG]} that executed this run is gone.")
        else:
            alive.append(run)
    return alive


def has_run(instance: dg.DagsterInstance, batch_key: str) -> bool:
    """Whether Dagster knows any run for a batch, ended ones included."""
    return instance.get_runs_count(dg.RunsFilter(job_name=JOB_NAME, tags={PARTITION_TAG: batch_key})) > 0


def _process_is_gone(tag: str | None) -> bool:
    if tag is None:
        return False
    host, _, pid = tag.rpartition(":")
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def prune(instance: dg.DagsterInstance, keep: int) -> int:
    """Delete ended runs of the batch job beyond the newest ``keep`` of each outcome, as a CronJob's history limits do.

    Dagster forgets a run's materializations with it; outputs and ledger stay as they are. Returns how many were deleted.
    """
    deleted = 0
    for status in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED):
        records = instance.get_run_records(dg.RunsFilter(job_name=JOB_NAME, statuses=[status]))
        for record in records[keep:]:
            instance.delete_run(record.dagster_run.run_id)
            deleted += 1
    return deleted
