"""The executor as Dagster constructs it from its configuration, without a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from k8s_run_launcher.step_handler import build_executor, build_executor_schema
from tests.k8s_run_launcher.made_launchers import make_launcher, state_launcher


@pytest.fixture
def stated(tmp_path: Path) -> dict[str, Any]:
    """What ``dagster.yaml`` states of the launcher."""
    return {**state_launcher(tmp_path, "http://127.0.0.1:1"), "step_profiles": {"raw": {"cpu": "2"}}}


def initialised(stated: dict[str, Any], config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    instance = dg.DagsterInstance.ephemeral()
    made = make_launcher(stated)
    monkeypatch.setattr(type(instance), "run_launcher", property(lambda _: made))

    context = dg.InitExecutorContext(
        job=dg.reconstructable(_empty), executor_def=_empty.executor_def, executor_config=config, instance=instance
    )
    return build_executor(context)


@dg.job
def _empty() -> None:
    pass


def test_the_executor_takes_its_own_profiles_over_the_launchers(
    stated: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"step_profiles": {"raw": {"memory": "1Gi"}}, "health_interval_s": 3, "max_concurrent": 2}
    executor = initialised(stated, config, monkeypatch)
    profile = executor._handler._profiles["raw"]
    assert (profile.cpu, profile.memory) == ("2", "1Gi")
    assert executor._check_step_health_interval_seconds == 3
    assert executor._handler._enable_owner_references is True


def test_the_executor_refuses_keys_that_nobody_knows(stated: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match="memory_factr"):
        initialised(stated, {"memory_factr": 3.0}, monkeypatch)


def test_every_key_of_the_stock_executor_is_accepted() -> None:
    from dagster_k8s import k8s_job_executor

    assert set(k8s_job_executor.config_schema.as_field().config_type.fields) <= set(build_executor_schema().fields)
