"""Adjusts the resources and the placement of a retry to the failures of earlier attempts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from k8s_run_launcher.cluster import parse_k8s_quantity
from k8s_run_launcher.pod_failure import NODE_LOSS_CAUSES, FailureCause, PodFailure
from k8s_run_launcher.profiles import Placement, StepProfile, format_memory


@dataclass(frozen=True, slots=True)
class RetryAdjustments:
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


def adjust(profile: StepProfile, failures: Sequence[PodFailure], factor: float) -> RetryAdjustments:
    """Compute the adjustments for the next attempt.

    Args:
        profile: Of the step.
        failures: Of its earlier attempts, oldest first.
        factor: By how much memory grows after each OOMKilled.
    """
    return _adjust_placement(_adjust_memory(RetryAdjustments(), profile, failures, factor), profile, failures)


def _adjust_memory(
    adjustments: RetryAdjustments, profile: StepProfile, failures: Sequence[PodFailure], factor: float
) -> RetryAdjustments:
    limits = [parse_k8s_quantity(str(failure.facts["limit"])) for failure in failures if _is_oom_killed(failure)]
    if not limits:
        return adjustments
    largest = float(max(limits))
    limit = max(min(largest * factor, profile.cap_bytes), largest)
    share = min(1.0, float(parse_k8s_quantity(profile.memory)) / profile.limit_bytes)
    sentence = f"memory limit {format_memory(limit)} in place of {format_memory(largest)}, after OOMKilled"
    return replace(
        adjustments,
        memory_limit=format_memory(limit),
        memory_request=format_memory(limit * share),
        sentences=(*adjustments.sentences, sentence),
    )


def _adjust_placement(
    adjustments: RetryAdjustments, profile: StepProfile, failures: Sequence[PodFailure]
) -> RetryAdjustments:
    node_losses = [failure for failure in failures if failure.cause in NODE_LOSS_CAUSES]
    if not node_losses or profile.after_loss is None:
        return adjustments
    selector = ", ".join(f"{key}={value}" for key, value in profile.after_loss.node_selector.items())
    sentence = f"another node class ({selector or 'as after_loss says'}), after it was {node_losses[-1].cause}"
    return replace(adjustments, placement=profile.after_loss, sentences=(*adjustments.sentences, sentence))


def mark_permanent_at_cap(profile: StepProfile, failure: PodFailure) -> PodFailure:
    """Mark an OOMKilled failure as permanent if its memory limit is the profile's cap: another attempt would be OOMKilled too."""
    if not _is_oom_killed(failure) or parse_k8s_quantity(str(failure.facts["limit"])) < profile.cap_bytes:
        return failure
    sentence = (
        f"{failure.sentence} That is the cap (memory_cap {format_memory(profile.cap_bytes)}), so no retry gets more."
    )
    return replace(failure, sentence=sentence, is_permanent=True)


def _is_oom_killed(failure: PodFailure) -> bool:
    return failure.cause is FailureCause.OOM_KILLED and "limit" in failure.facts
