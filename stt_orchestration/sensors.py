"""Sensors: they carry what ``recordings.ingest`` finds to Dagster."""

from __future__ import annotations

import dagster as dg

from assets.partitions import batches
from assets.resources import WorkspaceResource
from recordings.arrivals import Cursor, LookLimits
from recordings.batches import BatchLimits
from recordings.ingest import form_batches, look_and_register, orphaned_batches
from stt_orchestration.jobs import transcribe_batch
from stt_orchestration.runs import has_run, live_runs

SENSOR_NAME = "audio_directory"

_RUNS_PER_TICK = 20
"""Requesting a run takes the daemon about 0.2 s (measured with SQLite storage): 20 keep a tick far below its 60 s limit."""


def build_audio_directory(interval_s: int, enabled: bool, limits: BatchLimits) -> dg.SensorDefinition:
    """The sensor on the input folder: files that have settled become batches, each batch a run."""

    @dg.sensor(
        name=SENSOR_NAME,
        job=transcribe_batch,
        minimum_interval_seconds=interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING if enabled else dg.DefaultSensorStatus.STOPPED,
        description=(
            "Looks at the input folder. A file whose size and modification time stayed the same from one look to the next is "
            "taken into a batch; each batch is one run."
        ),
    )
    def audio_directory(context: dg.SensorEvaluationContext, workspace: WorkspaceResource) -> dg.SensorResult:
        live_runs(context.instance)  # a killed run would hold the queue for ever
        with workspace.open() as opened:
            found = look_and_register(opened, Cursor.load(context.cursor), LookLimits())
            keys = form_batches(opened, limits, SENSOR_NAME, _RUNS_PER_TICK)
            keys += orphaned_batches(opened, lambda key: has_run(context.instance, key), _RUNS_PER_TICK - len(keys))
        cursor = found.cursor.dump()
        if keys:
            return dg.SensorResult(
                run_requests=[request(key) for key in keys],
                dynamic_partitions_requests=[batches.build_add_request(keys)],
                cursor=cursor,
            )
        ignored = ", ".join(f"{count} {why}" for why, count in sorted(found.ignored.items())) or "none"
        reason = f"Nothing to start: {found.unsettled} new files not settled yet; ignored: {ignored}."
        return dg.SensorResult(skip_reason=reason, cursor=cursor)

    return audio_directory


def request(key: str) -> dg.RunRequest:
    """The request for a batch's run; the batch's key is the run's, so a batch is requested once."""
    return dg.RunRequest(run_key=key, partition_key=key)
