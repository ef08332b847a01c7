"""The step profiles that ``stt doctor`` checks a cluster with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s_run_launcher.profiles import StepProfile
from speech.checks import CheckResult
from stt_orchestration.cli import doctor
from stt_orchestration.cli.doctor import check_cluster

PROJECT = Path(__file__).resolve().parents[3]
KUBECONFIG = """apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "https://127.0.0.1:1"}}]
contexts: [{name: none, context: {cluster: none}}]
current-context: none
"""

Profiles = dict[str, StepProfile]


def run_doctor(
    home: Path, launcher: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> tuple[Profiles, list[CheckResult]]:
    """Run the checks of a cluster under an instance with this launcher.

    Returns:
        The profiles that preflight was called with, and the doctor's own results.
    """
    config = {"telemetry": {"enabled": False}, **({"run_launcher": launcher} if launcher else {})}
    (home / "dagster.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setattr(doctor, "connect_to_cluster", lambda: "stt")
    profiles_of_preflight: list[Profiles] = []

    def preflight(_: str, profiles: Profiles, *__: object) -> list[CheckResult]:
        profiles_of_preflight.append(profiles)
        return []

    monkeypatch.setattr(doctor, "run_preflight", preflight)
    results = list(check_cluster("localhost/stt:dev"))
    return profiles_of_preflight[0], results


def read_deployed_launcher(home: Path, file: str) -> dict[str, Any]:
    kubeconfig = home / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG, encoding="utf-8")
    launcher: dict[str, Any] = yaml.safe_load((PROJECT / "deploy" / file).read_text(encoding="utf-8"))["run_launcher"]
    launcher["config"] |= {"load_incluster_config": False, "kubeconfig_file": str(kubeconfig)}
    return launcher


@pytest.mark.parametrize(
    ("file", "gpus", "memory"), [("base/dagster.yaml", 1, "16Gi"), ("overlays/local/dagster.yaml", 0, "768Mi")]
)
def test_preflight_gets_the_profiles_of_the_launcher(
    file: str, gpus: int, memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles, results = run_doctor(tmp_path, read_deployed_launcher(tmp_path, file), monkeypatch)
    assert (profiles["transcript"].gpu, profiles["transcript"].memory) == (gpus, memory)
    assert results == []


def test_a_step_without_a_complete_profile_keeps_the_built_in_one_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = read_deployed_launcher(tmp_path, "base/dagster.yaml")
    step_profiles = launcher["config"].pop("step_profiles")
    profiles, (note,) = run_doctor(tmp_path, launcher, monkeypatch)
    assert (profiles["transcript"].gpu, profiles["transcript"].memory) == (1, "16Gi")
    assert note.passed is None
    assert "raw, normalized, transcript, enriched, benchmark" in note.sentence
    assert "deploy/base/dagster.yaml" in note.remedy
    launcher["config"]["step_profiles"] = {**step_profiles, "transcript": {"node_selector": {"gpu-type": "a100"}}}
    profiles, (note,) = run_doctor(tmp_path, launcher, monkeypatch)
    assert (profiles["transcript"].gpu, profiles["transcript"].node_selector) == (1, {"gpu-type": "a100"})
    assert "no whole profile of transcript:" in note.sentence


def test_without_the_kubernetes_launcher_there_is_no_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profiles, results = run_doctor(tmp_path, None, monkeypatch)
    assert profiles["transcript"].gpu == 1
    assert results == []
