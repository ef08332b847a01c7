"""One Job with its pods and events at one moment, as plain API dictionaries, and functions that read them.

``pod_watch`` takes the snapshot; ``pod_failure`` and ``pending`` interpret it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from k8s_run_launcher.cluster import K8sObject


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """One Job and what belongs to it.

    Attributes:
        name: Of the Job.
        job: The Job; None: it is not there.
        pods: Its pods, oldest first; some may be gone from the cluster and remembered by a watch.
        events: Of the Job and its pods, oldest first.
    """

    name: str
    job: K8sObject | None
    pods: Sequence[K8sObject] = ()
    events: Sequence[K8sObject] = field(default=())

    @property
    def pod(self) -> K8sObject | None:
        """The newest pod."""
        return self.pods[-1] if self.pods else None


def get_nested(value: Any, *path: str) -> Any:
    """The value under a path of nested keys; None if a key is missing."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def find_condition(k8s_object: K8sObject | None, condition_type: str) -> K8sObject | None:
    """A condition of a Job or pod, if it is there."""
    return next(
        (c for c in get_nested(k8s_object, "status", "conditions") or () if c.get("type") == condition_type), None
    )


def is_condition_true(k8s_object: K8sObject | None, condition_type: str) -> bool:
    """Whether a condition is there and true."""
    return bool(get_nested(find_condition(k8s_object, condition_type), "status") == "True")


def iter_container_states(pod: K8sObject | None) -> Iterator[tuple[str, K8sObject]]:
    """Name and state of the containers, those of the initialisation first."""
    for group in ("initContainerStatuses", "containerStatuses"):
        for status in get_nested(pod, "status", group) or ():
            yield status.get("name", ""), status.get("state") or {}


def get_memory_request_and_limit(pod: K8sObject | None) -> tuple[str | None, str | None]:
    """Request and limit of the first container's memory, as the spec has them."""
    spec = next(iter(get_nested(pod, "spec", "containers") or ()), None)
    return get_nested(spec, "resources", "requests", "memory"), get_nested(spec, "resources", "limits", "memory")


def find_last_event(events: Sequence[K8sObject], *reasons: str) -> K8sObject | None:
    """The newest event with one of the reasons."""
    return next((event for event in reversed(events) if event.get("reason") in reasons), None)


def parse_timestamp(text: str | None) -> float | None:
    """A time of the API as seconds since 1970."""
    return datetime.fromisoformat(text).timestamp() if text else None
