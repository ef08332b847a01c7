"""The definitions: names and structure that operators, links and dashboards rely on change only on purpose."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
from syrupy.assertion import SnapshotAssertion

from stt_orchestration.definitions import build_defs
from stt_orchestration.settings import Settings

PROJECT = Path(__file__).resolve().parents[2]


def describe(definitions: dg.Definitions) -> dict[str, Any]:
    """The parts of the definitions whose change an operator would notice."""
    graph = definitions.resolve_asset_graph()
    specs = {
        key.to_user_string(): {
            "needs": sorted(parent.to_user_string() for parent in graph.get(key).parent_keys),
            "group": graph.get(key).group_name,
            "owners": sorted(graph.get(key).owners),
            "kinds": sorted(graph.get(key).kinds),
            "pools": sorted(graph.get(key).pools or ()),
            "code_version": graph.get(key).code_version,
            "partitions": getattr(graph.get(key).partitions_def, "name", None),
            "description": graph.get(key).description,
            "checks": {
                check.name: "stops" if spec.blocking else "warns"
                for check in sorted(graph.get(key).check_keys)
                if (spec := graph.get_check_spec(check))
            },
        }
        for key in graph.get_all_asset_keys()
    }
    repository = definitions.get_repository_def()
    return {
        "assets": specs,
        "jobs": sorted(job.name for job in repository.get_all_jobs() if not job.name.startswith("__")),
        "sensors": {s.name: (str(s.default_status), s.minimum_interval_seconds) for s in repository.sensor_defs},
        "schedules": {
            s.name: (s.cron_schedule, s.execution_timezone, str(s.default_status)) for s in repository.schedule_defs
        },
        "resources": sorted(repository.get_top_level_resources()),
    }


def test_definitions_have_not_changed_by_accident(snapshot: SnapshotAssertion) -> None:
    assert describe(build_defs(Settings())) == snapshot


def test_on_kubernetes_steps_are_jobs_and_the_janitor_is_scheduled() -> None:
    repository = build_defs(Settings(STT_EXECUTOR="kubernetes")).get_repository_def()
    executors = {job.name: job.executor_def.name for job in repository.get_all_jobs()}
    assert executors["transcribe_batch"] == "profiled_k8s"
    assert executors["janitor"] == "in_process"
    assert "janitor_daily" in {schedule.name for schedule in repository.schedule_defs}


def test_every_asset_has_description_owners_kinds_code_version_and_group() -> None:
    graph = build_defs(Settings()).resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description, key
        assert node.owners, key
        assert node.kinds, key
        assert node.code_version, key
        assert node.group_name != "default", key


def test_dagster_validates_the_workspace() -> None:
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"]
    process = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr


def test_loading_the_definitions_imports_nothing_heavy() -> None:
    """Every step process on a cluster pays for what is imported here."""
    heavy = (
        "faster_whisper",
        "ctranslate2",
        "onnxruntime",
        "kubernetes",
        "dagster_k8s",
        "pandas",
        "torch",
        "huggingface_hub",
    )
    code = (
        f"import sys, stt_orchestration.definitions as d; d.defs(); print([m for m in {heavy!r} if m in sys.modules])"
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "STT_EXECUTOR": "kubernetes"},
    )
    assert process.stdout.strip() == "[]"


def test_the_laptops_instance_file_is_accepted_by_dagster(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_bytes((PROJECT / "dagster.yaml").read_bytes())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.get_settings("telemetry") == {"enabled": False}
        assert instance.run_retries_enabled
