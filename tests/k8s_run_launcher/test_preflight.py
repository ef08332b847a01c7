"""Preflight's judgements over objects of the API, and what it asks for; the real answers are asked on a real cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from k8s_run_launcher.cluster import ApiError
from k8s_run_launcher.preflight import (
    REQUIRED_PERMISSIONS,
    check_gpu_nodes,
    check_quotas,
    check_volume_claims,
    compute_quota_usage,
    run_preflight,
)
from k8s_run_launcher.profiles import read_profiles
from speech.checks import Check, CheckResult
from tests.k8s_run_launcher.api_server import Answer, ApiServer, Request, refusal

PROFILES = read_profiles(
    {
        "transcript": {
            "cpu": "4",
            "cpu_limit": "8",
            "memory": "16Gi",
            "memory_limit": "32Gi",
            "memory_cap": "48Gi",
            "gpu": 1,
        }
    }
)


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


Connect = Callable[[Callable[[Request], Answer]], ApiServer]


def test_what_may_not_be_looked_at_is_said_and_a_missing_right_is_named(connect: Connect) -> None:
    def answer(request: Request) -> Answer:
        if request.method == "POST":
            asked = request.body["spec"]["resourceAttributes"]
            return {"status": {"allowed": asked["verb"] != "watch"}}
        return refusal(403) if request.path.endswith("/nodes") else {"items": []}

    server = connect(answer)
    found = list(run_preflight("stt", PROFILES, None, {Check("store", "It answers."): lambda: "there"}))
    assert [(look.check.name, look.passed, look.sentence) for look in found] == [
        ("rights", False, "in stt this account may not watch pods"),
        ("quota", True, "there is none"),
        ("volumes", True, "no claims"),
        ("GPU nodes", None, "this account may not look there"),
        ("store", True, "there"),
    ]
    asked = [r.body["spec"]["resourceAttributes"] for r in server.requests if r.method == "POST"]
    assert [(a["group"], a["resource"] + f"/{a['subresource']}".rstrip("/"), a["verb"]) for a in asked] == list(
        REQUIRED_PERMISSIONS
    )


@pytest.mark.parametrize("phase", ["Running", "Succeeded", "Failed"])
def test_an_image_is_there_when_its_container_starts_and_the_probe_goes_away(phase: str, connect: Connect) -> None:
    def answer(request: Request) -> Answer:
        if request.path.endswith("selfsubjectaccessreviews"):
            return {"status": {"allowed": True}}
        probed = "labelSelector=job-name" in request.path
        return {"items": [{"metadata": {"name": "x", "uid": "1"}, "status": {"phase": phase}}] if probed else []}

    server = connect(answer)
    *_, image = run_preflight("stt", {}, "localhost/stt:dev", {})
    assert (image.check.name, image.passed) == ("image", True)
    made = next(r for r in server.requests if r.method == "POST" and r.path.endswith("/jobs"))
    assert made.body["spec"]["template"]["spec"]["containers"][0]["image"] == "localhost/stt:dev"
    last = server.requests[-1]
    assert (last.method, last.path) == (
        "DELETE",
        f"/apis/batch/v1/namespaces/stt/jobs/{made.body['metadata']['name']}?propagationPolicy=Background",
    )


def test_an_api_server_that_fails_ends_the_preflight(connect: Connect) -> None:
    connect(lambda _: refusal(500))
    with pytest.raises(ApiError):
        list(run_preflight("stt", {}, None, {}))
