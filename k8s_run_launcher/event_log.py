"""Stores pod failures in Dagster's event log, and loads them again for the next attempt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster._core.events import DagsterEventType

from k8s_run_launcher.pod_failure import PodFailure

FAILURE_KEY = "stt/death"
_MAX_LINEAGE = 5
"""At most so many runs are read: this one and the runs it is a re-execution of."""


def make_failure_metadata(failure: PodFailure, **extra: str | int) -> dict[str, Any]:
    """The metadata of an event that reports a pod failure."""
    facts = {**failure.facts, **extra}
    return {
        FAILURE_KEY: dg.MetadataValue.json(failure.dump()),
        "cause": dg.MetadataValue.text(str(failure.cause)),
        **{name: _value(value) for name, value in facts.items()},
    }


def _value(value: str | int) -> dg.MetadataValue[Any]:
    return dg.MetadataValue.int(value) if isinstance(value, int) else dg.MetadataValue.text(value)


def load_earlier_failures(instance: dg.DagsterInstance, run: dg.DagsterRun, step_key: str) -> list[PodFailure]:
    """The failures of a step's pods in this run and in those that it is a re-execution of, oldest first."""
    lineage = [run]
    while lineage[-1].parent_run_id and len(lineage) < _MAX_LINEAGE:
        parent = instance.get_run_by_id(lineage[-1].parent_run_id)
        if parent is None:
            break
        lineage.append(parent)
    return [
        failure for ancestor in reversed(lineage) for failure in _iter_failures(instance, ancestor.run_id, step_key)
    ]


def _iter_failures(instance: dg.DagsterInstance, run_id: str, step_key: str) -> Iterator[PodFailure]:
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.ENGINE_EVENT):
        if entry.step_key == step_key and entry.dagster_event is not None:
            metadata_value = entry.dagster_event.engine_event_data.metadata.get(FAILURE_KEY)
            if metadata_value is not None and isinstance(metadata_value.value, Mapping):
                yield PodFailure.load(metadata_value.value)


_STEP_END_EVENTS = {DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_FAILURE, DagsterEventType.STEP_UP_FOR_RETRY}


def has_step_ended(instance: dg.DagsterInstance, run_id: str, step_key: str, attempt: int) -> bool:
    """Whether the step's process noted the end of its attempt (counted from 0) itself."""
    end_entries = [entry for entry in instance.all_logs(run_id, of_type=_STEP_END_EVENTS) if entry.step_key == step_key]
    return len(end_entries) > attempt
