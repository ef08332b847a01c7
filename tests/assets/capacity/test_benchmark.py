"""The benchmark asset and the files it takes in: which result counts, and what the checks say of it."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from benchmarks.platform.result import write_result
from stt_orchestration.definitions import build_defs
from stt_orchestration.settings import Settings
from tests.assets.capacity.flow import materialize, write_platform_result
from tests.benchmarks.results import make_result
from tests.stt_orchestration.conftest import Place


def test_the_folder_is_observed_by_hand_too_and_says_which_result_is_the_newest(
    place: Place, capacity_folder: Path
) -> None:
    def observe() -> str:
        job = build_defs(Settings.read()).resolve_implicit_global_asset_job_def()
        key = dg.AssetKey("benchmark_files")
        job.execute_in_process(instance=place.instance, asset_selection=[key], partition_key="m4_base")
        found = place.instance.fetch_observations(key, limit=1).records[0].asset_observation
        assert found is not None
        assert found.partition == "m4_base"
        return found.tags["dagster/data_version"]

    place.instance.add_dynamic_partitions("platform_models", ["m4_base"])
    write_platform_result(capacity_folder, "m4", 1.0)
    assert observe() == "m4_base_2024-12-02.json 2024-12-02T10:30:00Z"
    write_platform_result(capacity_folder, "m4", 1.1, timestamp="2025-01-02T10:30:00Z")
    assert observe() == "m4_base_2024-12-02.json 2025-01-02T10:30:00Z"


def test_checks_fail_where_a_result_is_not_to_be_believed(place: Place, capacity_folder: Path) -> None:
    loud = make_result([2000.0, 3000.0, 1000.0, 2500.0, 1500.0])
    isolation = loud.details.isolation.model_copy(update={"one_cpu": False, "how": ()})
    loud = loud.model_copy(update={"details": loud.details.model_copy(update={"isolation": isolation})})
    write_result(loud, capacity_folder / "m4_base_2024-12-02.json")
    place.instance.add_dynamic_partitions("platform_models", ["m4_base"])
    done = materialize(place, "benchmark", "m4_base")
    assert {one.check_name: one.passed for one in done.get_asset_check_evaluations()} == {
        "enough_iterations": False,
        "quiet": False,
        "alone": True,
        "isolated": False,
    }
