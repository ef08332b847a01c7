"""The launcher as Dagster constructs it, and the health of runs while the API server restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.launcher.base import WorkerStatus

from k8s_run_launcher.profiles import ProfileError
from tests.k8s_run_launcher.api_server import Request, Response, api_server, make_status
from tests.k8s_run_launcher.launchers import make_launcher, make_launcher_config

GONE = make_status(404, "not found")
FORBIDDEN = make_status(403, "jobs.batch is forbidden: RBAC: role not found")
WORKING = {"kind": "Job", "apiVersion": "batch/v1", "metadata": {"name": "x"}, "status": {"active": 1}}


@pytest.fixture
def launcher_config(tmp_path: Path) -> dict[str, Any]:
    """The launcher's configuration, as in ``dagster.yaml``."""
    return {
        **make_launcher_config(tmp_path, "http://127.0.0.1:1"),
        "run_k8s_config": {"job_spec_config": {"ttlSecondsAfterFinished": 60}},
        "step_profiles": {"raw": {"cpu": "2"}},
    }


def test_runs_have_a_deadline_and_raw_kubernetes_config_has_priority(launcher_config: dict[str, Any]) -> None:
    spec = make_launcher(launcher_config).run_k8s_config["job_spec_config"]
    assert spec == {"ttl_seconds_after_finished": 60, "active_deadline_seconds": 86_400, "backoff_limit": 0}


def test_a_bad_profile_is_refused_when_the_instance_loads(launcher_config: dict[str, Any]) -> None:
    with pytest.raises(ProfileError, match="step_profiles: raw: cpu"):
        make_launcher({**launcher_config, "step_profiles": {"raw": {"cpu": "many"}}})
    with pytest.raises(ProfileError, match="step_patience: quota_s"):
        make_launcher({**launcher_config, "step_patience": {"quota_s": -1}})


@dg.job
def empty_job() -> None:
    """Has no steps."""


def check_health(url: str, folder: Path) -> WorkerStatus:
    """Health of a started run, as the launcher at this API server reports it to the daemon."""
    launcher = make_launcher(make_launcher_config(folder, url))
    with dg.DagsterInstance.ephemeral() as instance:
        launcher.register_instance(instance)
        run = instance.create_run_for_job(empty_job, status=dg.DagsterRunStatus.STARTED)
        health: WorkerStatus = launcher.check_run_worker_health(run).status
    return health


def check_health_with(job_responses: list[Response], folder: Path) -> WorkerStatus:
    """Health of a started run, with these responses for its Job in turn. The last one is repeated; other lists are empty."""

    def respond(request: Request) -> Response:
        if "/jobs/" not in request.path:
            return {"items": []}
        return job_responses.pop(0) if len(job_responses) > 1 else job_responses[0]

    with api_server(respond) as server:
        return check_health(server.url, folder)


def test_a_run_is_not_failed_when_the_api_server_does_not_respond(tmp_path: Path) -> None:
    assert check_health("http://127.0.0.1:1", tmp_path) is WorkerStatus.RUNNING


def test_a_run_is_not_failed_when_the_api_server_forbids_the_request(tmp_path: Path) -> None:
    assert check_health_with([FORBIDDEN], tmp_path) is WorkerStatus.RUNNING
    assert check_health_with([FORBIDDEN, WORKING], tmp_path) is WorkerStatus.RUNNING


def test_a_run_whose_job_is_gone_is_failed(tmp_path: Path) -> None:
    assert check_health_with([GONE], tmp_path) is WorkerStatus.UNKNOWN


def test_a_run_whose_job_is_at_work_is_running(tmp_path: Path) -> None:
    assert check_health_with([WORKING], tmp_path) is WorkerStatus.RUNNING
