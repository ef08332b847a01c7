"""The steps of the pipeline, the states of a recording and the transitions between them.

Nothing else decides which state may follow which.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise


class Step(StrEnum):
    """The steps of the pipeline, in order. Dagster's assets, the steps' Jobs and the ledger's columns bear these names."""

    RAW = "raw"
    NORMALIZED = "normalized"
    TRANSCRIPT = "transcript"
    ENRICHED = "enriched"


def list_steps_before(step: Step) -> list[Step]:
    """The steps before this one, in order."""
    return list(Step)[: list(Step).index(step)]


LAST_STEP = Step.ENRICHED
"""A delivery is finished when it has the outputs of this step."""


class State(StrEnum):
    """Where a recording stands. Every recording is in exactly one of them."""

    RECEIVED = "received"
    NORMALIZED = "normalized"
    TRANSCRIBED = "transcribed"
    DONE = "done"
    QUARANTINED = "quarantined"
    FAILED = "failed"


PIPELINE = (State.RECEIVED, State.NORMALIZED, State.TRANSCRIBED, State.DONE)
"""The states of a recording without errors, in order. A step to the right is progress. A step back means that work is repeated
because an option changed or an output is missing."""

TERMINAL_STATES = frozenset({State.DONE, State.QUARANTINED, State.FAILED})
"""States that no step changes by itself."""


def _build_transitions() -> frozenset[tuple[State, State]]:
    forward = set(pairwise(PIPELINE))
    back = {(later, earlier) for i, later in enumerate(PIPELINE) for earlier in PIPELINE[:i]}
    out = {(state, end) for state in PIPELINE[:-1] for end in (State.QUARANTINED, State.FAILED)}
    rearm = {(end, State.RECEIVED) for end in (State.QUARANTINED, State.FAILED)}
    return frozenset(forward | back | out | rearm)


TRANSITIONS = _build_transitions()


def check_transition(source: State, target: State) -> None:
    """Raise if this transition is not allowed.

    Raises:
        ValueError: ``target`` may not follow ``source``.
    """
    if (source, target) not in TRANSITIONS:
        raise ValueError(f"A recording never goes from {source} to {target}.")


def has_reached(state: State, target: State) -> bool:
    """Whether a recording in ``state`` has the outputs of ``target`` behind it."""
    return state in PIPELINE and PIPELINE.index(state) >= PIPELINE.index(target)
