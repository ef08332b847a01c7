"""What an API server says while it restarts is not held against a run: a real launcher, and a server that answers so."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._config import process_config
from dagster._core.launcher.base import WorkerStatus
from dagster_k8s.client import DagsterK8sAPIRetryLimitExceeded, DagsterK8sUnrecoverableAPIError
from kubernetes.client.rest import ApiException  # noqa: TID253 - dagster_k8s has imported it already
from urllib3.exceptions import HTTPError

from k8s_run_launcher.api_errors import API_ERRORS, is_transient, parse_api_error
from k8s_run_launcher.launcher import ProfiledK8sRunLauncher

KUBECONFIG = """apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "@SERVER@"}}]
contexts: [{name: test, context: {cluster: test}}]
current-context: test
"""

GONE = {"kind": "Status", "code": 404, "message": "not found"}
FORBIDDEN = {"kind": "Status", "code": 403, "message": "jobs.batch is forbidden: RBAC: role not found"}
NONE = {"items": []}
WORKING = {"kind": "Job", "apiVersion": "batch/v1", "metadata": {"name": "x"}, "status": {"active": 1}}


@contextmanager
def api_server(jobs: list[dict[str, Any]]) -> Iterator[str]:
    """Answers questions about Jobs in turn, the last answer for ever, and knows of nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = NONE
            if "/jobs/" in self.path:
                found = jobs.pop(0) if len(jobs) > 1 else jobs[0]
            body = json.dumps(found).encode()
            self.send_response(int(found.get("code", 200)))  # type: ignore[call-overload]
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@dg.job
def empty() -> None:
    """Has no steps."""


def status(server: str, folder: Path) -> WorkerStatus:
    """What the launcher tells the daemon of a run that is at work."""
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG.replace("@SERVER@", server), encoding="utf-8")
    stated = {
        "service_account_name": "runs",
        "instance_config_map": "none",
        "load_incluster_config": False,
        "kubeconfig_file": str(kubeconfig),
    }
    checked = process_config(ProfiledK8sRunLauncher.config_type(), stated)
    launcher = ProfiledK8sRunLauncher.from_config_value(None, checked.value)
    with dg.DagsterInstance.ephemeral() as instance:
        launcher.register_instance(instance)
        run = instance.create_run_for_job(empty, status=dg.DagsterRunStatus.STARTED)
        found: WorkerStatus = launcher.check_run_worker_health(run).status
    return found


def test_a_run_is_not_failed_because_nobody_answers(tmp_path: Path) -> None:
    assert status("http://127.0.0.1:1", tmp_path) is WorkerStatus.RUNNING


def test_a_run_is_not_failed_by_an_api_server_that_forbids_for_a_moment(tmp_path: Path) -> None:
    with api_server([FORBIDDEN]) as server:
        assert status(server, tmp_path) is WorkerStatus.RUNNING
    with api_server([FORBIDDEN, WORKING]) as server:
        assert status(server, tmp_path) is WorkerStatus.RUNNING


def test_a_run_whose_job_is_gone_is_failed(tmp_path: Path) -> None:
    with api_server([GONE]) as server:
        assert status(server, tmp_path) is WorkerStatus.UNKNOWN


def test_a_run_whose_job_is_at_work_is_running(tmp_path: Path) -> None:
    with api_server([WORKING]) as server:
        assert status(server, tmp_path) is WorkerStatus.RUNNING


def wrapped(cause: Exception) -> Exception:
    return DagsterK8sAPIRetryLimitExceeded(
        "x", k8s_api_exception=cause, max_retries=3, original_exc_info=(type(cause), cause, None)
    )


@pytest.mark.parametrize(
    ("error", "code", "soon"),
    [
        (HTTPError("Connection refused"), None, True),
        (wrapped(HTTPError("Connection refused")), None, True),
        (ApiException(401, "Unauthorized"), 401, True),
        (ApiException(429, "Too many requests"), 429, True),
        (wrapped(ApiException(500, "Internal error")), 500, True),
        (ApiException(400, "Bad request"), 400, False),
        (ApiException(409, "Conflict"), 409, False),
        (
            DagsterK8sUnrecoverableAPIError(
                "x", k8s_api_exception=ApiException(422, "Invalid"), original_exc_info=(ApiException, None, None)
            ),
            422,
            False,
        ),
    ],
)
def test_what_may_be_answered_a_little_later(error: Exception, code: int | None, soon: bool) -> None:
    assert isinstance(error, API_ERRORS)
    found, words = parse_api_error(error)
    assert found == code
    assert words
    assert is_transient(found) is soon
