"""The cluster client, against an HTTP server that responds as the API server does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from k8s_run_launcher import cluster
from k8s_run_launcher.cluster import (
    ApiError,
    ClusterClient,
    NoClusterError,
    connect_to_cluster,
    load_client_errors,
    parse_k8s_quantity,
    to_api_error,
)
from tests.k8s_run_launcher.api_server import ApiServer, Request, Response, make_status, write_kubeconfig

Connect = Callable[[Callable[[Request], Response]], ApiServer]

POD = {"metadata": {"name": "a"}}


def test_the_module_imports_neither_dagster_nor_the_kubernetes_client() -> None:
    code = (
        "import sys, k8s_run_launcher.cluster as cluster; before = {'kubernetes', 'urllib3'} & {*sys.modules};"
        "cluster.ClusterClient(); print(before, {name for name in sys.modules if name.startswith('dagster')})"
    )
    command = [sys.executable, "-c", code]
    process = subprocess.run(
        command, env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, check=True
    )
    assert process.stdout == "set() set()\n"


@pytest.mark.parametrize(("configured", "namespace"), [("stt", "stt"), (None, "default")])
def test_the_namespace_is_that_of_the_kubeconfigs_context(
    configured: str | None, namespace: str, use_kubeconfig: Callable[[Path], None], tmp_path: Path
) -> None:
    use_kubeconfig(write_kubeconfig(tmp_path, "http://127.0.0.1:1", configured))
    assert connect_to_cluster() == namespace


@pytest.mark.parametrize(("configured", "namespace"), [("stt\n", "stt"), ("", "default"), (None, "default")])
def test_in_a_pod_the_namespace_is_that_of_its_service_account(
    configured: str | None,
    namespace: str,
    use_kubeconfig: Callable[[Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from kubernetes import client
    from kubernetes.config import incluster_config

    use_kubeconfig(write_kubeconfig(tmp_path, "http://127.0.0.1:1", "of-the-kubeconfig"))
    for name in ("token", "ca.crt"):
        (tmp_path / name).write_text("x", encoding="ascii")
    if configured is not None:
        (tmp_path / "namespace").write_text(configured, encoding="utf-8")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "192.0.2.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setattr(cluster, "_NAMESPACE_FILE", tmp_path / "namespace")
    assert connect_to_cluster() == namespace
    assert client.Configuration.get_default_copy().host == "https://192.0.2.1:6443"


def test_without_a_cluster_the_error_says_so(use_kubeconfig: Callable[[Path], None], tmp_path: Path) -> None:
    use_kubeconfig(tmp_path / "nowhere")
    with pytest.raises(NoClusterError, match="this is no pod, and there is no usable kubeconfig"):
        connect_to_cluster()


def test_lists_are_plain_objects_and_selectors_reach_the_server(connect: Connect) -> None:
    server = connect(lambda _: {"items": [POD]})
    client = ClusterClient()
    assert client.list_pods("stt", "job-name=x") == [POD]
    assert client.list_jobs("stt", "a=b") == [POD]
    assert client.list_events("stt", "x") == [POD]
    for call in (client.list_resource_quotas, client.list_volume_claims):
        assert call("stt") == [POD]
    assert client.list_nodes() == client.list_storage_classes() == [POD]
    assert [request.path for request in server.requests] == [
        "/api/v1/namespaces/stt/pods?labelSelector=job-name%3Dx",
        "/apis/batch/v1/namespaces/stt/jobs?labelSelector=a%3Db",
        "/api/v1/namespaces/stt/events?fieldSelector=involvedObject.name%3Dx",
        "/api/v1/namespaces/stt/resourcequotas",
        "/api/v1/namespaces/stt/persistentvolumeclaims",
        "/api/v1/nodes",
        "/apis/storage.k8s.io/v1/storageclasses",
    ]


def test_a_job_can_be_found_created_and_deleted_with_its_pods(connect: Connect) -> None:
    server = connect(
        lambda request: make_status(404) if request.path.endswith("/gone") else {"metadata": {"name": "x"}}
    )
    client = ClusterClient()
    assert client.find_job("stt", "x") == {"metadata": {"name": "x"}}
    assert client.find_job("stt", "gone") is None
    client.create_job("stt", {"kind": "Job"})
    client.delete_job("stt", "x")
    client.delete_pod("stt", "y")
    created, job_deletion, pod_deletion = server.requests[2:]
    assert (created.method, created.path, created.body) == (
        "POST",
        "/apis/batch/v1/namespaces/stt/jobs",
        {"kind": "Job"},
    )
    assert (job_deletion.method, job_deletion.path) == (
        "DELETE",
        "/apis/batch/v1/namespaces/stt/jobs/x?propagationPolicy=Background",
    )
    assert (pod_deletion.method, pod_deletion.path) == ("DELETE", "/api/v1/namespaces/stt/pods/y")


@pytest.mark.parametrize("allowed", [True, False])
def test_a_permission_is_checked_with_its_subresource(allowed: bool, connect: Connect) -> None:
    server = connect(lambda _: {"status": {"allowed": allowed}})
    assert ClusterClient().is_allowed("stt", "get", "jobs/status", "batch") is allowed
    (request,) = server.requests
    assert request.path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    attributes = {"namespace": "stt", "verb": "get", "group": "batch", "resource": "jobs", "subresource": "status"}
    assert request.body["spec"] == {"resourceAttributes": attributes}


@pytest.mark.parametrize("code", [403, 404, 409, 410, 500])
def test_an_error_has_the_status_and_the_message_of_the_server(code: int, connect: Connect) -> None:
    connect(lambda _: make_status(code, "pods is not for you"))
    client = ClusterClient()
    calls: list[Callable[[], Any]] = [
        lambda: client.list_pods("stt", ""),
        lambda: client.create_job("stt", {}),
        lambda: client.delete_pod("stt", "x"),
        lambda: list(client.watch_pods("stt", "", 5)),
    ]
    for call in calls:
        with pytest.raises(ApiError) as refused:
            call()
        assert (refused.value.status, refused.value.sentence) == (code, "pods is not for you")
        assert refused.value.reason
        assert str(refused.value).startswith(f"({code})\nReason: {refused.value.reason}\n")


def test_an_error_without_a_response_has_no_status(use_kubeconfig: Callable[[Path], None], tmp_path: Path) -> None:
    use_kubeconfig(write_kubeconfig(tmp_path, "http://127.0.0.1:1"))
    connect_to_cluster()
    with pytest.raises(ApiError, match="refused") as failed:
        ClusterClient().list_nodes()
    assert failed.value.status is None
    assert failed.value.sentence == str(failed.value)


def test_a_watch_yields_the_events(connect: Connect) -> None:
    events: list[dict[str, Any]] = [{"type": kind, "object": POD} for kind in ("ADDED", "MODIFIED", "DELETED")]
    server = connect(lambda _: events)
    assert list(ClusterClient().watch_pods("stt", "a=b", 7)) == events
    (request,) = server.requests
    assert request.path == "/api/v1/namespaces/stt/pods?labelSelector=a%3Db&timeoutSeconds=7&watch=True"


def test_a_watch_that_the_server_ends_raises_with_the_reason(connect: Connect) -> None:
    status = make_status(410, "too old resource version: 1 (2)", "Expired")
    connect(lambda _: [{"type": "ADDED", "object": POD}, {"type": "ERROR", "object": status}])
    events = ClusterClient().watch_pods("stt", "", 5)
    assert next(iter(events))["object"] == POD
    with pytest.raises(ApiError, match="Expired: too old resource version") as ended:
        next(iter(events))
    assert (ended.value.status, ended.value.reason) == (410, "Expired")


def test_errors_of_the_client_are_converted_with_their_message() -> None:
    refused, unreachable = load_client_errors()
    converted = to_api_error(refused(409, "Conflict"))  # type: ignore[call-arg]
    assert (converted.status, converted.reason, converted.sentence) == (409, "Conflict", "Conflict")
    assert to_api_error(converted) is converted
    for error in (unreachable("nobody"), ValueError("nobody")):
        converted = to_api_error(error)
        assert (converted.status, converted.reason, converted.sentence, str(converted)) == (
            None,
            "",
            "nobody",
            "nobody",
        )


def test_quantities() -> None:
    assert [parse_k8s_quantity(text) for text in ("500m", "1", "1Ki", "2G")] == [Decimal("0.5"), 1, 1024, 2 * 10**9]
    with pytest.raises(ValueError, match="Invalid number format"):
        parse_k8s_quantity("much")
