"""Why pods died, from objects that Kubernetes 1.34 really showed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from k8s_run_launcher.job_snapshot import JobSnapshot
from k8s_run_launcher.pod_failure import FailureCause, PodFailure, diagnose
from tests.k8s_run_launcher.recorded_jobs import recorded


@pytest.mark.parametrize(
    ("name", "cause", "words", "lasting"),
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
def test_what_a_pod_died_of(name: str, cause: FailureCause, words: str, lasting: bool) -> None:
    found = diagnose(recorded(name))
    assert found is not None
    assert (found.cause, found.is_permanent) == (cause, lasting)
    assert words in found.sentence
    assert PodFailure.load(json.loads(json.dumps(found.dump()))) == found


@pytest.mark.parametrize("name", ["well", "image", "no-secret", "no-volume", "no-node", "quota-never"])
def test_what_waits_or_ended_well_is_not_dead(name: str) -> None:
    assert diagnose(recorded(name)) is None


def pod(status: Mapping[str, Any], **metadata: Any) -> JobSnapshot:
    job = {"status": {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}}
    return JobSnapshot("x", job, [{"metadata": metadata, "spec": {"nodeName": "node-7"}, "status": status}])


# One node and no pressure on it: these are written as the documentation of pod disruption conditions has them.
@pytest.mark.parametrize(
    ("status", "cause", "words"),
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
def test_nodes_under_pressure_and_lost(status: Mapping[str, Any], cause: FailureCause, words: str) -> None:
    found = diagnose(pod(status))
    assert found is not None
    assert found.cause is cause
    assert words in found.sentence
    if cause is FailureCause.EVICTED:
        assert found.facts["resource"] == "memory"


def test_a_job_that_is_gone_was_deleted() -> None:
    found = diagnose(JobSnapshot("step-1", None))
    assert found is not None
    assert (found.cause, found.is_permanent) == (FailureCause.DELETED, False)
    assert "step-1 is gone" in found.sentence


def test_a_peak_that_was_never_noted_is_unknown() -> None:
    evidence = recorded("oom")
    del evidence.pods[0]["status"]["containerStatuses"][0]["state"]["terminated"]["message"]  # type: ignore[attr-defined]
    found = diagnose(evidence)
    assert found is not None
    assert "its last use is unknown" in found.sentence
    assert "last_use_bytes" not in found.facts
