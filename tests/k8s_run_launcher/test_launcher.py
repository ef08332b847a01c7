"""Launcher and executor as Dagster constructs them from their configuration, without a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._config import process_config

from k8s_run_launcher.launcher import ProfiledK8sRunLauncher
from k8s_run_launcher.profiles import ProfileError
from k8s_run_launcher.step_handler import build_executor, build_executor_schema

KUBECONFIG = """apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "https://127.0.0.1:1"}}]
contexts: [{name: none, context: {cluster: none}}]
current-context: none
"""


@pytest.fixture
def stated(tmp_path: Path) -> dict[str, Any]:
    """What ``dagster.yaml`` states of the launcher."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG, encoding="utf-8")
    return {
        "service_account_name": "runs",
        "instance_config_map": "none",
        "load_incluster_config": False,
        "kubeconfig_file": str(kubeconfig),
        "run_k8s_config": {"job_spec_config": {"ttlSecondsAfterFinished": 60}},
        "step_profiles": {"raw": {"cpu": "2"}},
    }


def launcher(stated: dict[str, Any]) -> ProfiledK8sRunLauncher:
    checked = process_config(ProfiledK8sRunLauncher.config_type(), stated)
    assert checked.success, checked.errors
    made = ProfiledK8sRunLauncher.from_config_value(None, checked.value)
    assert isinstance(made, ProfiledK8sRunLauncher)
    return made


def test_runs_have_a_deadline_and_what_is_stated_raw_wins(stated: dict[str, Any]) -> None:
    spec = launcher(stated).run_k8s_config["job_spec_config"]
    assert spec == {"ttl_seconds_after_finished": 60, "active_deadline_seconds": 86_400, "backoff_limit": 0}


def test_a_bad_profile_is_refused_when_the_instance_loads(stated: dict[str, Any]) -> None:
    with pytest.raises(ProfileError, match="step_profiles: raw: cpu"):
        launcher({**stated, "step_profiles": {"raw": {"cpu": "many"}}})
    with pytest.raises(ProfileError, match="step_patience: quota_s"):
        launcher({**stated, "step_patience": {"quota_s": -1}})


def initialised(stated: dict[str, Any], config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    instance = dg.DagsterInstance.ephemeral()
    made = launcher(stated)
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
