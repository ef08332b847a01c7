"""What the steps ask for under each deployed configuration: the values of 0.1.0, whatever default the launcher has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s_run_launcher.deprecated_profiles import DEPRECATED_PROFILES, list_unstated_steps
from k8s_run_launcher.profiles import StepProfile, read_profiles

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"

TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
SMALL = {"memory": "512Mi", "memory_limit": "1Gi", "memory_cap": "4Gi"}
SMALLER = {"cpu": "100m", "cpu_limit": "1", "memory": "256Mi", "memory_limit": "512Mi", "memory_cap": "1Gi"}

# A profile has no variables, volumes, selector or priority where none is written: those come from the launcher.
COMMON = {
    "benchmark": StepProfile(cpu="1", memory="2Gi", memory_cap="8Gi", guaranteed=True),
    "default": StepProfile(cpu="250m", cpu_limit="1", memory="512Mi", memory_limit="512Mi", memory_cap="2Gi"),
}
WITH_GPU = {
    **COMMON,
    "raw": StepProfile(cpu="500m", cpu_limit="2", **SMALL),
    "normalized": StepProfile(cpu="1", cpu_limit="4", **SMALL),
    "transcript": StepProfile(
        cpu="4", cpu_limit="8", memory="16Gi", memory_limit="32Gi", memory_cap="48Gi", gpu=1, tolerations=[TOLERATION]
    ),
    "enriched": StepProfile(cpu="500m", cpu_limit="2", **SMALL),
}
ON_ONE_NODE = {
    **COMMON,
    "raw": StepProfile(**SMALLER),
    "normalized": StepProfile(cpu="100m", cpu_limit="2", memory="256Mi", memory_limit="1Gi", memory_cap="2Gi"),
    "transcript": StepProfile(cpu="250m", cpu_limit="2", memory="768Mi", memory_limit="2Gi", memory_cap="4Gi"),
    "enriched": StepProfile(**SMALLER),
}


def launcher_config(file: str) -> dict[str, Any]:
    found = yaml.safe_load((DEPLOY / file).read_text(encoding="utf-8"))
    if file.startswith("helm/"):
        return dict(found["runLauncher"]["config"]["customRunLauncher"]["config"])
    return dict(found["run_launcher"]["config"])


@pytest.mark.parametrize(
    ("file", "profiles"),
    [
        ("base/dagster.yaml", WITH_GPU),
        ("helm/values.yaml", WITH_GPU),
        ("overlays/local/dagster.yaml", ON_ONE_NODE),
    ],
)
def test_every_step_gets_what_it_got(file: str, profiles: dict[str, StepProfile]) -> None:
    stated = launcher_config(file)["step_profiles"]
    assert read_profiles(stated) == profiles
    assert read_profiles(DEPRECATED_PROFILES, stated) == profiles, "as launcher and executor read them until 0.3.0"
    assert list_unstated_steps(stated) == []


def test_the_gpu_is_asked_for_by_transcript_alone_and_the_benchmark_has_whole_cpus() -> None:
    resources = {step: profile.resources() for step, profile in WITH_GPU.items()}
    assert [step for step, asked in resources.items() if "nvidia.com/gpu" in asked["limits"]] == ["transcript"]
    assert resources["transcript"] == {
        "requests": {"cpu": "4", "memory": "16Gi"},
        "limits": {"memory": "32Gi", "cpu": "8", "nvidia.com/gpu": "1"},
    }
    assert resources["benchmark"]["requests"] == resources["benchmark"]["limits"] == {"cpu": "1", "memory": "2Gi"}


def test_every_file_of_an_instance_on_a_cluster_is_looked_at() -> None:
    named = {
        path.relative_to(DEPLOY).as_posix()
        for path in DEPLOY.rglob("*.yaml")
        if "ProfiledK8sRunLauncher" in path.read_text()
    }
    assert named == {"base/dagster.yaml", "helm/values.yaml", "overlays/local/dagster.yaml"}
