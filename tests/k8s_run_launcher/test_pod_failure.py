"""Why pods failed, from objects that were recorded on Kubernetes 1.34."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from k8s_run_launcher.job_snapshot import JobSnapshot
from k8s_run_launcher.pod_failure import FailureCause, PodFailure, diagnose
from tests.k8s_run_launcher.recorded_jobs import load_recorded


@pytest.mark.parametrize(
    ("name", "cause", "message", "permanent"),
    [
        ("oom", FailureCause.OOM_KILLED, "memory limit of 64Mi; it last noted a use of 40 MiB", False),
        ("exit", FailureCause.EXIT, "ended with exit code 3", False),
        ("killed", FailureCause.SIGNAL, "killed by SIGKILL (exit code 137); nobody deleted its pod", False),
        ("pod-deadline", FailureCause.DEADLINE, "at work for longer than its deadline of 3 s", False),
        ("job-deadline", FailureCause.DEADLINE, "within its deadline of 3 s, waiting included", False),
        ("full-volume", FailureCause.EVICTED, 'EmptyDir volume "scratch" exceeds the limit "1Mi"', True),
        ("deleted", FailureCause.DELETED, "was deleted on node-1", False),
        ("evicted", FailureCause.EVICTED, "evicted from node-1 by request", False),
        ("preempted", FailureCause.PREEMPTED, "preempting to accommodate a higher priority pod", False),
        ("no-command", FailureCause.SETUP, 'exec: "/nowhere"', True),
    ],
)
def test_the_cause_of_a_failed_pod(name: str, cause: FailureCause, message: str, permanent: bool) -> None:
    failure = diagnose(load_recorded(name))
    assert failure is not None
    assert (failure.cause, failure.is_permanent) == (cause, permanent)
    assert message in failure.sentence
    assert PodFailure.load(json.loads(json.dumps(failure.dump()))) == failure


@pytest.mark.parametrize("name", ["well", "image", "no-secret", "no-volume", "no-node", "quota-never"])
def test_a_pending_or_successful_pod_has_no_failure(name: str) -> None:
    assert diagnose(load_recorded(name)) is None


def make_snapshot(status: Mapping[str, Any], **metadata: Any) -> JobSnapshot:
    job = {"status": {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}}
    return JobSnapshot("x", job, [{"metadata": metadata, "spec": {"nodeName": "node-7"}, "status": status}])


# Not recorded: written after the documentation of pod disruption conditions.
@pytest.mark.parametrize(
    ("status", "cause", "message"),
    [
        (
            {
                "phase": "Failed",
                "reason": "Evicted",
                "message": "The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi. ",
            },
            FailureCause.EVICTED,
            "low on resource: memory",
        ),
        (
            {
                "phase": "Running",
                "conditions": [
                    {
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "DeletionByTaintManager",
                        "message": "Taint manager: deleting due to NoExecute taint",
                    }
                ],
            },
            FailureCause.NODE_LOST,
            "The node node-7 was lost: Taint manager",
        ),
    ],
)
def test_pods_of_nodes_under_pressure_and_of_lost_nodes(
    status: Mapping[str, Any], cause: FailureCause, message: str
) -> None:
    failure = diagnose(make_snapshot(status))
    assert failure is not None
    assert failure.cause is cause
    assert message in failure.sentence
    if cause is FailureCause.EVICTED:
        assert failure.facts["resource"] == "memory"


def test_a_job_that_is_gone_was_deleted() -> None:
    failure = diagnose(JobSnapshot("step-1", None))
    assert failure is not None
    assert (failure.cause, failure.is_permanent) == (FailureCause.DELETED, False)
    assert "step-1 is gone" in failure.sentence


def test_without_a_recorded_peak_the_last_use_is_unknown() -> None:
    snapshot = load_recorded("oom")
    del snapshot.pods[0]["status"]["containerStatuses"][0]["state"]["terminated"]["message"]  # type: ignore[attr-defined]
    failure = diagnose(snapshot)
    assert failure is not None
    assert "its last use is unknown" in failure.sentence
    assert "last_use_bytes" not in failure.facts
