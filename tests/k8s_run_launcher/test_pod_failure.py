"""Why pods died and what they wait for, from objects that Kubernetes 1.34 really showed (``recorded/``, shortened)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from k8s_run_launcher.job_snapshot import JobSnapshot
from k8s_run_launcher.pending import diagnose_pending, diagnose_refusal, diagnose_unreachable
from k8s_run_launcher.pod_failure import FailureCause, PodFailure, diagnose
from k8s_run_launcher.profiles import PendingTimeouts, read_profiles
from k8s_run_launcher.retry import mark_permanent_at_cap

RECORDED = Path(__file__).parent / "recorded"


def recorded(name: str) -> JobSnapshot:
    told = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
    return JobSnapshot(told["name"], told["job"], told["pods"], told["events"])


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


@pytest.mark.parametrize(
    ("name", "cause", "words"),
    [
        ("image", FailureCause.IMAGE, "localhost/nowhere:1 cannot be pulled (ImagePullBackOff): Failed to pull image"),
        ("no-secret", FailureCause.SETUP, 'secret "nowhere" not found'),
        ("no-volume", FailureCause.SETUP, "MountVolume.SetUp failed"),
        ("no-node", FailureCause.UNSCHEDULABLE, "Insufficient nvidia.com/gpu"),
        ("quota-never", FailureCause.QUOTA, "can never hold this step (requests.memory: 4Gi of 2Gi)"),
    ],
)
def test_what_a_pod_waits_for(name: str, cause: FailureCause, words: str) -> None:
    wait = diagnose_pending(recorded(name), now=0.0)
    assert wait is not None
    assert wait.cause is cause
    assert words in wait.sentence


@pytest.mark.parametrize("name", ["well", "oom", "deleted", "preempted"])
def test_what_runs_or_has_ended_waits_for_nothing(name: str) -> None:
    assert diagnose_pending(recorded(name), now=0.0) is None


def test_patience_ends_with_a_death_that_no_retry_mends() -> None:
    wait = diagnose_pending(recorded("no-node"), now=0.0)
    assert wait is not None
    patience = PendingTimeouts(unschedulable_s=60)
    assert wait.check_timeout(patience, wait.since + 59) is None
    found = wait.check_timeout(patience, wait.since + 61)
    assert found is not None
    assert found.is_permanent
    assert "Insufficient nvidia.com/gpu" in found.sentence
    assert "61 s, 60 s are allowed" in found.sentence


def test_a_request_beyond_the_whole_quota_is_hopeless_at_once() -> None:
    wait = diagnose_pending(recorded("quota-never"), now=0.0)
    assert wait is not None
    found = wait.check_timeout(PendingTimeouts(), wait.since)
    assert found is not None
    assert found.is_permanent


def test_a_quota_that_is_only_used_up_is_waited_for() -> None:
    words = (
        'jobs.batch "x" is forbidden: exceeded quota: small, requested: count/jobs.batch=1, used: count/jobs.batch=5, '
        "limited: count/jobs.batch=5"
    )
    wait = diagnose_refusal(words, since=100.0)
    assert (wait.cause, wait.is_permanent) == (FailureCause.QUOTA, False)
    assert wait.check_timeout(PendingTimeouts(quota_s=50), 149.0) is None
    assert wait.check_timeout(PendingTimeouts(quota_s=50), 151.0) is not None


def test_other_refusals_are_hopeless() -> None:
    words = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false'
    wait = diagnose_refusal(words, since=100.0)
    assert (wait.cause, wait.is_permanent) == (FailureCause.FORBIDDEN, True)
    assert "violates PodSecurity" in wait.sentence


def test_a_right_that_is_missing_is_waited_for_because_a_starting_api_server_knows_none() -> None:
    words = (
        'jobs.batch is forbidden: User "system:serviceaccount:stt:stt-run" cannot create resource "jobs" in API group "batch" '
        'in the namespace "stt"'
    )
    wait = diagnose_refusal(words, since=100.0)
    assert (wait.cause, wait.is_permanent) == (FailureCause.FORBIDDEN, False)
    assert wait.check_timeout(PendingTimeouts(setup_s=50), 149.0) is None
    found = wait.check_timeout(PendingTimeouts(setup_s=50), 151.0)
    assert found is not None
    assert found.is_permanent


def test_an_api_server_that_does_not_answer_is_waited_for_and_another_try_may_find_it() -> None:
    wait = diagnose_unreachable("Connection refused", since=100.0)
    assert wait.check_timeout(PendingTimeouts(setup_s=50), 149.0) is None
    found = wait.check_timeout(PendingTimeouts(setup_s=50), 151.0)
    assert found is not None
    assert not found.is_permanent
    assert "Connection refused" in found.sentence


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


def test_oom_at_the_cap_is_final() -> None:
    found = diagnose(recorded("oom"))
    assert found is not None
    roomy, full = (
        read_profiles({"raw": {"memory": "64Mi", "memory_limit": "64Mi", "memory_cap": cap}})["raw"]
        for cap in ("65Mi", "64Mi")
    )
    assert not mark_permanent_at_cap(roomy, found).is_permanent
    assert mark_permanent_at_cap(full, found).is_permanent
