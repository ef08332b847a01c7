"""The capacity flow in Dagster: result files become benchmarks, then ratio and sizing are computed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import dagster as dg
import pytest

from benchmarks.platform.result import read_result
from stt_orchestration.definitions import build_defs
from stt_orchestration.sensors import BENCHMARK_SENSOR_NAME
from stt_orchestration.settings import Settings
from tests.assets.capacity.flow import materialize, write_platform_result
from tests.stt_orchestration.conftest import Installation


def tick(installation: Installation, cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
    definitions = build_defs(Settings.read())
    sensor = definitions.get_sensor_def(BENCHMARK_SENSOR_NAME)
    with dg.build_sensor_context(
        instance=installation.instance, cursor=cursor, resources={"capacity": definitions.resources["capacity"]}
    ) as context:
        result: dg.SensorResult | dg.SkipReason = sensor(context)
    return result


def test_files_become_benchmarks_ratio_and_sizing(installation: Installation, capacity_folder: Path) -> None:
    write_platform_result(capacity_folder, "m4", 1.0)
    write_platform_result(capacity_folder, "xeon", 2.0)
    (capacity_folder / "broken.json").write_text("{")
    result = tick(installation)
    assert isinstance(result, dg.SensorResult)
    assert {request.partition_key for request in result.run_requests or ()} == {"m4_base", "xeon_base"}
    assert {event.partition for event in result.asset_events} == {"m4_base", "xeon_base"}
    assert isinstance(tick(installation, result.cursor), dg.SkipReason)
    installation.instance.add_dynamic_partitions("platform_models", ["m4_base", "xeon_base"])
    benchmark_run = materialize(installation, "benchmark", "xeon_base")
    assert benchmark_run.success
    checks = {check.check_name: check.passed for check in benchmark_run.get_asset_check_evaluations()}
    assert checks == {"enough_iterations": True, "quiet": True, "alone": True, "isolated": True}
    assert materialize(installation, "ratio").success
    assert json.loads((capacity_folder / "ratio_config.json").read_text())["ratios"][0]["ratio"] == pytest.approx(2.0)
    sizing_run = materialize(installation, "sizing")
    assert sizing_run.success
    metadata = sizing_run.asset_materializations_for_node("sizing")[0].metadata
    assert "data:image/png;base64," in str(metadata["report"].value)
    assert (capacity_folder / "sizing" / "sizing_report.md").exists()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="one CPU needs a container or Linux' affinity")
def test_the_whole_chain_from_a_real_measurement_to_the_report(
    installation: Installation, capacity_folder: Path
) -> None:
    installation.instance.add_dynamic_partitions("platform_models", ["here_base"])
    benchmark_run = materialize(installation, "benchmark", "here_base", {"measure": True, "iterations": 5})
    assert benchmark_run.success
    checks = {check.check_name: check.passed for check in benchmark_run.get_asset_check_evaluations()}
    assert checks["isolated"]
    assert not checks["enough_iterations"]
    (result_file,) = capacity_folder.glob("here_base_*.json")
    assert read_result(result_file).details.words > 50
    assert materialize(installation, "sizing").success
    report = (capacity_folder / "sizing" / "sizing_report.md").read_text()
    assert f"{result_file.stem}: 5 iterations" in report
    tick_result = tick(installation)
    assert isinstance(tick_result, dg.SensorResult)
    assert [event.partition for event in tick_result.asset_events] == ["here_base"]
    assert tick_result.run_requests == [], "a result that the asset measured itself is not taken in again"


def test_a_newer_result_is_taken_in_and_the_ratio_is_computed_again(
    installation: Installation, capacity_folder: Path
) -> None:
    write_platform_result(capacity_folder, "m4", 1.0)
    first = tick(installation)
    assert isinstance(first, dg.SensorResult)
    write_platform_result(capacity_folder, "m4", 1.1, timestamp="2025-01-02T10:30:00Z")
    again = tick(installation, first.cursor)
    assert isinstance(again, dg.SensorResult)
    assert [request.partition_key for request in again.run_requests or ()] == ["m4_base"]
    definitions = build_defs(Settings.read())
    installation.instance.add_dynamic_partitions("platform_models", ["m4_base"])
    first_evaluation = dg.evaluate_automation_conditions(defs=definitions, instance=installation.instance)
    assert materialize(installation, "benchmark", "m4_base").success
    second_evaluation = dg.evaluate_automation_conditions(
        defs=definitions, instance=installation.instance, cursor=first_evaluation.cursor
    )
    assert second_evaluation.get_num_requested(dg.AssetKey("ratio")) == 1
    assert second_evaluation.get_num_requested(dg.AssetKey("benchmark")) == 0
