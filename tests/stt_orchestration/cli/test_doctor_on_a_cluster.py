"""What the doctor takes for the profiles of the steps when it looks at a cluster."""

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


def look(
    home: Path, launcher: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> tuple[Profiles, list[CheckResult]]:
    """What preflight is given under an instance with this launcher, and what the doctor itself says."""
    stated = {"telemetry": {"enabled": False}, **({"run_launcher": launcher} if launcher else {})}
    (home / "dagster.yaml").write_text(yaml.safe_dump(stated), encoding="utf-8")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setattr(doctor, "connect_to_cluster", lambda: "stt")
    given: list[Profiles] = []

    def preflight(_: str, profiles: Profiles, *__: object) -> list[CheckResult]:
        given.append(profiles)
        return []

    monkeypatch.setattr(doctor, "run_preflight", preflight)
    results = list(check_cluster("localhost/stt:dev"))
    return given[0], results


def launcher_of_the_deployment(home: Path, file: str) -> dict[str, Any]:
    kubeconfig = home / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG, encoding="utf-8")
    launcher: dict[str, Any] = yaml.safe_load((PROJECT / "deploy" / file).read_text(encoding="utf-8"))["run_launcher"]
    launcher["config"] |= {"load_incluster_config": False, "kubeconfig_file": str(kubeconfig)}
    return launcher


@pytest.mark.parametrize(
    ("file", "gpus", "memory"), [("base/dagster.yaml", 1, "16Gi"), ("overlays/local/dagster.yaml", 0, "768Mi")]
)
def test_the_profiles_are_those_of_the_launcher(
    file: str, gpus: int, memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles, results = look(tmp_path, launcher_of_the_deployment(tmp_path, file), monkeypatch)
    assert (profiles["transcript"].gpu, profiles["transcript"].memory) == (gpus, memory)
    assert results == []


def test_an_instance_file_that_states_no_profiles_keeps_those_of_before_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = launcher_of_the_deployment(tmp_path, "base/dagster.yaml")
    stated = launcher["config"].pop("step_profiles")
    profiles, (note,) = look(tmp_path, launcher, monkeypatch)
    assert (profiles["transcript"].gpu, profiles["transcript"].memory) == (1, "16Gi")
    assert note.passed is None
    assert "raw, normalized, transcript, enriched, benchmark" in note.sentence
    assert "deploy/base/dagster.yaml" in note.remedy
    launcher["config"]["step_profiles"] = {**stated, "transcript": {"node_selector": {"gpu-type": "a100"}}}
    profiles, (note,) = look(tmp_path, launcher, monkeypatch)
    assert (profiles["transcript"].gpu, profiles["transcript"].node_selector) == (1, {"gpu-type": "a100"})
    assert "no whole profile of transcript:" in note.sentence


def test_on_a_laptop_another_launcher_is_configured_and_nothing_is_said_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles, results = look(tmp_path, None, monkeypatch)
    assert profiles["transcript"].gpu == 1
    assert results == []
