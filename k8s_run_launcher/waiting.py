"""Why a pod is still pending: node, image, volume or quota. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from k8s_run_launcher.death import Cause, Death, death
from k8s_run_launcher.evidence import Evidence, Object, at, condition, containers, last_event, moment
from k8s_run_launcher.profiles import Patience, quantity

_IMAGE_MAY_COME = ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable")
_IMAGE_NEVER = ("InvalidImageName", "ErrImageNeverPull")
_SETUP = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff")


@dataclass(frozen=True, slots=True)
class Wait:
    """A pod waits.

    Attributes:
        cause: The cause of the failure that is reported when the timeout is over.
        sentence: In Kubernetes' words.
        since: Seconds since 1970.
        hopeless: Whether waiting cannot help.
    """

    cause: Cause
    sentence: str
    since: float
    hopeless: bool = False

    def over(self, patience: Patience, now: float) -> Death | None:
        """Return the failure once the timeout is over (at once if waiting cannot help), else None."""
        limit = {
            Cause.UNSCHEDULABLE: patience.unschedulable_s,
            Cause.IMAGE: patience.image_s,
            Cause.QUOTA: patience.quota_s,
        }.get(self.cause, patience.setup_s)
        waited = now - self.since
        if self.hopeless:
            return death(self.cause, f"{self.sentence} No waiting mends that.", waited_s=int(waited))
        if waited < limit:
            return None
        return death(
            self.cause, f"{self.sentence} It waited for {waited:.0f} s, {limit} s are allowed.", waited_s=int(waited)
        )


def why_waiting(evidence: Evidence, now: float) -> Wait | None:
    """What the Job's newest pod waits for; None: it is running, it has ended, or there is no information yet."""
    pod = evidence.pod
    if pod is None:
        return _no_pod(evidence, now)
    if at(pod, "status", "phase") != "Pending":
        return None
    since = moment(at(pod, "metadata", "creationTimestamp")) or now
    scheduled = condition(pod, "PodScheduled")
    if at(scheduled, "reason") == "Unschedulable":
        words = str(at(scheduled, "message") or "no reason given").rstrip(".")
        return Wait(Cause.UNSCHEDULABLE, f"No node takes the pod; the scheduler says: {words}.", since)
    return _container_waits(evidence, since) or _mount_fails(evidence, since)


def _container_waits(evidence: Evidence, since: float) -> Wait | None:
    for name, state in containers(evidence.pod):
        waiting = state.get("waiting") or {}
        reason, words = waiting.get("reason") or "", str(waiting.get("message") or "").strip().rstrip(".")
        if reason in _IMAGE_MAY_COME or reason in _IMAGE_NEVER:
            spec: Object = next((c for c in at(evidence.pod, "spec", "containers") or () if c.get("name") == name), {})
            # The message of ImagePullBackOff has no reason in it; the event of the failed pull before it has.
            pulls = [event for event in evidence.events if str(event.get("message")).startswith("Failed to pull")]
            failed = last_event(pulls, "Failed")
            told = str(at(failed, "message") or words).strip().rstrip(".")
            sentence = f"The image {spec.get('image', 'of ' + name)} cannot be pulled ({reason}): {told}."
            return Wait(Cause.IMAGE, sentence, since, hopeless=reason in _IMAGE_NEVER)
        if reason in _SETUP:
            return Wait(Cause.SETUP, f"The container {name!r} cannot be made ({reason}): {words}.", since)
    return None


def _mount_fails(evidence: Evidence, since: float) -> Wait | None:
    failed = last_event(evidence.events, "FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox")
    if failed is None:
        return None
    words = str(failed.get("message") or "no reason given").strip().rstrip(".")
    return Wait(Cause.SETUP, f"The pod cannot be set up ({failed['reason']}): {words}.", since)


def _no_pod(evidence: Evidence, now: float) -> Wait | None:
    """The Job is there and its pod may not be made: quota, a limit range, pod security, a service account."""
    refused = last_event(evidence.events, "FailedCreate")
    if evidence.job is None or refused is None:
        return None
    since = moment(at(evidence.job, "metadata", "creationTimestamp")) or now
    return refusal(str(refused.get("message") or ""), since)


def refusal(words: str, since: float) -> Wait:
    """Diagnose the API server's refusal to create a pod or Job."""
    told = words.strip().removeprefix("Error creating: ").rstrip(".")
    if "exceeded quota" not in words:
        # An API server that has just started may answer 403 until its roles are loaded, about a second later.
        no_right = "cannot create resource" in words
        hopeless = "forbidden" in words and not no_right
        return Wait(Cause.FORBIDDEN, f"The API server refuses the pod: {told}.", since, hopeless)
    too_much = beyond_quota(words)
    if too_much:
        return Wait(Cause.QUOTA, f"The quota can never hold this step ({too_much}): {told}.", since, hopeless=True)
    return Wait(Cause.QUOTA, f"The quota is used up: {told}.", since)


def unreachable(words: str, since: float) -> Wait:
    """Diagnose that the API server did not answer a request to create a Job, or answered that it could not."""
    return Wait(
        Cause.UNREACHABLE, f"The API server cannot be asked to make the Job: {words.strip().rstrip('.')}.", since
    )


def beyond_quota(words: str) -> str | None:
    """The resource whose request is larger than the whole quota, read from the refusal; None: all fit an empty quota."""
    amounts = {
        kind: dict(pair.split("=", 1) for pair in re.findall(r"[\w./-]+=[\w.]+", found.group(1)))
        for kind in ("requested", "limited")
        if (found := re.search(rf"{kind}: (.*?)(?:, (?:used|limited): |$)", words))
    }
    for resource, wanted in amounts.get("requested", {}).items():
        whole = amounts.get("limited", {}).get(resource)
        if whole is not None and quantity(wanted) > quantity(whole):
            return f"{resource}: {wanted} of {whole}"
    return None
