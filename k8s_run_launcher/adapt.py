"""Adjusts the resources and the placement of a retry to the failures of earlier attempts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from k8s_run_launcher.death import NODE_TAKEN, Cause, Death
from k8s_run_launcher.profiles import Placement, StepProfile, as_memory, quantity


@dataclass(frozen=True, slots=True)
class Lessons:
    """What changes, and why.

    Attributes:
        memory_request: A Kubernetes quantity; None: unchanged.
        memory_limit: A Kubernetes quantity; None: unchanged.
        placement: None: unchanged.
        sentences: One for each change.
    """

    memory_request: str | None = None
    memory_limit: str | None = None
    placement: Placement | None = None
    sentences: tuple[str, ...] = ()

    def memory_config(self) -> dict[str, Any]:
        """dagster-k8s configuration, to be merged deeply over everything else."""
        if self.memory_limit is None:
            return {}
        memory = {"requests": {"memory": self.memory_request}, "limits": {"memory": self.memory_limit}}
        return {"container_config": {"resources": memory}, "merge_behavior": "DEEP"}

    def placement_config(self) -> dict[str, Any]:
        """dagster-k8s configuration in which the whole placement takes the place of the earlier one."""
        if self.placement is None:
            return {}
        # Clear the old placement first: old and new node selectors together would match no node.
        earlier: dict[str, Any] = {"node_selector": {}, "affinity": {}, "tolerations": []}
        return {"pod_spec_config": {**earlier, **self.placement.pod_spec()}, "merge_behavior": "SHALLOW"}


def learn(profile: StepProfile, deaths: Sequence[Death], factor: float) -> Lessons:
    """Compute the adjustments for the next attempt.

    Args:
        profile: Of the step.
        deaths: Of its earlier attempts, oldest first.
        factor: By how much memory grows after each OOMKilled.
    """
    return _placement(_memory(Lessons(), profile, deaths, factor), profile, deaths)


def _memory(lessons: Lessons, profile: StepProfile, deaths: Sequence[Death], factor: float) -> Lessons:
    limits = [quantity(str(death.facts["limit"])) for death in deaths if _short_of_memory(death)]
    if not limits:
        return lessons
    largest = float(max(limits))
    limit = max(min(largest * factor, profile.cap_bytes), largest)
    share = min(1.0, float(quantity(profile.memory)) / profile.limit_bytes)
    told = f"memory limit {as_memory(limit)} in place of {as_memory(largest)}, after OOMKilled"
    return replace(
        lessons,
        memory_limit=as_memory(limit),
        memory_request=as_memory(limit * share),
        sentences=(*lessons.sentences, told),
    )


def _placement(lessons: Lessons, profile: StepProfile, deaths: Sequence[Death]) -> Lessons:
    taken = [death for death in deaths if death.cause in NODE_TAKEN]
    if not taken or profile.after_loss is None:
        return lessons
    selector = ", ".join(f"{key}={value}" for key, value in profile.after_loss.node_selector.items())
    told = f"another node class ({selector or 'as after_loss says'}), after it was {taken[-1].cause}"
    return replace(lessons, placement=profile.after_loss, sentences=(*lessons.sentences, told))


def final(profile: StepProfile, found: Death) -> Death:
    """Mark an OOMKilled failure as permanent if its memory limit is the profile's cap: another attempt would be OOMKilled too."""
    if not _short_of_memory(found) or quantity(str(found.facts["limit"])) < profile.cap_bytes:
        return found
    sentence = f"{found.sentence} That is the cap (memory_cap {as_memory(profile.cap_bytes)}), so no retry gets more."
    return replace(found, sentence=sentence, lasting=True)


def _short_of_memory(found: Death) -> bool:
    return found.cause is Cause.OOM_KILLED and "limit" in found.facts
