"""Sensors: they carry what ``recordings.ingest`` finds to Dagster."""

from __future__ import annotations

from functools import partial

import dagster as dg

from assets.partitions import batches
from assets.resources import WorkspaceResource
from recordings.arrivals import Cursor, LookLimits
from recordings.batches import BatchLimits
from recordings.ingest import form_batches, look_and_register, unattended_batches
from stt_orchestration.jobs import transcribe_batch
from stt_orchestration.runs import PARTITION_TAG, live_runs, past_runs

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
        live = {run.tags.get(PARTITION_TAG, "") for run in live_runs(context.instance)}
        with workspace.open() as opened:
            found = look_and_register(opened, Cursor.load(context.cursor), LookLimits())
            wanted = {key: key for key in form_batches(opened, limits, SENSOR_NAME, _RUNS_PER_TICK)}
            room = _RUNS_PER_TICK - len(wanted)
            wanted |= unattended_batches(opened, live, partial(past_runs, context.instance), room)
        cursor = found.cursor.dump()
        if wanted:
            return dg.SensorResult(
                run_requests=[request(key, run_key) for key, run_key in wanted.items()],
                dynamic_partitions_requests=[batches.build_add_request(list(wanted))],
                cursor=cursor,
            )
        ignored = ", ".join(f"{count} {why}" for why, count in sorted(found.ignored.items())) or "none"
        reason = f"Nothing to start: {found.unsettled} new files not settled yet; ignored: {ignored}."
        return dg.SensorResult(skip_reason=reason, cursor=cursor)

    return audio_directory


def request(key: str, run_key: str) -> dg.RunRequest:
    """The request for a batch's run. Dagster starts one run for a run key, however often it is asked."""
    return dg.RunRequest(run_key=run_key, partition_key=key)
