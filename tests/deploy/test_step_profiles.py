"""Resources of the steps under each deployed configuration: the values of 0.1.0, independent of the launcher's defaults."""

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

# Profiles without variables, volumes, selector or priority take those of the launcher.
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


def read_launcher_config(file: str) -> dict[str, Any]:
    content = yaml.safe_load((DEPLOY / file).read_text(encoding="utf-8"))
    if file.startswith("helm/"):
        return dict(content["runLauncher"]["config"]["customRunLauncher"]["config"])
    return dict(content["run_launcher"]["config"])


@pytest.mark.parametrize(
    ("file", "profiles"),
    [
        ("base/dagster.yaml", WITH_GPU),
        ("helm/values.yaml", WITH_GPU),
        ("overlays/local/dagster.yaml", ON_ONE_NODE),
    ],
)
def test_every_step_has_the_resources_of_0_1_0(file: str, profiles: dict[str, StepProfile]) -> None:
    step_profiles = read_launcher_config(file)["step_profiles"]
    assert read_profiles(step_profiles) == profiles
    assert read_profiles(DEPRECATED_PROFILES, step_profiles) == profiles, (
        "as launcher and executor read them until 0.3.0"
    )
    assert list_unstated_steps(step_profiles) == []


def test_only_transcript_requests_a_gpu_and_the_benchmark_is_guaranteed() -> None:
    resources = {step: profile.resources() for step, profile in WITH_GPU.items()}
    assert [step for step, quantities in resources.items() if "nvidia.com/gpu" in quantities["limits"]] == [
        "transcript"
    ]
    assert resources["transcript"] == {
        "requests": {"cpu": "4", "memory": "16Gi"},
        "limits": {"memory": "32Gi", "cpu": "8", "nvidia.com/gpu": "1"},
    }
    assert resources["benchmark"]["requests"] == resources["benchmark"]["limits"] == {"cpu": "1", "memory": "2Gi"}


def test_every_file_that_configures_the_launcher_is_tested() -> None:
    files = {
        path.relative_to(DEPLOY).as_posix()
        for path in DEPLOY.rglob("*.yaml")
        if "ProfiledK8sRunLauncher" in path.read_text()
    }
    assert files == {"base/dagster.yaml", "helm/values.yaml", "overlays/local/dagster.yaml"}
