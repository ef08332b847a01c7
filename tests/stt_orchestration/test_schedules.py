"""The schedule of measurements, evaluated as the daemon does it, on a real instance."""

from __future__ import annotations

import dagster as dg
import pytest

from stt_orchestration.definitions import build_defs
from stt_orchestration.schedules import BENCHMARK_SCHEDULE_NAME
from stt_orchestration.settings import Settings
from tests.stt_orchestration.conftest import Installation


def test_the_monthly_tick_requests_a_benchmark_of_this_machine_with_the_configured_model(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STT_MODEL", "small")
    schedule = build_defs(Settings.read()).get_schedule_def(BENCHMARK_SCHEDULE_NAME)
    with dg.build_schedule_context(instance=installation.instance) as context:
        request = schedule(context)
    assert isinstance(request, dg.RunRequest)
    assert str(request.partition_key).endswith("_small")
    assert installation.instance.get_dynamic_partitions("platform_models") == [request.partition_key]
    assert schedule.job_name == "measure_platform"
