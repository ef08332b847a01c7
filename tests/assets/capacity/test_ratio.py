"""The ratio asset: results that differ in more than the platform are not compared."""

from __future__ import annotations

from pathlib import Path

from tests.assets.capacity.flow import materialize, write_platform_result
from tests.stt_orchestration.conftest import Installation


def test_unlike_results_give_no_ratio_and_a_warning(installation: Installation, capacity_folder: Path) -> None:
    write_platform_result(capacity_folder, "m4", 1.0)
    write_platform_result(capacity_folder, "xeon", 2.0, engine_version="1")
    run = materialize(installation, "ratio")
    (check,) = run.get_asset_check_evaluations()
    assert not check.passed
    assert "engine_version" in str(check.description)
    assert not (capacity_folder / "ratio_config.json").exists()
