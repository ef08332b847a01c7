"""The sizing asset reads its targets, GPUs and prices from the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.assets.capacity.flow import materialize, write_platform_result
from tests.stt_orchestration.conftest import Installation


def test_the_batch_is_sized_for_the_gpus_of_the_settings(
    installation: Installation, capacity_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_platform_result(capacity_folder, "m4", 1.0)
    monkeypatch.setenv("STT_SIZE_HOURS_PER_DAY", "1000")
    monkeypatch.setenv("STT_SIZE_DEADLINE_H", "8")
    monkeypatch.setenv("STT_SIZE_GPU", "A100=120@our run of March, T4=30")
    assert materialize(installation, "sizing").success
    report = (capacity_folder / "sizing" / "sizing_report.md").read_text()
    assert "our run of March" in report
    assert "T4" in report
    monkeypatch.setenv("STT_SIZE_GPU", "A100")
    (failed,) = materialize(installation, "sizing").get_step_failure_events()
    assert "STT_SIZE_GPU" in str(failed.event_specific_data)


def test_sizing_without_a_price_says_which_setting_is_missing(
    installation: Installation, capacity_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_platform_result(capacity_folder, "m4", 1.0)
    monkeypatch.delenv("STT_CPU_NODE_PRICE")
    run = materialize(installation, "sizing")
    assert not run.success
    (failed,) = run.get_step_failure_events()
    assert "STT_CPU_NODE_PRICE" in str(failed.event_specific_data)
    assert not (capacity_folder / "sizing").exists()
