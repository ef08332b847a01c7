"""Preflight's judgements over objects of the API; rights, image and the real answers are asked on a real cluster."""

from __future__ import annotations

from typing import Any

from k8s_run_launcher.preflight import (
    check_gpu_nodes,
    check_quotas,
    check_volume_claims,
    compute_quota_usage,
)
from k8s_run_launcher.profiles import read_profiles
from speech.checks import CheckResult

PROFILES = read_profiles()


def quota(hard: dict[str, str], used: dict[str, str]) -> dict[str, Any]:
    return {"metadata": {"name": "stt"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}}


def only(looks: list[CheckResult]) -> CheckResult:
    (look,) = looks
    return look


def test_demand_counts_as_a_quota_does() -> None:
    asked = compute_quota_usage(PROFILES["transcript"])
    assert asked["requests.cpu"] == asked["cpu"] == 4
    assert asked["limits.memory"] == 32 * 1024**3
    assert asked["requests.nvidia.com/gpu"] == 1
    assert asked["pods"] == 1


def test_a_quota_with_room_without_and_too_small_at_all() -> None:
    hard = {"requests.cpu": "16", "requests.memory": "64Gi", "requests.nvidia.com/gpu": "2"}
    idle = {"requests.cpu": "0", "requests.memory": "0", "requests.nvidia.com/gpu": "0"}
    assert only(check_quotas([quota(hard, idle)], PROFILES)).passed is True
    busy = only(check_quotas([quota(hard, {**idle, "requests.nvidia.com/gpu": "2"})], PROFILES))
    assert busy.passed is None
    assert "transcript has to wait for requests.nvidia.com/gpu (2 of 2 are used)" in busy.sentence
    small = only(check_quotas([quota({**hard, "requests.nvidia.com/gpu": "0"}, idle)], PROFILES))
    assert small.passed is False
    assert "transcript asks for more requests.nvidia.com/gpu than the 0 there are in all" in small.sentence
    assert only(check_quotas([], PROFILES)).passed is True


def node(gpus: str | None, **labels: str) -> dict[str, Any]:
    allocatable = {} if gpus is None else {"nvidia.com/gpu": gpus}
    return {"metadata": {"name": f"node-{gpus}", "labels": labels}, "status": {"allocatable": allocatable}}


def test_gpu_nodes_count_by_number_and_label() -> None:
    wanting = read_profiles({"transcript": {"gpu": 2, "node_selector": {"class": "gpu"}}})
    assert only(check_gpu_nodes([node(None), node("1", **{"class": "gpu"}), node("4")], wanting)).passed is False
    assert only(check_gpu_nodes([node("2", **{"class": "gpu"})], wanting)).passed is True
    assert only(check_gpu_nodes([], read_profiles({"transcript": {"gpu": 0}}))).passed is True


def claim(name: str, phase: str, storage_class: str | None = None) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"storageClassName": storage_class}, "status": {"phase": phase}}


def storage_class(name: str, mode: str = "Immediate", default: str = "false") -> dict[str, Any]:
    annotations = {"storageclass.kubernetes.io/is-default-class": default}
    return {"metadata": {"name": name, "annotations": annotations}, "volumeBindingMode": mode}


def test_unbound_claims_say_what_their_storage_class_lacks() -> None:
    assert only(check_volume_claims([claim("data", "Bound")], list)).passed is True
    missing = only(check_volume_claims([claim("data", "Pending", "fast")], lambda: [storage_class("slow")]))
    assert missing.passed is False
    assert "its storage class fast is not there" in missing.sentence
    assert missing.remedy == "Name one of: slow."
    none = only(check_volume_claims([claim("data", "Pending")], lambda: [storage_class("slow")]))
    assert "none is the default" in none.sentence
    late = [storage_class("late", "WaitForFirstConsumer", "true")]
    assert only(check_volume_claims([claim("data", "Pending")], lambda: late)).passed is True
