"""What pods wait for and for how long, from objects that Kubernetes 1.34 really showed."""

from __future__ import annotations

import pytest

from k8s_run_launcher.pending import diagnose_pending, diagnose_refusal, diagnose_unreachable
from k8s_run_launcher.pod_failure import FailureCause
from k8s_run_launcher.profiles import PendingTimeouts
from tests.k8s_run_launcher.recorded_jobs import recorded


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
