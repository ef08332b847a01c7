"""The checks of preflight on objects of the API, and its requests; tests/cluster runs it on a real cluster."""

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
from tests.k8s_run_launcher.api_server import ApiServer, Request, Response, make_status

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


def make_quota(hard: dict[str, str], used: dict[str, str]) -> dict[str, Any]:
    return {"metadata": {"name": "stt"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}}


def get_only(results: list[CheckResult]) -> CheckResult:
    (result,) = results
    return result


def test_usage_has_the_keys_of_a_quota() -> None:
    usage = compute_quota_usage(PROFILES["transcript"])
    assert usage["requests.cpu"] == usage["cpu"] == 4
    assert usage["limits.memory"] == 32 * 1024**3
    assert usage["requests.nvidia.com/gpu"] == 1
    assert usage["pods"] == 1


def test_a_quota_may_have_room_be_used_up_or_be_too_small() -> None:
    hard = {"requests.cpu": "16", "requests.memory": "64Gi", "requests.nvidia.com/gpu": "2"}
    idle = {"requests.cpu": "0", "requests.memory": "0", "requests.nvidia.com/gpu": "0"}
    assert get_only(check_quotas([make_quota(hard, idle)], PROFILES)).passed is True
    busy = get_only(check_quotas([make_quota(hard, {**idle, "requests.nvidia.com/gpu": "2"})], PROFILES))
    assert busy.passed is None
    assert "transcript has to wait for requests.nvidia.com/gpu (2 of 2 are used)" in busy.sentence
    small = get_only(check_quotas([make_quota({**hard, "requests.nvidia.com/gpu": "0"}, idle)], PROFILES))
    assert small.passed is False
    assert "transcript asks for more requests.nvidia.com/gpu than the 0 there are in all" in small.sentence
    assert get_only(check_quotas([], PROFILES)).passed is True


def make_node(gpus: str | None, **labels: str) -> dict[str, Any]:
    allocatable = {} if gpus is None else {"nvidia.com/gpu": gpus}
    return {"metadata": {"name": f"node-{gpus}", "labels": labels}, "status": {"allocatable": allocatable}}


def test_gpu_nodes_count_by_number_and_label() -> None:
    profiles = read_profiles({"transcript": {"gpu": 2, "node_selector": {"class": "gpu"}}})
    assert (
        get_only(
            check_gpu_nodes([make_node(None), make_node("1", **{"class": "gpu"}), make_node("4")], profiles)
        ).passed
        is False
    )
    assert get_only(check_gpu_nodes([make_node("2", **{"class": "gpu"})], profiles)).passed is True
    assert get_only(check_gpu_nodes([], read_profiles({"transcript": {"gpu": 0}}))).passed is True


def make_claim(name: str, phase: str, class_name: str | None = None) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"storageClassName": class_name}, "status": {"phase": phase}}


def make_storage_class(name: str, mode: str = "Immediate", default: str = "false") -> dict[str, Any]:
    annotations = {"storageclass.kubernetes.io/is-default-class": default}
    return {"metadata": {"name": name, "annotations": annotations}, "volumeBindingMode": mode}


def test_unbound_claims_say_what_their_storage_class_lacks() -> None:
    assert get_only(check_volume_claims([make_claim("data", "Bound")], list)).passed is True
    missing = get_only(
        check_volume_claims([make_claim("data", "Pending", "fast")], lambda: [make_storage_class("slow")])
    )
    assert missing.passed is False
    assert "its storage class fast is not there" in missing.sentence
    assert missing.remedy == "Name one of: slow."
    none = get_only(check_volume_claims([make_claim("data", "Pending")], lambda: [make_storage_class("slow")]))
    assert "none is the default" in none.sentence
    late = [make_storage_class("late", "WaitForFirstConsumer", "true")]
    assert get_only(check_volume_claims([make_claim("data", "Pending")], lambda: late)).passed is True


Connect = Callable[[Callable[[Request], Response]], ApiServer]


def test_a_missing_permission_is_named_and_a_forbidden_check_is_unknown(connect: Connect) -> None:
    def respond(request: Request) -> Response:
        if request.method == "POST":
            requested = request.body["spec"]["resourceAttributes"]
            return {"status": {"allowed": requested["verb"] != "watch"}}
        return make_status(403) if request.path.endswith("/nodes") else {"items": []}

    server = connect(respond)
    results = list(run_preflight("stt", PROFILES, None, {Check("store", "It answers."): lambda: "there"}))
    assert [(result.check.name, result.passed, result.sentence) for result in results] == [
        ("rights", False, "in stt this account may not watch pods"),
        ("quota", True, "there is none"),
        ("volumes", True, "no claims"),
        ("GPU nodes", None, "this account may not look there"),
        ("store", True, "there"),
    ]
    requested = [r.body["spec"]["resourceAttributes"] for r in server.requests if r.method == "POST"]
    assert [(a["group"], a["resource"] + f"/{a['subresource']}".rstrip("/"), a["verb"]) for a in requested] == list(
        REQUIRED_PERMISSIONS
    )


@pytest.mark.parametrize("phase", ["Running", "Succeeded", "Failed"])
def test_an_image_exists_if_its_container_starts_and_the_probe_is_deleted(phase: str, connect: Connect) -> None:
    def respond(request: Request) -> Response:
        if request.path.endswith("selfsubjectaccessreviews"):
            return {"status": {"allowed": True}}
        is_probe = "labelSelector=job-name" in request.path
        return {"items": [{"metadata": {"name": "x", "uid": "1"}, "status": {"phase": phase}}] if is_probe else []}

    server = connect(respond)
    *_, image = run_preflight("stt", {}, "localhost/stt:dev", {})
    assert (image.check.name, image.passed) == ("image", True)
    created = next(r for r in server.requests if r.method == "POST" and r.path.endswith("/jobs"))
    assert created.body["spec"]["template"]["spec"]["containers"][0]["image"] == "localhost/stt:dev"
    deletion = server.requests[-1]
    assert (deletion.method, deletion.path) == (
        "DELETE",
        f"/apis/batch/v1/namespaces/stt/jobs/{created.body['metadata']['name']}?propagationPolicy=Background",
    )


def test_an_error_of_the_api_server_ends_the_preflight(connect: Connect) -> None:
    connect(lambda _: make_status(500))
    with pytest.raises(ApiError):
        list(run_preflight("stt", {}, None, {}))
