"""Why a pod is still pending: node, image, volume or quota. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from k8s_run_launcher.cluster import K8sObject, parse_k8s_quantity
from k8s_run_launcher.job_snapshot import (
    JobSnapshot,
    find_condition,
    find_last_event,
    get_nested,
    iter_container_states,
    parse_timestamp,
)
from k8s_run_launcher.pod_failure import FailureCause, PodFailure, make_failure
from k8s_run_launcher.profiles import PendingTimeouts

_TRANSIENT_IMAGE_REASONS = ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable")
_PERMANENT_IMAGE_REASONS = ("InvalidImageName", "ErrImageNeverPull")
_SETUP_REASONS = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff")


@dataclass(frozen=True, slots=True)
class PendingState:
    """Why a pod is pending.

    Attributes:
        cause: The cause of the failure that is reported when the timeout is over.
        sentence: The reason, in Kubernetes' words.
        since: When it became pending, seconds since 1970.
        is_permanent: Whether waiting cannot help.
    """

    cause: FailureCause
    sentence: str
    since: float
    is_permanent: bool = False

    def check_timeout(self, timeouts: PendingTimeouts, now: float) -> PodFailure | None:
        """Return the failure once the timeout is over (at once if waiting cannot help), else None."""
        limit = {
            FailureCause.UNSCHEDULABLE: timeouts.unschedulable_s,
            FailureCause.IMAGE: timeouts.image_s,
            FailureCause.QUOTA: timeouts.quota_s,
        }.get(self.cause, timeouts.setup_s)
        waited = now - self.since
        if self.is_permanent:
            return make_failure(self.cause, f"{self.sentence} No waiting mends that.", waited_s=int(waited))
        if waited < limit:
            return None
        return make_failure(
            self.cause, f"{self.sentence} It waited for {waited:.0f} s, {limit} s are allowed.", waited_s=int(waited)
        )


def diagnose_pending(evidence: JobSnapshot, now: float) -> PendingState | None:
    """What the Job's newest pod waits for; None: it is running, it has ended, or there is no information yet."""
    pod = evidence.pod
    if pod is None:
        return _diagnose_missing_pod(evidence, now)
    if get_nested(pod, "status", "phase") != "Pending":
        return None
    since = parse_timestamp(get_nested(pod, "metadata", "creationTimestamp")) or now
    scheduled = find_condition(pod, "PodScheduled")
    if get_nested(scheduled, "reason") == "Unschedulable":
        message = str(get_nested(scheduled, "message") or "no reason given").rstrip(".")
        return PendingState(FailureCause.UNSCHEDULABLE, f"No node takes the pod; the scheduler says: {message}.", since)
    return _diagnose_waiting_container(evidence, since) or _diagnose_failed_mount(evidence, since)


def _diagnose_waiting_container(evidence: JobSnapshot, since: float) -> PendingState | None:
    for name, state in iter_container_states(evidence.pod):
        waiting = state.get("waiting") or {}
        reason, message = waiting.get("reason") or "", str(waiting.get("message") or "").strip().rstrip(".")
        if reason in _TRANSIENT_IMAGE_REASONS or reason in _PERMANENT_IMAGE_REASONS:
            spec: K8sObject = next(
                (c for c in get_nested(evidence.pod, "spec", "containers") or () if c.get("name") == name), {}
            )
            # The message of ImagePullBackOff has no reason in it; the event of the failed pull before it has.
            pulls = [event for event in evidence.events if str(event.get("message")).startswith("Failed to pull")]
            failed = find_last_event(pulls, "Failed")
            cause = str(get_nested(failed, "message") or message).strip().rstrip(".")
            sentence = f"The image {spec.get('image', 'of ' + name)} cannot be pulled ({reason}): {cause}."
            return PendingState(FailureCause.IMAGE, sentence, since, is_permanent=reason in _PERMANENT_IMAGE_REASONS)
        if reason in _SETUP_REASONS:
            return PendingState(
                FailureCause.SETUP, f"The container {name!r} cannot be made ({reason}): {message}.", since
            )
    return None


def _diagnose_failed_mount(evidence: JobSnapshot, since: float) -> PendingState | None:
    failed = find_last_event(evidence.events, "FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox")
    if failed is None:
        return None
    message = str(failed.get("message") or "no reason given").strip().rstrip(".")
    return PendingState(FailureCause.SETUP, f"The pod cannot be set up ({failed['reason']}): {message}.", since)


def _diagnose_missing_pod(evidence: JobSnapshot, now: float) -> PendingState | None:
    """The Job exists, but its pod may not be created: quota, a limit range, pod security, a service account."""
    refused = find_last_event(evidence.events, "FailedCreate")
    if evidence.job is None or refused is None:
        return None
    since = parse_timestamp(get_nested(evidence.job, "metadata", "creationTimestamp")) or now
    return diagnose_refusal(str(refused.get("message") or ""), since)


def diagnose_refusal(message: str, since: float) -> PendingState:
    """Diagnose the API server's refusal to create a pod or Job."""
    reason = message.strip().removeprefix("Error creating: ").rstrip(".")
    if "exceeded quota" not in message:
        # An API server that has just started may answer 403 until its roles are loaded, about a second later.
        lacks_right = "cannot create resource" in message
        is_permanent = "forbidden" in message and not lacks_right
        return PendingState(FailureCause.FORBIDDEN, f"The API server refuses the pod: {reason}.", since, is_permanent)
    exceeded = find_exceeded_quota(message)
    if exceeded:
        return PendingState(
            FailureCause.QUOTA, f"The quota can never hold this step ({exceeded}): {reason}.", since, is_permanent=True
        )
    return PendingState(FailureCause.QUOTA, f"The quota is used up: {reason}.", since)


def diagnose_unreachable(message: str, since: float) -> PendingState:
    """Diagnose that the API server did not answer a request to create a Job, or answered that it could not."""
    return PendingState(
        FailureCause.UNREACHABLE,
        f"The API server cannot be asked to make the Job: {message.strip().rstrip('.')}.",
        since,
    )


def find_exceeded_quota(message: str) -> str | None:
    """The resource whose request is larger than the whole quota, read from the refusal; None: all fit an empty quota."""
    amounts = {
        kind: dict(pair.split("=", 1) for pair in re.findall(r"[\w./-]+=[\w.]+", match.group(1)))
        for kind in ("requested", "limited")
        if (match := re.search(rf"{kind}: (.*?)(?:, (?:used|limited): |$)", message))
    }
    for resource, requested in amounts.get("requested", {}).items():
        limit = amounts.get("limited", {}).get(resource)
        if limit is not None and parse_k8s_quantity(requested) > parse_k8s_quantity(limit):
            return f"{resource}: {requested} of {limit}"
    return None
