"""What drives the capacity assets: the sensor on result files, the job and schedule that measure this machine, automation."""

from __future__ import annotations

import json

import dagster as dg

from assets.capacity.benchmark import benchmark, benchmark_files, platform_models, ratio, sizing
from assets.common.resources import CapacityResource
from benchmarks.platform.gather import load_results

SENSOR_NAME = "benchmark_results"
SCHEDULE_NAME = "benchmark_monthly"

DATA_VERSION = "dagster/data_version"
"""Where Dagster looks for the version of what was observed; assets downstream of a changed version are shown as out of date."""

measure_platform = dg.define_asset_job(
    "measure_platform",
    selection=dg.AssetSelection.assets("benchmark"),
    config={"ops": {"benchmark": {"config": {"measure": True}}}},
    description="Measures the machine that the run is on, 50 iterations of 30 s of audio, and puts the result into the folder.",
)


capacity_automation = dg.AutomationConditionSensorDefinition(
    "capacity_automation",
    target=dg.AssetSelection.assets(ratio, sizing),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=60,
)


@dg.sensor(
    name=SENSOR_NAME,
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
        told = (
            f"; {len(gathered.refused)} files are no results: {' '.join(gathered.refused)}" if gathered.refused else ""
        )
        return dg.SkipReason(f"{len(now)} results, none of them new{told}")
    observed = [
        dg.AssetObservation(
            benchmark_files.key,
            partition=key,
            metadata={"file": dg.MetadataValue.path(str(gathered.newest[key].path))},
            tags={DATA_VERSION: now[key]},
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
    return (made.tags or {}).get(DATA_VERSION) if made else None


def build_benchmark_monthly(platform_model: str, *, enabled: bool) -> dg.ScheduleDefinition:
    """The schedule that measures this machine anew on the first of every month."""

    @dg.schedule(
        name=SCHEDULE_NAME,
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
