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

from k8s_run_launcher.evidence import Evidence, Object, at, condition, containers, holds, last_event, memory_of

PEAK = "peak_memory_bytes="
"""Prefix of the memory peak in a step's termination message (see ``peak``)."""


class Cause(StrEnum):
    """Why a pod failed, or never started."""

    OOM_KILLED = "OOMKilled"
    EVICTED = "evicted"
    PREEMPTED = "preempted"
    NODE_LOST = "node lost"
    DEADLINE = "deadline exceeded"
    DELETED = "deleted"
    SIGNAL = "killed by a signal"
    EXIT = "exit code"
    SILENT = "ended without a result"
    IMAGE = "image"
    SETUP = "cannot be set up"
    UNSCHEDULABLE = "unschedulable"
    QUOTA = "quota"
    FORBIDDEN = "forbidden"
    UNREACHABLE = "API server unreachable"
    UNKNOWN = "unknown"


NODE_TAKEN = frozenset({Cause.PREEMPTED, Cause.EVICTED, Cause.NODE_LOST})
"""Failures caused by the node: a retry on another node can succeed."""

_LASTING = frozenset({Cause.IMAGE, Cause.SETUP, Cause.UNSCHEDULABLE, Cause.QUOTA, Cause.FORBIDDEN})


@dataclass(frozen=True, slots=True)
class Death:
    """Why a pod failed.

    Attributes:
        cause: In one word or two.
        sentence: For people: what happened, in Kubernetes' words where it has some.
        facts: Figures and names behind the sentence.
        lasting: Whether a retry would fail in the same manner.
    """

    cause: Cause
    sentence: str
    facts: Mapping[str, str | int] = field(default_factory=dict)
    lasting: bool = False

    def dump(self) -> dict[str, Any]:
        """As JSON's types."""
        return {"cause": str(self.cause), "sentence": self.sentence, "facts": dict(self.facts), "lasting": self.lasting}

    @classmethod
    def load(cls, dumped: Mapping[str, Any]) -> Death:
        """What ``dump`` made."""
        return cls(Cause(dumped["cause"]), dumped["sentence"], dumped["facts"], dumped["lasting"])


def death(cause: Cause, sentence: str, **facts: str | int | None) -> Death:
    """Make a failure; whether it is permanent follows from its cause. Facts that are None are left out."""
    return Death(cause, sentence, {key: value for key, value in facts.items() if value is not None}, cause in _LASTING)


def why_dead(evidence: Evidence) -> Death | None:
    """Why the Job's newest pod failed; None: it has not failed.

    A pending pod has not failed: see ``waiting``.
    """
    for judge in _JUDGES:
        found = judge(evidence)
        if found is not None:
            return found
    return None


def _disruption(evidence: Evidence) -> Death | None:
    """The pod was disrupted (preempted, evicted, node lost): its DisruptionTarget condition, its status or an event says so."""
    pod, node = evidence.pod, at(evidence.pod, "spec", "nodeName")
    reason = at(condition(pod, "DisruptionTarget"), "reason") if holds(pod, "DisruptionTarget") else None
    words = str(at(condition(pod, "DisruptionTarget"), "message") or "").rstrip(".")
    preempted = last_event(evidence.events, "Preempted")
    if reason == "PreemptionByScheduler" or preempted is not None:
        told = words or str(at(preempted, "message") or "").rstrip(".")
        return death(Cause.PREEMPTED, f"The pod was preempted on {node}: {told}.", node=node)
    if at(pod, "status", "reason") == "Evicted" or reason == "TerminationByKubelet":
        return _evicted_by_kubelet(pod, node)
    if reason == "EvictionByEvictionAPI":
        return death(
            Cause.EVICTED,
            f"The pod was evicted from {node} by request (the eviction API, as a drain uses it).",
            node=node,
        )
    ended = _is_deleted(evidence) or pod is None or at(pod, "status", "phase") == "Failed"
    lost = last_event(evidence.events, "TaintManagerEviction", "NodeNotReady") if ended else None
    if reason in ("DeletionByTaintManager", "DeletionByPodGC") or at(pod, "status", "reason") == "NodeLost" or lost:
        told = words or str(at(lost, "message") or at(pod, "status", "message") or "no more is known").rstrip(".")
        return death(Cause.NODE_LOST, f"The node {node} was lost: {told}.", node=node)
    return None


_SHORT_OF = re.compile(r"low on resource: (\S+?)[.,]|(ephemeral\S* (?:local )?storage|emptyDir)", re.IGNORECASE)
_OWN_STORAGE = re.compile(r"exceeds the (total )?(limit|size)", re.IGNORECASE)


def _evicted_by_kubelet(pod: Object | None, node: str | None) -> Death:
    words = str(at(pod, "status", "message") or at(condition(pod, "DisruptionTarget"), "message") or "no reason given")
    found = _SHORT_OF.search(words)
    resource = (found.group(1) or "ephemeral-storage") if found else None
    own = _OWN_STORAGE.search(words) is not None
    sentence = f"The kubelet of {node} evicted the pod: {words.strip().rstrip('.')}."
    facts: dict[str, str | int] = {
        "node": node or "unknown",
        "resource": resource or "unknown",
        "kubelet": words.strip(),
    }
    # A pod that exceeds its own storage limit will exceed it on every node.
    return Death(Cause.EVICTED, sentence, facts, lasting=own)


def _deadline(evidence: Evidence) -> Death | None:
    pod, failed = evidence.pod, condition(evidence.job, "Failed") or condition(evidence.job, "FailureTarget")
    if at(pod, "status", "reason") == "DeadlineExceeded":
        seconds = at(pod, "spec", "activeDeadlineSeconds")
        return death(
            Cause.DEADLINE, f"The pod was at work for longer than its deadline of {seconds} s.", deadline_s=seconds
        )
    if at(failed, "reason") == "DeadlineExceeded":
        seconds = at(evidence.job, "spec", "activeDeadlineSeconds")
        sentence = f"The Job {evidence.name} did not end within its deadline of {seconds} s, waiting included."
        return death(Cause.DEADLINE, sentence, deadline_s=seconds)
    return None


def _container(evidence: Evidence) -> Death | None:
    """A container ended with an exit code."""
    for name, state in containers(evidence.pod):
        ended = state.get("terminated")
        if ended and ended.get("exitCode"):
            return _ended(name, ended, evidence)
    return None


def _ended(container: str, ended: Object, evidence: Evidence) -> Death:
    code, reason = int(ended["exitCode"]), str(ended.get("reason") or "")
    node = at(evidence.pod, "spec", "nodeName")
    if reason == "OOMKilled":
        request, limit = memory_of(evidence.pod)
        peak = peak_of(ended.get("message"))
        use = f"it last noted a use of {peak / 1024**2:.0f} MiB" if peak else "its last use is unknown"
        sentence = f"The container {container!r} was OOMKilled at its memory limit of {limit or 'unknown size'}; {use}."
        return death(Cause.OOM_KILLED, sentence, limit=limit, request=request, last_use_bytes=peak, node=node)
    if reason in ("StartError", "ContainerCannotRun"):
        told = str(ended.get("message") or "no reason given").strip()
        return death(
            Cause.SETUP, f"The container {container!r} could not be started: {told}", exit_code=code, node=node
        )
    if _is_deleted(evidence):
        return _deleted(evidence) or death(Cause.DELETED, f"The pod of {evidence.name} was deleted.", node=node)
    number = int(ended.get("signal") or 0) or (code - 128 if code > 128 else 0)
    if number:
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        sentence = f"The container {container!r} was killed by {name} (exit code {code}); nobody deleted its pod."
        return death(Cause.SIGNAL, sentence, signal=name, exit_code=code, node=node)
    told = str(ended.get("message") or "").strip()
    words = f": {told}" if told and not told.startswith(PEAK) else "."
    return death(
        Cause.EXIT, f"The container {container!r} ended with exit code {code}{words}", exit_code=code, node=node
    )


def _is_deleted(evidence: Evidence) -> bool:
    return bool(at(evidence.pod, "metadata", "deletionTimestamp"))


def _deleted(evidence: Evidence) -> Death | None:
    """Somebody deleted the pod or the Job, and no condition says who."""
    node = at(evidence.pod, "spec", "nodeName")
    if _is_deleted(evidence):
        name = at(evidence.pod, "metadata", "name")
        return death(
            Cause.DELETED, f"The pod {name} was deleted on {node}; Kubernetes does not say by whom.", node=node
        )
    if evidence.job is None:
        return death(Cause.DELETED, f"The Job {evidence.name} is gone: somebody deleted it.", node=node)
    gone = evidence.pod is None and last_event(evidence.events, "SuccessfulCreate") is not None
    if gone and holds(evidence.job, "Failed"):
        sentence = f"The pod of the Job {evidence.name} is gone: somebody deleted it, or its node vanished."
        return death(Cause.DELETED, sentence)
    return None


def _failed_job(evidence: Evidence) -> Death | None:
    """The Job failed and no other diagnosis applies: use the message of the pod or of the Job's Failed condition."""
    failed = condition(evidence.job, "Failed") if holds(evidence.job, "Failed") else None
    if failed is None and at(evidence.pod, "status", "phase") != "Failed":
        return None
    told = at(evidence.pod, "status", "message") or at(failed, "message") or "no reason given"
    return death(Cause.UNKNOWN, f"The Job {evidence.name} failed, and Kubernetes only says: {str(told).rstrip('.')}.")


_JUDGES: tuple[Callable[[Evidence], Death | None], ...] = (_disruption, _deadline, _container, _deleted, _failed_job)


def peak_of(message: str | None) -> int | None:
    """The memory peak that a step noted in its termination message, in bytes."""
    found = re.search(rf"{PEAK}(\d+)", message or "")
    return int(found.group(1)) if found else None
