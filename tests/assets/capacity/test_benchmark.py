"""The benchmark asset and its result files: which result counts, and what its checks report."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from benchmarks.platform.result import write_result
from stt_orchestration.definitions import build_defs
from stt_orchestration.settings import Settings
from tests.assets.capacity.flow import materialize, write_platform_result
from tests.benchmarks.results import make_result
from tests.stt_orchestration.conftest import Installation


def test_an_observation_of_the_folder_has_the_newest_result_as_its_version(
    installation: Installation, capacity_folder: Path
) -> None:
    def observe() -> str:
        job = build_defs(Settings.read()).resolve_implicit_global_asset_job_def()
        key = dg.AssetKey("benchmark_files")
        job.execute_in_process(instance=installation.instance, asset_selection=[key], partition_key="m4_base")
        observation = installation.instance.fetch_observations(key, limit=1).records[0].asset_observation
        assert observation is not None
        assert observation.partition == "m4_base"
        return observation.tags["dagster/data_version"]

    installation.instance.add_dynamic_partitions("platform_models", ["m4_base"])
    write_platform_result(capacity_folder, "m4", 1.0)
    assert observe() == "m4_base_2024-12-02.json 2024-12-02T10:30:00Z"
    write_platform_result(capacity_folder, "m4", 1.1, timestamp="2025-01-02T10:30:00Z")
    assert observe() == "m4_base_2024-12-02.json 2025-01-02T10:30:00Z"


def test_checks_fail_for_a_result_that_cannot_be_trusted(installation: Installation, capacity_folder: Path) -> None:
    noisy = make_result([2000.0, 3000.0, 1000.0, 2500.0, 1500.0])
    isolation = noisy.details.isolation.model_copy(update={"one_cpu": False, "how": ()})
    noisy = noisy.model_copy(update={"details": noisy.details.model_copy(update={"isolation": isolation})})
    write_result(noisy, capacity_folder / "m4_base_2024-12-02.json")
    installation.instance.add_dynamic_partitions("platform_models", ["m4_base"])
    run = materialize(installation, "benchmark", "m4_base")
    assert {check.check_name: check.passed for check in run.get_asset_check_evaluations()} == {
        "enough_iterations": False,
        "quiet": False,
        "alone": True,
        "isolated": False,
    }
