"""The whole capacity flow on a real instance: files come in, ratio and sizing follow, and checks say what to believe."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.capacity.production import COST_AS_PREDICTED, MAX_DRIFT, check_cost
from benchmarks.platform.result import BenchmarkResult, read_result, write_result
from recordings.ledger.runs import StepRun
from recordings.steps.report import StepReport
from stt_orchestration.definitions import build_defs
from stt_orchestration.sensors import BENCHMARK_SENSOR_NAME
from stt_orchestration.settings import Settings
from tests.benchmarks.results import make_result
from tests.stt_orchestration.conftest import Place

NOISE = [2400.0 + 60 * math.sin(i) for i in range(50)]


@pytest.fixture
def folder(place: Place, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STT_SIZE_RPS", "5")
    monkeypatch.setenv("STT_CPU_NODE_PRICE", "0.19")
    made_folder: Path = Settings.read().capacity_dir
    return made_folder


def put(folder: Path, name: str, scale: float, **more: Any) -> BenchmarkResult:
    result = make_result([value * scale for value in NOISE], ids=(name,), cpu_model=name, **more)
    write_result(result, folder / f"{name}_base_2024-12-02.json")
    return result


def take_in(place: Place, cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
    definitions = build_defs(Settings.read())
    sensor = definitions.get_sensor_def(BENCHMARK_SENSOR_NAME)
    with dg.build_sensor_context(
        instance=place.instance, cursor=cursor, resources={"capacity": definitions.resources["capacity"]}
    ) as context:
        told: dg.SensorResult | dg.SkipReason = sensor(context)
    return told


def materialize(
    place: Place, name: str, partition: str | None = None, config: dict[str, Any] | None = None
) -> dg.ExecuteInProcessResult:
    definitions = build_defs(Settings.read())
    job = definitions.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=place.instance,
        asset_selection=[dg.AssetKey(name)],
        partition_key=partition,
        run_config={"ops": {name: {"config": config}}} if config else None,
        raise_on_error=False,
    )


def test_files_become_benchmarks_ratio_and_sizing(place: Place, folder: Path) -> None:
    put(folder, "m4", 1.0)
    put(folder, "xeon", 2.0)
    (folder / "broken.json").write_text("{")
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
    assert json.loads((folder / "ratio_config.json").read_text())["ratios"][0]["ratio"] == pytest.approx(2.0)
    sized = materialize(place, "sizing")
    assert sized.success
    metadata = sized.asset_materializations_for_node("sizing")[0].metadata
    assert "data:image/png;base64," in str(metadata["report"].value)
    assert (folder / "sizing" / "sizing_report.md").exists()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="one CPU needs a container or Linux' affinity")
def test_the_whole_chain_from_a_real_measurement_to_the_report(place: Place, folder: Path) -> None:
    place.instance.add_dynamic_partitions("platform_models", ["here_base"])
    done = materialize(place, "benchmark", "here_base", {"measure": True, "iterations": 5})
    assert done.success
    checks = {one.check_name: one.passed for one in done.get_asset_check_evaluations()}
    assert checks["isolated"]
    assert not checks["enough_iterations"]
    (result,) = folder.glob("here_base_*.json")
    assert read_result(result).details.words > 50
    assert materialize(place, "sizing").success
    report = (folder / "sizing" / "sizing_report.md").read_text()
    assert f"{result.stem}: 5 iterations" in report
    seen = take_in(place)
    assert isinstance(seen, dg.SensorResult)
    assert [event.partition for event in seen.asset_events] == ["here_base"]
    assert seen.run_requests == [], "what benchmark has measured itself it need not take in"


def test_the_folder_is_observed_by_hand_too_and_says_which_result_is_the_newest(place: Place, folder: Path) -> None:
    def observe() -> str:
        job = build_defs(Settings.read()).resolve_implicit_global_asset_job_def()
        key = dg.AssetKey("benchmark_files")
        job.execute_in_process(instance=place.instance, asset_selection=[key], partition_key="m4_base")
        found = place.instance.fetch_observations(key, limit=1).records[0].asset_observation
        assert found is not None
        assert found.partition == "m4_base"
        return found.tags["dagster/data_version"]

    place.instance.add_dynamic_partitions("platform_models", ["m4_base"])
    put(folder, "m4", 1.0)
    assert observe() == "m4_base_2024-12-02.json 2024-12-02T10:30:00Z"
    put(folder, "m4", 1.1, timestamp="2025-01-02T10:30:00Z")
    assert observe() == "m4_base_2024-12-02.json 2025-01-02T10:30:00Z"


def test_a_newer_result_is_taken_in_again_and_what_is_below_follows(place: Place, folder: Path) -> None:
    put(folder, "m4", 1.0)
    first = take_in(place)
    assert isinstance(first, dg.SensorResult)
    put(folder, "m4", 1.1, timestamp="2025-01-02T10:30:00Z")
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


def test_checks_fail_where_a_result_is_not_to_be_believed(place: Place, folder: Path) -> None:
    loud = make_result([2000.0, 3000.0, 1000.0, 2500.0, 1500.0])
    isolation = loud.details.isolation.model_copy(update={"one_cpu": False, "how": ()})
    loud = loud.model_copy(update={"details": loud.details.model_copy(update={"isolation": isolation})})
    write_result(loud, folder / "m4_base_2024-12-02.json")
    place.instance.add_dynamic_partitions("platform_models", ["m4_base"])
    done = materialize(place, "benchmark", "m4_base")
    assert {one.check_name: one.passed for one in done.get_asset_check_evaluations()} == {
        "enough_iterations": False,
        "quiet": False,
        "alone": True,
        "isolated": False,
    }


def test_unlike_results_give_no_ratio_and_a_warning(place: Place, folder: Path) -> None:
    put(folder, "m4", 1.0)
    put(folder, "xeon", 2.0, engine_version="1")
    done = materialize(place, "ratio")
    (check,) = done.get_asset_check_evaluations()
    assert not check.passed
    assert "engine_version" in str(check.description)
    assert not (folder / "ratio_config.json").exists()


def test_the_batch_is_sized_for_the_gpus_of_the_settings(
    place: Place, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, "m4", 1.0)
    monkeypatch.setenv("STT_SIZE_HOURS_PER_DAY", "1000")
    monkeypatch.setenv("STT_SIZE_DEADLINE_H", "8")
    monkeypatch.setenv("STT_SIZE_GPU", "A100=120@our run of March, T4=30")
    assert materialize(place, "sizing").success
    report = (folder / "sizing" / "sizing_report.md").read_text()
    assert "our run of March" in report
    assert "T4" in report
    monkeypatch.setenv("STT_SIZE_GPU", "A100")
    (failed,) = materialize(place, "sizing").get_step_failure_events()
    assert "STT_SIZE_GPU" in str(failed.event_specific_data)


def test_sizing_without_a_price_says_which_setting_is_missing(
    place: Place, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, "m4", 1.0)
    monkeypatch.delenv("STT_CPU_NODE_PRICE")
    done = materialize(place, "sizing")
    assert not done.success
    (failed,) = done.get_step_failure_events()
    assert "STT_CPU_NODE_PRICE" in str(failed.event_specific_data)
    assert not (folder / "sizing").exists()


@pytest.mark.parametrize(("factor", "passes"), [(1.0, True), (1.0 + MAX_DRIFT / 2, True), (2.0, False), (0.4, False)])
def test_a_run_is_held_against_the_benchmark_of_its_machine(
    factor: float, passes: bool, place: Place, folder: Path
) -> None:
    from benchmarks.platform.host import Host
    from benchmarks.platform.machine import describe_machine

    here = describe_machine(Host.here()).ids or pytest.skip("this machine has no identity to find its benchmark by")
    result = make_result(NOISE, ids=here)
    write_result(result, folder / "here_base_2024-12-02.json")
    cost = result.avg_latency_ms / 1000 / result.details.audio.seconds
    wall = 1000.0 * cost * factor / 2
    options = result.details.options.model_dump()
    run = StepRun("transcript", "b", 1.0, 10, 1000.0, wall, 2, result.details.weights.sha256, options)
    place.workspace.ledger.record_run(run)
    assert place.workspace.ledger.list_runs("transcript", 5) == [run]
    verdict = check_cost(place.workspace, StepReport("transcript", "b", (), 10, 1000.0, wall), folder, wall)
    assert verdict.check == COST_AS_PREDICTED
    assert verdict.passed is passes
    assert verdict.figures["drift"] == pytest.approx(factor - 1, abs=1e-3)
    assert "It had its cores for 50% of that time" in verdict.sentence
    full = check_cost(place.workspace, StepReport("transcript", "b", (), 10, 1000.0, wall), folder, 2 * wall)
    assert "had its cores" not in full.sentence
    other = check_cost(place.workspace, StepReport("transcript", "other", (), 10, 1000.0, wall), folder, wall)
    assert other.passed
    assert not other.figures
