"""``reference/assets.md``: what Dagster shows: assets, checks, jobs, sensors and schedules, from the definitions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import dagster as dg

from docs.generator.markdown import (
    get_summary,
    join_blocks,
    join_codes,
    write_code,
    write_definitions,
    write_list,
    write_prose,
    write_remark,
)
from stt_orchestration.definitions import build_defs
from stt_orchestration.settings import Settings

VARIANTS: Mapping[str, Mapping[str, str]] = {
    "": {},
    "Only where `STT_STORE_URL` names a bucket.": {"STT_STORE_URL": "s3://bucket"},
    "Only with `STT_EXECUTOR=kubernetes`.": {"STT_EXECUTOR": "kubernetes"},
}
"""A sentence -> the settings of which it is true. Definitions differ between them; the first ones are those of the defaults."""

_INTRODUCTION = """\
This is what Dagster's UI shows for the code location `stt`, with the default settings. The settings of
[sensor and schedule](settings.md#sensor-and-schedule) change intervals and times, and what is on from the start.
"""
T = TypeVar("T")


def make_assets_page() -> str:
    """The page."""
    variants = {sentence: build_defs(Settings(**values)) for sentence, values in VARIANTS.items()}  # type: ignore[arg-type]
    graph = next(iter(variants.values())).resolve_asset_graph()
    blocks = ["# Assets", _INTRODUCTION.strip()]
    groups: dict[str, list[Any]] = {}
    for key in graph.toposorted_asset_keys:
        groups.setdefault(graph.get(key).group_name or "", []).append(graph.get(key))
    for group, nodes in sorted(groups.items(), key=lambda item: item[0] != "transcription"):
        blocks.append(f"## Group {write_code(group)}")
        for node in nodes:
            blocks += _write_asset(node, graph)
    blocks += ["## Jobs", *_write_all(variants, lambda repository: repository.get_all_jobs(), _describe_job)]
    blocks += ["## Sensors", *_write_all(variants, lambda repository: repository.sensor_defs, _describe_sensor)]
    blocks += ["## Schedules", *_write_all(variants, lambda repository: repository.schedule_defs, _describe_schedule)]
    return join_blocks(*blocks)


def _write_asset(node: Any, graph: Any) -> Iterator[str]:
    yield f"### {write_code(node.key.to_user_string())}"
    yield write_prose(node.description or "")
    partitions = getattr(node.partitions_def, "name", None)
    parents = sorted(parent.to_user_string() for parent in node.parent_keys)
    facts = [
        f"Needs: {join_codes(parents) or 'nothing'}",
        f"Partitions: {write_code(partitions) if partitions else 'none'}",
        f"Kinds: {join_codes(sorted(node.kinds))}",
        f"Code version: {write_code(node.code_version)}",
    ]
    if node.pools:
        facts.append(f"Pool: {join_codes(sorted(node.pools))}")
    yield write_list(facts)
    checks = [graph.get_check_spec(key) for key in sorted(node.check_keys)]
    if checks:
        yield "Its checks:"
        yield write_definitions((write_code(check.name), _describe_check(check)) for check in checks)


def _describe_check(check: dg.AssetCheckSpec) -> str:
    return write_remark(
        "Error: stops the steps below" if check.blocking else "Warning", write_prose(check.description or "")
    )


def _write_all(
    variants: Mapping[str, dg.Definitions],
    select: Callable[[dg.RepositoryDefinition], Iterable[T]],
    describe: Callable[[T], Iterator[str]],
) -> Iterator[str]:
    """What every variant has of a kind, each once, with the sentence of the first variant that has it."""
    seen: set[str] = set()
    for sentence, definitions in variants.items():
        for each in select(definitions.get_repository_def()):
            name: str = each.name  # type: ignore[attr-defined]
            if name in seen or name.startswith("__"):
                continue
            seen.add(name)
            description, *facts = describe(each)
            yield f"### {write_code(name)}"
            yield " ".join(filter(None, (description, write_prose(sentence))))
            yield write_list(facts)


def _describe_job(job: dg.JobDefinition) -> Iterator[str]:
    yield _require_description(job.name, job.description)
    keys = sorted(key.to_user_string() for key in job.asset_layer.executable_asset_keys)
    yield f"Assets: {join_codes(keys)}" if keys else f"Ops: {join_codes(sorted(node.name for node in job.nodes))}"


def _describe_sensor(sensor: dg.SensorDefinition) -> Iterator[str]:
    yield _require_description(sensor.name, sensor.description)
    yield f"Looks every {sensor.minimum_interval_seconds} s"
    yield f"From the start: {'on' if sensor.default_status is dg.DefaultSensorStatus.RUNNING else 'off'}"


def _describe_schedule(schedule: dg.ScheduleDefinition) -> Iterator[str]:
    yield _require_description(schedule.name, schedule.description)
    yield f"Job: {write_code(schedule.job_name)}"
    yield f"Cron: {write_code(schedule.cron_schedule)}, time zone {write_code(schedule.execution_timezone)}"
    yield f"From the start: {'on' if schedule.default_status is dg.DefaultScheduleStatus.RUNNING else 'off'}"


def _require_description(name: str, description: str | None) -> str:
    if not description:
        raise ValueError(f"{name} has no description.")
    return get_summary(description)
