"""Diagnoses why a pod failed: Kubernetes objects in, a cause and a sentence out. Pure.

What each cause looks like was recorded from Kubernetes 1.34; ``tests/k8s_run_launcher`` holds the recordings.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from k8s_run_launcher.cluster import K8sObject
from k8s_run_launcher.job_snapshot import (
    JobSnapshot,
    find_condition,
    find_last_event,
    get_memory_request_and_limit,
    get_nested,
    is_condition_true,
    iter_container_states,
)

MEMORY_PEAK_PREFIX = "peak_memory_bytes="
"""Prefix of the memory peak in a step's termination message (see ``memory_peak``)."""


class FailureCause(StrEnum):
    """Why a pod failed, or never started."""

    OOM_KILLED = "OOMKilled"
    EVICTED = "evicted"
    PREEMPTED = "preempted"
    NODE_LOST = "node lost"
    DEADLINE = "deadline exceeded"
    DELETED = "deleted"
    SIGNAL = "killed by a signal"
    EXIT = "exit code"
    NO_RESULT = "ended without a result"
    IMAGE = "image"
    SETUP = "cannot be set up"
    UNSCHEDULABLE = "unschedulable"
    QUOTA = "quota"
    FORBIDDEN = "forbidden"
    UNREACHABLE = "API server unreachable"
    UNKNOWN = "unknown"


NODE_LOSS_CAUSES = frozenset({FailureCause.PREEMPTED, FailureCause.EVICTED, FailureCause.NODE_LOST})
"""Failures caused by the node: a retry on another node can succeed."""

_PERMANENT_CAUSES = frozenset(
    {FailureCause.IMAGE, FailureCause.SETUP, FailureCause.UNSCHEDULABLE, FailureCause.QUOTA, FailureCause.FORBIDDEN}
)


@dataclass(frozen=True, slots=True)
class PodFailure:
    """Why a pod failed.

    Attributes:
        cause: In one word or two.
        sentence: For people: what happened, in Kubernetes' words where it has some.
        facts: Figures and names behind the sentence.
        is_permanent: Whether a retry would fail in the same manner.
    """

    cause: FailureCause
    sentence: str
    facts: Mapping[str, str | int] = field(default_factory=dict)
    is_permanent: bool = False

    def dump(self) -> dict[str, Any]:
        """As JSON's types."""
        return {
            "cause": str(self.cause),
            "sentence": self.sentence,
            "facts": dict(self.facts),
            "lasting": self.is_permanent,
        }

    @classmethod
    def load(cls, dumped: Mapping[str, Any]) -> PodFailure:
        """What ``dump`` made."""
        return cls(FailureCause(dumped["cause"]), dumped["sentence"], dumped["facts"], dumped["lasting"])


def make_failure(cause: FailureCause, sentence: str, **facts: str | int | None) -> PodFailure:
    """Make a failure; whether it is permanent follows from its cause. Facts that are None are left out."""
    return PodFailure(
        cause, sentence, {key: value for key, value in facts.items() if value is not None}, cause in _PERMANENT_CAUSES
    )


def diagnose(evidence: JobSnapshot) -> PodFailure | None:
    """Why the Job's newest pod failed; None: it has not failed.

    A pending pod has not failed: see ``pending``.
    """
    for diagnose_cause in _DIAGNOSES:
        failure = diagnose_cause(evidence)
        if failure is not None:
            return failure
    return None


def _diagnose_disruption(evidence: JobSnapshot) -> PodFailure | None:
    """The pod was disrupted (preempted, evicted, node lost): its DisruptionTarget condition, its status or an event says so."""
    pod, node = evidence.pod, get_nested(evidence.pod, "spec", "nodeName")
    reason = (
        get_nested(find_condition(pod, "DisruptionTarget"), "reason")
        if is_condition_true(pod, "DisruptionTarget")
        else None
    )
    condition_message = str(get_nested(find_condition(pod, "DisruptionTarget"), "message") or "").rstrip(".")
    preempted = find_last_event(evidence.events, "Preempted")
    if reason == "PreemptionByScheduler" or preempted is not None:
        message = condition_message or str(get_nested(preempted, "message") or "").rstrip(".")
        return make_failure(FailureCause.PREEMPTED, f"The pod was preempted on {node}: {message}.", node=node)
    if get_nested(pod, "status", "reason") == "Evicted" or reason == "TerminationByKubelet":
        return _diagnose_kubelet_eviction(pod, node)
    if reason == "EvictionByEvictionAPI":
        return make_failure(
            FailureCause.EVICTED,
            f"The pod was evicted from {node} by request (the eviction API, as a drain uses it).",
            node=node,
        )
    ended = _is_deleted(evidence) or pod is None or get_nested(pod, "status", "phase") == "Failed"
    lost = find_last_event(evidence.events, "TaintManagerEviction", "NodeNotReady") if ended else None
    if (
        reason in ("DeletionByTaintManager", "DeletionByPodGC")
        or get_nested(pod, "status", "reason") == "NodeLost"
        or lost
    ):
        message = condition_message or str(
            get_nested(lost, "message") or get_nested(pod, "status", "message") or "no more is known"
        ).rstrip(".")
        return make_failure(FailureCause.NODE_LOST, f"The node {node} was lost: {message}.", node=node)
    return None


_SCARCE_RESOURCE_PATTERN = re.compile(
    r"low on resource: (\S+?)[.,]|(ephemeral\S* (?:local )?storage|emptyDir)", re.IGNORECASE
)
_OWN_LIMIT_PATTERN = re.compile(r"exceeds the (total )?(limit|size)", re.IGNORECASE)


def _diagnose_kubelet_eviction(pod: K8sObject | None, node: str | None) -> PodFailure:
    message = str(
        get_nested(pod, "status", "message")
        or get_nested(find_condition(pod, "DisruptionTarget"), "message")
        or "no reason given"
    )
    match = _SCARCE_RESOURCE_PATTERN.search(message)
    resource = (match.group(1) or "ephemeral-storage") if match else None
    exceeds_own_limit = _OWN_LIMIT_PATTERN.search(message) is not None
    sentence = f"The kubelet of {node} evicted the pod: {message.strip().rstrip('.')}."
    facts: dict[str, str | int] = {
        "node": node or "unknown",
        "resource": resource or "unknown",
        "kubelet": message.strip(),
    }
    # A pod that exceeds its own storage limit will exceed it on every node.
    return PodFailure(FailureCause.EVICTED, sentence, facts, is_permanent=exceeds_own_limit)


def _diagnose_deadline(evidence: JobSnapshot) -> PodFailure | None:
    pod, failed = evidence.pod, find_condition(evidence.job, "Failed") or find_condition(evidence.job, "FailureTarget")
    if get_nested(pod, "status", "reason") == "DeadlineExceeded":
        seconds = get_nested(pod, "spec", "activeDeadlineSeconds")
        return make_failure(
            FailureCause.DEADLINE,
            f"The pod was at work for longer than its deadline of {seconds} s.",
            deadline_s=seconds,
        )
    if get_nested(failed, "reason") == "DeadlineExceeded":
        seconds = get_nested(evidence.job, "spec", "activeDeadlineSeconds")
        sentence = f"The Job {evidence.name} did not end within its deadline of {seconds} s, waiting included."
        return make_failure(FailureCause.DEADLINE, sentence, deadline_s=seconds)
    return None


def _diagnose_container(evidence: JobSnapshot) -> PodFailure | None:
    """A container ended with an exit code."""
    for name, state in iter_container_states(evidence.pod):
        ended = state.get("terminated")
        if ended and ended.get("exitCode"):
            return _diagnose_exit(name, ended, evidence)
    return None


def _diagnose_exit(container: str, ended: K8sObject, evidence: JobSnapshot) -> PodFailure:
    code, reason = int(ended["exitCode"]), str(ended.get("reason") or "")
    node = get_nested(evidence.pod, "spec", "nodeName")
    if reason == "OOMKilled":
        request, limit = get_memory_request_and_limit(evidence.pod)
        peak = parse_memory_peak(ended.get("message"))
        use = f"it last noted a use of {peak / 1024**2:.0f} MiB" if peak else "its last use is unknown"
        sentence = f"The container {container!r} was OOMKilled at its memory limit of {limit or 'unknown size'}; {use}."
        return make_failure(
            FailureCause.OOM_KILLED, sentence, limit=limit, request=request, last_use_bytes=peak, node=node
        )
    if reason in ("StartError", "ContainerCannotRun"):
        message = str(ended.get("message") or "no reason given").strip()
        return make_failure(
            FailureCause.SETUP,
            f"The container {container!r} could not be started: {message}",
            exit_code=code,
            node=node,
        )
    if _is_deleted(evidence):
        return _diagnose_deletion(evidence) or make_failure(
            FailureCause.DELETED, f"The pod of {evidence.name} was deleted.", node=node
        )
    number = int(ended.get("signal") or 0) or (code - 128 if code > 128 else 0)
    if number:
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        sentence = f"The container {container!r} was killed by {name} (exit code {code}); nobody deleted its pod."
        return make_failure(FailureCause.SIGNAL, sentence, signal=name, exit_code=code, node=node)
    message = str(ended.get("message") or "").strip()
    message_part = f": {message}" if message and not message.startswith(MEMORY_PEAK_PREFIX) else "."
    return make_failure(
        FailureCause.EXIT,
        f"The container {container!r} ended with exit code {code}{message_part}",
        exit_code=code,
        node=node,
    )


def _is_deleted(evidence: JobSnapshot) -> bool:
    return bool(get_nested(evidence.pod, "metadata", "deletionTimestamp"))


def _diagnose_deletion(evidence: JobSnapshot) -> PodFailure | None:
    """Somebody deleted the pod or the Job, and no condition says who."""
    node = get_nested(evidence.pod, "spec", "nodeName")
    if _is_deleted(evidence):
        name = get_nested(evidence.pod, "metadata", "name")
        return make_failure(
            FailureCause.DELETED, f"The pod {name} was deleted on {node}; Kubernetes does not say by whom.", node=node
        )
    if evidence.job is None:
        return make_failure(FailureCause.DELETED, f"The Job {evidence.name} is gone: somebody deleted it.", node=node)
    is_pod_gone = evidence.pod is None and find_last_event(evidence.events, "SuccessfulCreate") is not None
    if is_pod_gone and is_condition_true(evidence.job, "Failed"):
        sentence = f"The pod of the Job {evidence.name} is gone: somebody deleted it, or its node vanished."
        return make_failure(FailureCause.DELETED, sentence)
    return None


def _diagnose_failed_job(evidence: JobSnapshot) -> PodFailure | None:
    """The Job failed and no other diagnosis applies: use the message of the pod or of the Job's Failed condition."""
    failed = find_condition(evidence.job, "Failed") if is_condition_true(evidence.job, "Failed") else None
    if failed is None and get_nested(evidence.pod, "status", "phase") != "Failed":
        return None
    message = get_nested(evidence.pod, "status", "message") or get_nested(failed, "message") or "no reason given"
    return make_failure(
        FailureCause.UNKNOWN, f"The Job {evidence.name} failed, and Kubernetes only says: {str(message).rstrip('.')}."
    )


_DIAGNOSES: tuple[Callable[[JobSnapshot], PodFailure | None], ...] = (
    _diagnose_disruption,
    _diagnose_deadline,
    _diagnose_container,
    _diagnose_deletion,
    _diagnose_failed_job,
)


def parse_memory_peak(message: str | None) -> int | None:
    """The memory peak that a step noted in its termination message, in bytes."""
    match = re.search(rf"{MEMORY_PEAK_PREFIX}(\d+)", message or "")
    return int(match.group(1)) if match else None
