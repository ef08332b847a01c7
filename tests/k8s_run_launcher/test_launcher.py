"""The launcher as Dagster constructs it, and what it makes of the answers of an API server that restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.launcher.base import WorkerStatus

from k8s_run_launcher.profiles import ProfileError
from tests.k8s_run_launcher.api_server import Answer, Request, api_server, refusal
from tests.k8s_run_launcher.made_launchers import make_launcher, state_launcher

GONE = refusal(404, "not found")
FORBIDDEN = refusal(403, "jobs.batch is forbidden: RBAC: role not found")
WORKING = {"kind": "Job", "apiVersion": "batch/v1", "metadata": {"name": "x"}, "status": {"active": 1}}


@pytest.fixture
def stated(tmp_path: Path) -> dict[str, Any]:
    """What ``dagster.yaml`` states of the launcher."""
    return {
        **state_launcher(tmp_path, "http://127.0.0.1:1"),
        "run_k8s_config": {"job_spec_config": {"ttlSecondsAfterFinished": 60}},
        "step_profiles": {"raw": {"cpu": "2"}},
    }


def test_runs_have_a_deadline_and_what_is_stated_raw_wins(stated: dict[str, Any]) -> None:
    spec = make_launcher(stated).run_k8s_config["job_spec_config"]
    assert spec == {"ttl_seconds_after_finished": 60, "active_deadline_seconds": 86_400, "backoff_limit": 0}


def test_a_bad_profile_is_refused_when_the_instance_loads(stated: dict[str, Any]) -> None:
    with pytest.raises(ProfileError, match="step_profiles: raw: cpu"):
        make_launcher({**stated, "step_profiles": {"raw": {"cpu": "many"}}})
    with pytest.raises(ProfileError, match="step_patience: quota_s"):
        make_launcher({**stated, "step_patience": {"quota_s": -1}})


@dg.job
def empty() -> None:
    """Has no steps."""


def status(server: str, folder: Path) -> WorkerStatus:
    """What the launcher tells the daemon of a run that is at work."""
    launcher = make_launcher(state_launcher(folder, server))
    with dg.DagsterInstance.ephemeral() as instance:
        launcher.register_instance(instance)
        run = instance.create_run_for_job(empty, status=dg.DagsterRunStatus.STARTED)
        found: WorkerStatus = launcher.check_run_worker_health(run).status
    return found


def status_after(jobs: list[Answer], folder: Path) -> WorkerStatus:
    """The same, where questions about Jobs are answered in turn, with the last answer for ever, and nothing else is there."""

    def answer(request: Request) -> Answer:
        if "/jobs/" not in request.path:
            return {"items": []}
        return jobs.pop(0) if len(jobs) > 1 else jobs[0]

    with api_server(answer) as server:
        return status(server.url, folder)


def test_a_run_is_not_failed_because_nobody_answers(tmp_path: Path) -> None:
    assert status("http://127.0.0.1:1", tmp_path) is WorkerStatus.RUNNING


def test_a_run_is_not_failed_by_an_api_server_that_forbids_for_a_moment(tmp_path: Path) -> None:
    assert status_after([FORBIDDEN], tmp_path) is WorkerStatus.RUNNING
    assert status_after([FORBIDDEN, WORKING], tmp_path) is WorkerStatus.RUNNING


def test_a_run_whose_job_is_gone_is_failed(tmp_path: Path) -> None:
    assert status_after([GONE], tmp_path) is WorkerStatus.UNKNOWN


def test_a_run_whose_job_is_at_work_is_running(tmp_path: Path) -> None:
    assert status_after([WORKING], tmp_path) is WorkerStatus.RUNNING
