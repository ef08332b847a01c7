"""Runs as sensors, the schedule and the commands see them: which run, which were abandoned, how a batch's runs ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

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


def find_live_runs(instance: dg.DagsterInstance, batch_key: str | None = None) -> list[dg.DagsterRun]:
    """Runs of the batch job that are queued or at work; with a key, those of that batch.

    A run whose process was killed stays "started" in Dagster's books. One that was executed on this host is recognised by its
    tag and marked failed here, so that it blocks neither its batch nor the queue.
    """
    tags = {PARTITION_TAG: batch_key} if batch_key else {}
    # Without the job's name: with it, SQLite reads all runs of the job that there ever were.
    runs = instance.get_runs(dg.RunsFilter(statuses=LIVE_STATUSES, tags=tags))
    alive = []
    for run in runs:
        if run.job_name != JOB_NAME:
            continue
        if is_abandoned(run):
            instance.report_run_failed(run, f"The process {run.tags[PROCESS_TAG]} that executed it is gone.")
        else:
            alive.append(run)
    return alive


def get_past_runs(instance: dg.DagsterInstance, batch_keys: Sequence[str]) -> Mapping[str, PastRuns]:
    """The ended runs of batches, as far as Dagster remembers them; a batch without any is left out.

    Two queries for all batches, in Dagster's tables: its API has one query for each batch, and reads every run whole.
    """
    storage, runs, tags = instance.run_storage, RunsTable.c, RunTagsTable.c
    if not isinstance(storage, SqlRunStorage):
        raise TypeError(
            f"Runs cannot be counted in {type(storage).__name__}: only SQLite and PostgreSQL can keep them."
        )
    numbers = (
        sa.select(tags.value, sa.func.count().label("ended"), sa.func.max(runs.id).label("newest"))
        .select_from(RunTagsTable.join(RunsTable, tags.run_id == runs.run_id))
        .where(tags.key == PARTITION_TAG, tags.value.in_(batch_keys))
        .where(runs.pipeline_name == JOB_NAME, runs.status.in_([status.value for status in ENDED_STATUSES]))
        .group_by(tags.value)
    )
    columns = (runs.id, runs.run_id, runs.status, runs.end_time, runs.update_timestamp)
    with storage.connect() as connection:
        counted = connection.execute(numbers).all()
        newest = {
            row.id: row
            for row in connection.execute(sa.select(*columns).where(runs.id.in_([row.newest for row in counted])))
        }
    return {
        row.value: PastRuns(
            count=row.ended,
            newest=found.run_id,
            ended_at=found.end_time or found.update_timestamp.replace(tzinfo=UTC).timestamp(),
            cancelled=found.status == dg.DagsterRunStatus.CANCELED.value,
        )
        for row in counted
        if (found := newest.get(row.newest)) is not None
    }
