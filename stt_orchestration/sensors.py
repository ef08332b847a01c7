"""Sensors: they request runs for batches that ``recordings.intake.intake`` finds and for new benchmarks, and delete old runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import dagster as dg

from assets.capacity.benchmark import benchmark, benchmark_files
from assets.capacity.ratio import ratio
from assets.capacity.sizing import sizing
from assets.common.partitions import batches, platform_models
from assets.common.resources import CapacityResource, WorkspaceResource
from benchmarks.platform.gather import load_results
from recordings.batches import BatchLimits
from recordings.intake.bucket_scan import BucketScanCursor, BucketScanLimits
from recordings.intake.intake import RUNS_PER_TICK, find_unattended_batches, form_batches, scan_bucket, scan_folder
from recordings.intake.settling import SettlingCursor, SettlingLimits
from recordings.workspace import Workspace
from stt_orchestration.jobs import transcribe_batch
from stt_orchestration.retention import RetentionRules, apply_retention, list_unfinished_batches
from stt_orchestration.runs import PARTITION_TAG, find_live_runs, get_past_runs

SENSOR_NAME = "audio_directory"
BUCKET_SENSOR_NAME = "audio_bucket"
BENCHMARK_SENSOR_NAME = "benchmark_results"
RETENTION_SENSOR_NAME = "retention"

_RETENTION_S = 10.0
"""Longest work of a tick of ``retention``. Dagster's daemon allows 60 s, and on a laptop other sensors wait meanwhile."""

_DATA_VERSION_TAG = "dagster/data_version"
"""Where Dagster looks for the version of what was observed; assets downstream of a changed version are shown as out of date."""


@dataclass(frozen=True, slots=True)
class _ScanResult:
    """Result of one scan of the input: the cursor for the next scan, and the text of the skip reason."""

    cursor: str
    waiting: str
    ignored_by_reason: Mapping[str, int]


def build_audio_directory(interval_s: int, enabled: bool, limits: BatchLimits) -> dg.SensorDefinition:
    """The sensor on the input folder: files that have settled become batches, each batch a run."""

    def look(workspace: Workspace, cursor: str | None) -> _ScanResult:
        found = scan_folder(workspace, SettlingCursor.load(cursor), SettlingLimits())
        return _ScanResult(found.cursor.dump(), f"{found.unsettled} new files not settled yet", found.ignored)

    return _build_sensor(
        SENSOR_NAME,
        look,
        interval_s,
        enabled,
        limits,
        "Looks at the input folder. A file whose size and modification time stayed the same from one look to the next is "
        "taken into a batch; each batch is one run.",
    )


def build_audio_bucket(interval_s: int, enabled: bool, limits: BatchLimits) -> dg.SensorDefinition:
    """The sensor on a bucket: objects that are new in its listing become batches, each batch a run."""

    def look(workspace: Workspace, cursor: str | None) -> _ScanResult:
        found = scan_bucket(workspace, BucketScanCursor.load(cursor), BucketScanLimits())
        waiting = "the listing goes on at the next tick" if found.has_more else "the listing was seen to its end"
        return _ScanResult(found.cursor.dump(), waiting, found.ignored)

    return _build_sensor(
        BUCKET_SENSOR_NAME,
        look,
        interval_s,
        enabled,
        limits,
        "Lists the input folder of the bucket. Objects that are new there are taken into batches; each batch is one run. "
        "A tick lists for 20 s at most and takes 20,000 objects at most; the next one goes on.",
    )


def _build_sensor(
    name: str,
    scan: Callable[[Workspace, str | None], _ScanResult],
    interval_s: int,
    enabled: bool,
    limits: BatchLimits,
    description: str,
) -> dg.SensorDefinition:
    """A sensor that registers what its look finds, and requests a run for each batch made of it and for those that wait."""

    @dg.sensor(
        name=name,
        job=transcribe_batch,
        minimum_interval_seconds=interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING if enabled else dg.DefaultSensorStatus.STOPPED,
        description=description,
    )
    def audio(context: dg.SensorEvaluationContext, workspace: WorkspaceResource) -> dg.SensorResult:
        with workspace.open() as opened:
            looked = scan(opened, context.cursor)
            wanted = _select_runs(context.instance, opened, limits, name)
        return _result(wanted, looked)

    return audio


def _select_runs(
    instance: dg.DagsterInstance, workspace: Workspace, limits: BatchLimits, sensor_name: str
) -> dict[str, str]:
    """Batch key -> run key of the runs to ask for: of new batches, and of those that nobody works on."""
    live = {run.tags.get(PARTITION_TAG, "") for run in find_live_runs(instance)}
    wanted = {key: key for key in form_batches(workspace, limits, sensor_name, RUNS_PER_TICK)}
    room = RUNS_PER_TICK - len(wanted)
    return wanted | find_unattended_batches(workspace, live, partial(get_past_runs, instance), room)


def _result(wanted: Mapping[str, str], looked: _ScanResult) -> dg.SensorResult:
    if wanted:
        return dg.SensorResult(
            run_requests=[make_run_request(key, run_key) for key, run_key in wanted.items()],
            dynamic_partitions_requests=[batches.build_add_request(list(wanted))],
            cursor=looked.cursor,
        )
    ignored = ", ".join(f"{count} {why}" for why, count in sorted(looked.ignored_by_reason.items())) or "none"
    return dg.SensorResult(skip_reason=f"Nothing to start: {looked.waiting}; ignored: {ignored}.", cursor=looked.cursor)


def make_run_request(key: str, run_key: str) -> dg.RunRequest:
    """The request for a batch's run. Dagster starts one run for a run key, however often it is asked."""
    return dg.RunRequest(run_key=run_key, partition_key=key)


def build_retention(rules: RetentionRules) -> dg.SensorDefinition:
    """The sensor that deletes what is old: it starts no runs, so that it leaves nothing behind itself."""

    @dg.sensor(
        name=RETENTION_SENSOR_NAME,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Deletes ended runs of the transcription that are old, with their events, compute logs and partitions. "
        f"Succeeded: {_describe_days(rules.succeeded_days)}; failed or cancelled: {_describe_days(rules.failed_days)}. "
        "Outputs and states stay. A tick works for 10 s at most; the next one goes on.",
    )
    def retention(context: dg.SensorEvaluationContext, workspace: WorkspaceResource) -> dg.SkipReason:
        def list_unfinished() -> frozenset[str]:
            with workspace.open() as opened:
                return frozenset(list_unfinished_batches(opened))

        return dg.SkipReason(apply_retention(context.instance, rules, list_unfinished, _RETENTION_S).describe())

    return retention


def _describe_days(days: int) -> str:
    return f"after {days} days" if days else "never"


capacity_automation = dg.AutomationConditionSensorDefinition(
    "capacity_automation",
    target=dg.AssetSelection.assets(ratio, sizing),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=60,
    description="Makes ratio and sizing anew when what they are made of has changed. Sizing needs a load in the settings for that.",
)


@dg.sensor(
    name=BENCHMARK_SENSOR_NAME,
    target=dg.AssetSelection.assets(benchmark),
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sees new and changed results in the capacity folder, whichever machine they are of, and has them taken in.",
)
def benchmark_results(
    context: dg.SensorEvaluationContext, capacity: CapacityResource
) -> dg.SensorResult | dg.SkipReason:
    """Request a run of ``benchmark`` for every platform and model whose newest result it has not taken in or made itself."""
    seen: dict[str, str] = json.loads(context.cursor or "{}")
    gathered = load_results(capacity.path)
    now = {key: one.version for key, one in gathered.newest.items()}
    changed = [key for key, version in now.items() if seen.get(key) != version]
    if not changed:
        refused = (
            f"; {len(gathered.refused)} files are no results: {' '.join(gathered.refused)}" if gathered.refused else ""
        )
        return dg.SkipReason(f"{len(now)} results, none of them new{refused}")
    observed = [
        dg.AssetObservation(
            benchmark_files.key,
            partition=key,
            metadata={"file": dg.MetadataValue.path(str(gathered.newest[key].path))},
            tags={_DATA_VERSION_TAG: now[key]},
        )
        for key in changed
    ]
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(run_key=f"{key} {now[key]}", partition_key=key)
            for key in changed
            if _get_materialized_version(context.instance, key) != now[key]
        ],
        dynamic_partitions_requests=[platform_models.build_add_request(changed)],
        asset_events=observed,
        cursor=json.dumps(now),
    )


def _get_materialized_version(instance: dg.DagsterInstance, key: str) -> str | None:
    """The version of a platform and model that ``benchmark`` holds."""
    newest = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=benchmark.key, asset_partitions=[key]), limit=1
    ).records
    made = newest[0].asset_materialization if newest else None
    return (made.tags or {}).get(_DATA_VERSION_TAG) if made else None
