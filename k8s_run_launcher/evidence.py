"""One Job with its pods and events at one moment, as plain API dictionaries, and functions that read them.

``observe`` takes the snapshot; ``death`` and ``waiting`` interpret it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One Job and what belongs to it.

    Attributes:
        name: Of the Job.
        job: The Job; None: it is not there.
        pods: Its pods, oldest first; some may be gone from the cluster and remembered by a watch.
        events: Of the Job and its pods, oldest first.
    """

    name: str
    job: Object | None
    pods: Sequence[Object] = ()
    events: Sequence[Object] = field(default=())

    @property
    def pod(self) -> Object | None:
        """The newest pod."""
        return self.pods[-1] if self.pods else None


def at(thing: Any, *path: str) -> Any:
    """What lies under keys inside each other; None where one is missing."""
    for key in path:
        thing = thing.get(key) if isinstance(thing, Mapping) else None
    return thing


def condition(thing: Object | None, kind: str) -> Object | None:
    """A condition of a Job or pod, if it is there."""
    return next((c for c in at(thing, "status", "conditions") or () if c.get("type") == kind), None)


def holds(thing: Object | None, kind: str) -> bool:
    """Whether a condition is there and true."""
    return bool(at(condition(thing, kind), "status") == "True")


def containers(pod: Object | None) -> Iterator[tuple[str, Object]]:
    """Name and state of the containers, those of the initialisation first."""
    for group in ("initContainerStatuses", "containerStatuses"):
        for status in at(pod, "status", group) or ():
            yield status.get("name", ""), status.get("state") or {}


def memory_of(pod: Object | None) -> tuple[str | None, str | None]:
    """Request and limit of the first container's memory, as the spec has them."""
    spec = next(iter(at(pod, "spec", "containers") or ()), None)
    return at(spec, "resources", "requests", "memory"), at(spec, "resources", "limits", "memory")


def last_event(events: Sequence[Object], *reasons: str) -> Object | None:
    """The newest event with one of the reasons."""
    return next((event for event in reversed(events) if event.get("reason") in reasons), None)


def moment(text: str | None) -> float | None:
    """A time of the API as seconds since 1970."""
    return datetime.fromisoformat(text).timestamp() if text else None
