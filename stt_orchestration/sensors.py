"""Sensors: they carry what ``recordings.ingest`` finds to Dagster."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import dagster as dg

from assets.partitions import batches
from assets.resources import WorkspaceResource
from recordings.arrivals import Cursor, LookLimits
from recordings.batches import BatchLimits
from recordings.ingest import form_batches, look_and_register, look_in_bucket, unattended_batches
from recordings.skimming import SkimCursor, SkimLimits
from recordings.workspace import Workspace
from stt_orchestration.jobs import transcribe_batch
from stt_orchestration.runs import PARTITION_TAG, live_runs, past_runs

SENSOR_NAME = "audio_directory"
BUCKET_SENSOR_NAME = "audio_bucket"

RUNS_PER_TICK = 20
"""Requesting a run takes the daemon about 0.2 s (measured with SQLite storage): 20 keep a tick far below its 60 s limit."""


def build_audio_directory(interval_s: int, enabled: bool, limits: BatchLimits) -> dg.SensorDefinition:
    """The sensor on the input folder: files that have settled become batches, each batch a run."""

    @dg.sensor(
        name=SENSOR_NAME,
        job=transcribe_batch,
        minimum_interval_seconds=interval_s,
        default_status=_status(enabled),
        description=(
            "Looks at the input folder. A file whose size and modification time stayed the same from one look to the next is "
            "taken into a batch; each batch is one run."
        ),
    )
    def audio_directory(context: dg.SensorEvaluationContext, workspace: WorkspaceResource) -> dg.SensorResult:
        with workspace.open() as opened:
            found = look_and_register(opened, Cursor.load(context.cursor), LookLimits())
            wanted = _wanted(context.instance, opened, limits, SENSOR_NAME)
        waiting = f"{found.unsettled} new files not settled yet"
        return _result(wanted, found.cursor.dump(), waiting, found.ignored)

    return audio_directory


def build_audio_bucket(interval_s: int, enabled: bool, limits: BatchLimits) -> dg.SensorDefinition:
    """The sensor on a bucket: objects that are new in its listing become batches, each batch a run."""

    @dg.sensor(
        name=BUCKET_SENSOR_NAME,
        job=transcribe_batch,
        minimum_interval_seconds=interval_s,
        default_status=_status(enabled),
        description=(
            "Lists the input folder of the bucket. Objects that are new there are taken into batches; each batch is one run. "
            "A tick lists for 20 s at most and takes 20,000 objects at most; the next one goes on."
        ),
    )
    def audio_bucket(context: dg.SensorEvaluationContext, workspace: WorkspaceResource) -> dg.SensorResult:
        with workspace.open() as opened:
            found = look_in_bucket(opened, SkimCursor.load(context.cursor), SkimLimits())
            wanted = _wanted(context.instance, opened, limits, BUCKET_SENSOR_NAME)
        waiting = "the listing goes on at the next tick" if found.more else "the listing was seen to its end"
        return _result(wanted, found.cursor.dump(), waiting, found.ignored)

    return audio_bucket


def _status(enabled: bool) -> dg.DefaultSensorStatus:
    return dg.DefaultSensorStatus.RUNNING if enabled else dg.DefaultSensorStatus.STOPPED


def _wanted(
    instance: dg.DagsterInstance, workspace: Workspace, limits: BatchLimits, sensor_name: str
) -> dict[str, str]:
    """Batch key -> run key of the runs to ask for: of new batches, and of those that nobody works on."""
    live = {run.tags.get(PARTITION_TAG, "") for run in live_runs(instance)}
    wanted = {key: key for key in form_batches(workspace, limits, sensor_name, RUNS_PER_TICK)}
    room = RUNS_PER_TICK - len(wanted)
    return wanted | unattended_batches(workspace, live, partial(past_runs, instance), room)


def _result(
    wanted: Mapping[str, str], cursor: str, waiting: str, ignored_by_reason: Mapping[str, int]
) -> dg.SensorResult:
    if wanted:
        return dg.SensorResult(
            run_requests=[request(key, run_key) for key, run_key in wanted.items()],
            dynamic_partitions_requests=[batches.build_add_request(list(wanted))],
            cursor=cursor,
        )
    ignored = ", ".join(f"{count} {why}" for why, count in sorted(ignored_by_reason.items())) or "none"
    return dg.SensorResult(skip_reason=f"Nothing to start: {waiting}; ignored: {ignored}.", cursor=cursor)


def request(key: str, run_key: str) -> dg.RunRequest:
    """The request for a batch's run. Dagster starts one run for a run key, however often it is asked."""
    return dg.RunRequest(run_key=run_key, partition_key=key)
