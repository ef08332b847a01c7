"""What pods wait for and for how long, from objects that were recorded on Kubernetes 1.34."""

from __future__ import annotations

import pytest

from k8s_run_launcher.pending import diagnose_pending, diagnose_refusal, diagnose_unreachable
from k8s_run_launcher.pod_failure import FailureCause
from k8s_run_launcher.profiles import PendingTimeouts
from tests.k8s_run_launcher.recorded_jobs import load_recorded


@pytest.mark.parametrize(
    ("name", "cause", "message"),
    [
        ("image", FailureCause.IMAGE, "localhost/nowhere:1 cannot be pulled (ImagePullBackOff): Failed to pull image"),
        ("no-secret", FailureCause.SETUP, 'secret "nowhere" not found'),
        ("no-volume", FailureCause.SETUP, "MountVolume.SetUp failed"),
        ("no-node", FailureCause.UNSCHEDULABLE, "Insufficient nvidia.com/gpu"),
        ("quota-never", FailureCause.QUOTA, "can never hold this step (requests.memory: 4Gi of 2Gi)"),
    ],
)
def test_the_cause_of_a_pending_pod(name: str, cause: FailureCause, message: str) -> None:
    wait = diagnose_pending(load_recorded(name), now=0.0)
    assert wait is not None
    assert wait.cause is cause
    assert message in wait.sentence


@pytest.mark.parametrize("name", ["well", "oom", "deleted", "preempted"])
def test_a_pod_that_runs_or_has_ended_is_not_pending(name: str) -> None:
    assert diagnose_pending(load_recorded(name), now=0.0) is None


def test_a_timeout_ends_in_a_permanent_failure() -> None:
    wait = diagnose_pending(load_recorded("no-node"), now=0.0)
    assert wait is not None
    timeouts = PendingTimeouts(unschedulable_s=60)
    assert wait.check_timeout(timeouts, wait.since + 59) is None
    failure = wait.check_timeout(timeouts, wait.since + 61)
    assert failure is not None
    assert failure.is_permanent
    assert "Insufficient nvidia.com/gpu" in failure.sentence
    assert "61 s, 60 s are allowed" in failure.sentence


def test_a_request_above_the_quota_fails_permanently_at_once() -> None:
    wait = diagnose_pending(load_recorded("quota-never"), now=0.0)
    assert wait is not None
    failure = wait.check_timeout(PendingTimeouts(), wait.since)
    assert failure is not None
    assert failure.is_permanent


def test_a_used_up_quota_is_waited_for() -> None:
    message = (
        'jobs.batch "x" is forbidden: exceeded quota: small, requested: count/jobs.batch=1, used: count/jobs.batch=5, '
        "limited: count/jobs.batch=5"
    )
    wait = diagnose_refusal(message, since=100.0)
    assert (wait.cause, wait.is_permanent) == (FailureCause.QUOTA, False)
    assert wait.check_timeout(PendingTimeouts(quota_s=50), 149.0) is None
    assert wait.check_timeout(PendingTimeouts(quota_s=50), 151.0) is not None


def test_other_refusals_are_permanent() -> None:
    message = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false'
    wait = diagnose_refusal(message, since=100.0)
    assert (wait.cause, wait.is_permanent) == (FailureCause.FORBIDDEN, True)
    assert "violates PodSecurity" in wait.sentence


def test_a_missing_permission_is_waited_for_because_a_starting_api_server_has_none() -> None:
    message = (
        'jobs.batch is forbidden: User "system:serviceaccount:stt:stt-run" cannot create resource "jobs" in API group "batch" '
        'in the namespace "stt"'
    )
    wait = diagnose_refusal(message, since=100.0)
    assert (wait.cause, wait.is_permanent) == (FailureCause.FORBIDDEN, False)
    assert wait.check_timeout(PendingTimeouts(setup_s=50), 149.0) is None
    failure = wait.check_timeout(PendingTimeouts(setup_s=50), 151.0)
    assert failure is not None
    assert failure.is_permanent


def test_an_unreachable_api_server_is_waited_for_and_may_be_retried() -> None:
    wait = diagnose_unreachable("Connection refused", since=100.0)
    assert wait.check_timeout(PendingTimeouts(setup_s=50), 149.0) is None
    failure = wait.check_timeout(PendingTimeouts(setup_s=50), 151.0)
    assert failure is not None
    assert not failure.is_permanent
    assert "Connection refused" in failure.sentence
