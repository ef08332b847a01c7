"""What Dagster loads. ``build_defs`` makes the definitions from settings; the module's ``defs`` are those of the environment."""

from __future__ import annotations

import dagster as dg

from assets.capacity.benchmark import benchmark, benchmark_files
from assets.capacity.ratio import ratio
from assets.capacity.sizing import sizing
from assets.common.resources import CapacityResource, EngineResource, OptionsResource, WorkspaceResource
from assets.transcription.enriched import enriched
from assets.transcription.normalized import normalized
from assets.transcription.raw import raw
from assets.transcription.transcript import transcript
from benchmarks.platform.gather import make_platform_key
from benchmarks.sizing.options import SizingOptions
from k8s_run_launcher.executor import profiled_k8s_job_executor
from recordings.batches import BatchLimits
from speech.asr.model_pool import EngineOptions
from speech.transcript import TranscribeOptions
from stt_orchestration.jobs import build_janitor, measure_platform, transcribe_batch
from stt_orchestration.retention import RetentionRules
from stt_orchestration.schedules import build_benchmark_monthly, build_janitor_daily, build_transcribe_every_6h
from stt_orchestration.sensors import (
    benchmark_results,
    build_audio_bucket,
    build_audio_directory,
    build_retention,
    capacity_automation,
)
from stt_orchestration.settings import Settings

# One process for the four steps on one machine: a process of its own costs each step 3 to 4 s of imports.
EXECUTORS = {"in_process": dg.in_process_executor, "kubernetes": profiled_k8s_job_executor}


def build_defs(settings: Settings) -> dg.Definitions:
    """All definitions for the given settings. Touches neither disk nor database."""
    limits = BatchLimits(settings.batch_recordings, settings.batch_bytes)
    build_sensor = build_audio_bucket if settings.is_in_bucket else build_audio_directory
    janitors = [build_janitor(settings.janitor_run_days)] if settings.executor == "kubernetes" else []
    sizes = sizing
    if settings.rps is None and settings.hours_per_day is None:
        # With no load to size for, a run that automation starts could only fail.
        sizes = sizing.map_asset_specs(lambda spec: spec.replace_attributes(automation_condition=None))
    return dg.Definitions(
        assets=[raw, normalized, transcript, enriched, benchmark_files, benchmark, ratio, sizes],
        jobs=[transcribe_batch, measure_platform, *janitors],
        executor=EXECUTORS[settings.executor],
        sensors=[
            build_sensor(settings.sensor_interval_s, settings.sensor_enabled, limits),
            benchmark_results,
            capacity_automation,
            build_retention(get_retention_rules(settings)),
        ],
        schedules=[
            build_transcribe_every_6h(
                settings.schedule_cron,
                settings.schedule_timezone,
                settings.schedule_enabled,
                settings.schedule_deadline_s,
                limits,
            ),
            build_benchmark_monthly(make_platform_key(settings.model), enabled=settings.benchmark_monthly),
            *(build_janitor_daily(job, settings.schedule_timezone) for job in janitors),
        ],
        resources=build_resources(settings),
    )


def get_retention_rules(settings: Settings) -> RetentionRules:
    """When ended runs are deleted, as the settings have it."""
    return RetentionRules(settings.keep_succeeded_days, settings.keep_failed_days, settings.keep_runs)


def build_resources(settings: Settings) -> dict[str, dg.ConfigurableResource]:  # type: ignore[type-arg]
    """What the assets need from outside, as the settings have it."""
    return {
        "workspace": WorkspaceResource(
            store_url=settings.store, ledger_url=settings.ledger, pages_url=settings.pages_url
        ),
        "engine": EngineResource(
            model=settings.model,
            model_dir=str(settings.model_dir) if settings.model_dir else None,
            cache_dir=str(settings.cache_dir),
            **settings.list_values(EngineOptions),
            **settings.list_values(TranscribeOptions),
        ),
        "options": OptionsResource(**settings.list_values(OptionsResource)),
        "capacity": CapacityResource(
            folder=str(settings.capacity_dir),
            model=settings.model,
            **settings.list_values(SizingOptions),
        ),
    }


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of this environment."""
    return build_defs(Settings.read())
