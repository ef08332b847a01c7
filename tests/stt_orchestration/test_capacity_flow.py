"""The capacity flow in Dagster: files come in, ratio and sizing follow."""

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
from tests.stt_orchestration.conftest import Place


def take_in(place: Place, cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
    definitions = build_defs(Settings.read())
    sensor = definitions.get_sensor_def(BENCHMARK_SENSOR_NAME)
    with dg.build_sensor_context(
        instance=place.instance, cursor=cursor, resources={"capacity": definitions.resources["capacity"]}
    ) as context:
        told: dg.SensorResult | dg.SkipReason = sensor(context)
    return told


def test_files_become_benchmarks_ratio_and_sizing(place: Place, capacity_folder: Path) -> None:
    write_platform_result(capacity_folder, "m4", 1.0)
    write_platform_result(capacity_folder, "xeon", 2.0)
    (capacity_folder / "broken.json").write_text("{")
    told = take_in(place)
    assert isinstance(told, dg.SensorResult)
    assert {request.partition_key for request in told.run_requests or ()} == {"m4_base", "xeon_base"}
    assert {event.partition for event in told.asset_events} == {"m4_base", "xeon_base"}
    assert isinstance(take_in(place, told.cursor), dg.SkipReason)
    place.instance.add_dynamic_partitions("platform_models", ["m4_base", "xeon_base"])
    done = materialize(place, "benchmark", "xeon_base")
    assert done.success
    checks = {one.check_name: one.passed for one in done.get_asset_check_evaluations()}
    assert checks == {"enough_iterations": True, "quiet": True, "alone": True, "isolated": True}
    assert materialize(place, "ratio").success
    assert json.loads((capacity_folder / "ratio_config.json").read_text())["ratios"][0]["ratio"] == pytest.approx(2.0)
    sized = materialize(place, "sizing")
    assert sized.success
    metadata = sized.asset_materializations_for_node("sizing")[0].metadata
    assert "data:image/png;base64," in str(metadata["report"].value)
    assert (capacity_folder / "sizing" / "sizing_report.md").exists()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="one CPU needs a container or Linux' affinity")
def test_the_whole_chain_from_a_real_measurement_to_the_report(place: Place, capacity_folder: Path) -> None:
    place.instance.add_dynamic_partitions("platform_models", ["here_base"])
    done = materialize(place, "benchmark", "here_base", {"measure": True, "iterations": 5})
    assert done.success
    checks = {one.check_name: one.passed for one in done.get_asset_check_evaluations()}
    assert checks["isolated"]
    assert not checks["enough_iterations"]
    (result,) = capacity_folder.glob("here_base_*.json")
    assert read_result(result).details.words > 50
    assert materialize(place, "sizing").success
    report = (capacity_folder / "sizing" / "sizing_report.md").read_text()
    assert f"{result.stem}: 5 iterations" in report
    seen = take_in(place)
    assert isinstance(seen, dg.SensorResult)
    assert [event.partition for event in seen.asset_events] == ["here_base"]
    assert seen.run_requests == [], "what benchmark has measured itself it need not take in"


def test_a_newer_result_is_taken_in_again_and_what_is_below_follows(place: Place, capacity_folder: Path) -> None:
    write_platform_result(capacity_folder, "m4", 1.0)
    first = take_in(place)
    assert isinstance(first, dg.SensorResult)
    write_platform_result(capacity_folder, "m4", 1.1, timestamp="2025-01-02T10:30:00Z")
    again = take_in(place, first.cursor)
    assert isinstance(again, dg.SensorResult)
    assert [request.partition_key for request in again.run_requests or ()] == ["m4_base"]
    definitions = build_defs(Settings.read())
    place.instance.add_dynamic_partitions("platform_models", ["m4_base"])
    before = dg.evaluate_automation_conditions(defs=definitions, instance=place.instance)
    assert materialize(place, "benchmark", "m4_base").success
    after = dg.evaluate_automation_conditions(defs=definitions, instance=place.instance, cursor=before.cursor)
    assert after.get_num_requested(dg.AssetKey("ratio")) == 1
    assert after.get_num_requested(dg.AssetKey("benchmark")) == 0
