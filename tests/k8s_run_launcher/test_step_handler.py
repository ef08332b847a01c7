"""The executor as Dagster constructs it from its configuration, without a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from k8s_run_launcher.step_handler import build_executor, build_executor_schema
from tests.k8s_run_launcher.launchers import make_launcher, make_launcher_config


@pytest.fixture
def launcher_config(tmp_path: Path) -> dict[str, Any]:
    """The launcher's configuration, as in ``dagster.yaml``."""
    return {**make_launcher_config(tmp_path, "http://127.0.0.1:1"), "step_profiles": {"raw": {"cpu": "2"}}}


def initialize(
    launcher_config: dict[str, Any], executor_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Any:
    instance = dg.DagsterInstance.ephemeral()
    launcher = make_launcher(launcher_config)
    monkeypatch.setattr(type(instance), "run_launcher", property(lambda _: launcher))

    context = dg.InitExecutorContext(
        job=dg.reconstructable(_empty_job),
        executor_def=_empty_job.executor_def,
        executor_config=executor_config,
        instance=instance,
    )
    return build_executor(context)


@dg.job
def _empty_job() -> None:
    pass


def test_the_executors_profiles_are_merged_over_the_launchers(
    launcher_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"step_profiles": {"raw": {"memory": "1Gi"}}, "health_interval_s": 3, "max_concurrent": 2}
    executor = initialize(launcher_config, config, monkeypatch)
    profile = executor._handler._profiles["raw"]
    assert (profile.cpu, profile.memory) == ("2", "1Gi")
    assert executor._check_step_health_interval_seconds == 3
    assert executor._handler._enable_owner_references is True


def test_the_executor_refuses_unknown_keys(launcher_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match="memory_factr"):
        initialize(launcher_config, {"memory_factr": 3.0}, monkeypatch)


def test_every_key_of_the_stock_executor_is_accepted() -> None:
    from dagster_k8s import k8s_job_executor

    assert set(k8s_job_executor.config_schema.as_field().config_type.fields) <= set(build_executor_schema().fields)
