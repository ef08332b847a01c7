"""Runs as the schedule and the commands see them: which run, which were abandoned, which are old enough to delete."""

from __future__ import annotations

import dagster as dg

from assets.common.step import PROCESS_TAG, is_abandoned
from recordings.intake.backoff import PastRuns
from stt_orchestration.jobs import JOB_NAME

LIVE_STATUSES = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
ENDED_STATUSES = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
PARTITION_TAG = "dagster/partition"

_REMEMBERED = 12  # ended runs of a batch; well past the longest delay between two of them


def find_live_runs(instance: dg.DagsterInstance, batch_key: str | None = None) -> list[dg.DagsterRun]:
    """Runs of the batch job that are queued or at work; with a key, those of that batch.

    A run whose process was killed stays "started" in Dagster's books. One that was executed on this host is recognised by its
    tag and marked failed here, so that it blocks neither its batch nor the queue.
    """
    tags = {PARTITION_TAG: batch_key} if batch_key else {}
    runs = instance.get_runs(dg.RunsFilter(job_name=JOB_NAME, statuses=LIVE_STATUSES, tags=tags))
    alive = []
    for run in runs:
        if is_abandoned(run):
            instance.report_run_failed(run, f"The process {run.tags[PROCESS_TAG]} that executed it is gone.")
        else:
            alive.append(run)
    return alive


def get_past_runs(instance: dg.DagsterInstance, batch_key: str) -> PastRuns:
    """The ended runs of a batch, as far as Dagster remembers them."""
    ended = dg.RunsFilter(job_name=JOB_NAME, tags={PARTITION_TAG: batch_key}, statuses=ENDED_STATUSES)
    records = instance.get_run_records(ended, limit=_REMEMBERED)
    if not records:
        return PastRuns()
    newest = records[0]
    return PastRuns(
        count=len(records),
        newest=newest.dagster_run.run_id,
        ended_at=newest.end_time or newest.update_timestamp.timestamp(),
        cancelled=newest.dagster_run.status is dg.DagsterRunStatus.CANCELED,
    )


def prune_runs(instance: dg.DagsterInstance, keep: int) -> int:
    """Delete ended runs of the batch job beyond the newest ``keep`` of each outcome, as a CronJob's history limits do.

    Dagster forgets a run's materializations with it; outputs and ledger stay as they are. Returns how many were deleted.
    """
    deleted = 0
    for status in ENDED_STATUSES:
        records = instance.get_run_records(dg.RunsFilter(job_name=JOB_NAME, statuses=[status]))
        for record in records[keep:]:
            instance.delete_run(record.dagster_run.run_id)
            deleted += 1
    return deleted
