"""The schedules: the janitor's, the one that measures a machine, and the one that replaces a CronJob.

Each field of a CronJob has its counterpart. ``schedule`` and ``timeZone`` are its cron and time zone; ``concurrencyPolicy: Forbid``
is the skip while a batch runs; ``startingDeadlineSeconds`` is the deadline below (and ``max_catchup_runs`` in dagster.yaml: a
missed tick is made up for once); ``suspend`` is whether it is on; the history limits are ``STT_KEEP_RUNS``, which the sensor
``retention`` applies.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

import dagster as dg

from assets.common.partitions import batches, platform_models
from assets.common.resources import WorkspaceResource
from recordings.batches import BatchLimits
from recordings.intake.bucket_scan import BucketScanCursor, BucketScanLimits
from recordings.intake.intake import (
    find_unattended_batches,
    form_batches,
    register_old_enough,
    scan_bucket_repeatedly,
)
from recordings.workspace import Workspace
from stt_orchestration.jobs import measure_platform, transcribe_batch
from stt_orchestration.runs import find_live_runs, get_past_runs
from stt_orchestration.sensors import make_run_request

SCHEDULE_NAME = "transcribe_every_6h"
BENCHMARK_SCHEDULE_NAME = "benchmark_monthly"

_SETTLED_AFTER_S = 60.0
"""A schedule looks once, hours apart, so a file has settled when nobody wrote to it for a minute."""

_RUNS_PER_TICK = 100

_LIMITS = BucketScanLimits(max_reconciled=50_000)
"""Ticks are hours apart, so each tick compares more old objects with the ledger, because an object's date alone does not show that
it is known: a bucket of a million in five days."""


def build_transcribe_every_6h(
    cron: str, timezone: str, enabled: bool, deadline_s: int, limits: BatchLimits
) -> dg.ScheduleDefinition:
    """The schedule: takes in what has arrived and starts its batches, unless a batch is at work."""

    @dg.schedule(
        name=SCHEDULE_NAME,
        job=transcribe_batch,
        cron_schedule=cron,
        execution_timezone=timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING if enabled else dg.DefaultScheduleStatus.STOPPED,
        description=f"Takes in new recordings at {cron!r} ({timezone}) and starts their batches. Skips while a batch is at work.",
    )
    def transcribe_every_6h(
        context: dg.ScheduleEvaluationContext, workspace: WorkspaceResource
    ) -> dg.SkipReason | list[dg.RunRequest]:
        late = (datetime.now(UTC) - context.scheduled_execution_time).total_seconds()
        if late > deadline_s:
            return dg.SkipReason(
                f"This tick was due {late / 60:.0f} min ago; later than {deadline_s / 60:.0f} min is too late."
            )
        running = find_live_runs(context.instance)
        if running:
            names = ", ".join(run.run_id[:8] for run in running[:5])
            return dg.SkipReason(f"{len(running)} runs of {transcribe_batch.name} are queued or at work ({names}).")
        with workspace.open() as opened:
            left = _take_in(context.instance, opened)
            wanted = {key: key for key in form_batches(opened, limits, SCHEDULE_NAME, _RUNS_PER_TICK)}
            room = _RUNS_PER_TICK - len(wanted)
            wanted |= find_unattended_batches(opened, (), partial(get_past_runs, context.instance), room)
        if not wanted:
            return dg.SkipReason(f"No new recordings; {left}.")
        # A schedule cannot ask for partitions in its answer as a sensor can.
        context.instance.add_dynamic_partitions(batches.name or "", list(wanted))
        return [make_run_request(key, run_key) for key, run_key in wanted.items()]

    return transcribe_every_6h


def _take_in(instance: dg.DagsterInstance, workspace: Workspace) -> str:
    """Register what has arrived, and say what is left for later."""
    if not workspace.store.has_atomic_writes:
        young = register_old_enough(workspace, _SETTLED_AFTER_S)
        return f"{young} were written to within the last minute and wait"
    # A listing may be longer than a tick has time. Schedules have no cursor, so it is stored in the daemon cursor storage.
    key = f"{SCHEDULE_NAME}/{workspace.store.locate('')}"
    kept = instance.daemon_cursor_storage
    found = scan_bucket_repeatedly(workspace, BucketScanCursor.load(kept.get_cursor_values({key}).get(key)), _LIMITS)
    kept.set_cursor_values({key: found.cursor.dump()})
    return "the listing goes on at the next tick" if found.has_more else "the listing was seen to its end"


def build_janitor_daily(job: dg.JobDefinition, timezone: str) -> dg.ScheduleDefinition:
    """The janitor at night, on a cluster."""
    return dg.ScheduleDefinition(
        name="janitor_daily",
        job=job,
        cron_schedule="17 3 * * *",
        execution_timezone=timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Runs the janitor every night.",
    )


def build_benchmark_monthly(platform_model: str, *, enabled: bool) -> dg.ScheduleDefinition:
    """The schedule that measures this machine anew on the first of every month."""

    @dg.schedule(
        name=BENCHMARK_SCHEDULE_NAME,
        job=measure_platform,
        cron_schedule="0 3 1 * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING if enabled else dg.DefaultScheduleStatus.STOPPED,
        description="Measures this machine with the model in use, at three in the night of the first of every month.",
    )
    def benchmark_monthly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        context.instance.add_dynamic_partitions(platform_models.name or "", [platform_model])
        return dg.RunRequest(partition_key=platform_model)

    return benchmark_monthly
