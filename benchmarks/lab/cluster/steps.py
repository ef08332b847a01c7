"""From event logs to seconds: how long a step's launch takes and where, and how long a run. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, median
from typing import Any

Event = Mapping[str, Any]

LAUNCHED = "STEP_WORKER_STARTING"
"""The executor writes it right before it asks for the Job."""

FIRST_LINE = "At work"
"""What the assets of both projects log before anything else."""

_STAGES = ("STEP_WORKER_STARTED", "RESOURCE_INIT_STARTED", "STEP_START")
_NAMES = ("process at work", "project loaded", "resources made", "first line")


@dataclass(frozen=True, slots=True)
class LaunchTiming:
    """Seconds of one step, all from the moment when its Job was asked for.

    Attributes:
        step: Its key.
        reached: Until its process had imported Dagster and noted its start in the database.
        loaded: Until the project was loaded and the step's plan made.
        began: Until its resources were made.
        at_work: Until the first line of the asset's code, which logs it.
    """

    step: str
    reached: float
    loaded: float
    began: float
    at_work: float


@dataclass(frozen=True, slots=True)
class RunTiming:
    """One run, in seconds.

    Attributes:
        launches: Of its steps, in their order.
        seconds: From the tick that saw the upload (ours) or the request (theirs) until the last step's output was noted.
        queued: Of these, until the run's own process was at work on it.
        between: Of these, all the time from a step's end to the next one's launch.
    """

    launches: tuple[LaunchTiming, ...]
    seconds: float
    queued: float
    between: float


@dataclass(frozen=True, slots=True)
class ImportTiming:
    """Seconds of processes that only import, in a pod of the same image, without Python's own start where it is not named.

    Attributes:
        python: An interpreter that does nothing.
        dagster: The command that a step's pod runs.
        theirs: What the trivial project adds to it.
        ours: What ours adds to it.
    """

    python: float
    dagster: float
    theirs: float
    ours: float


def parse_run(graphql_run: Mapping[str, Any], since: float) -> RunTiming:
    """A run from its times and events.

    Args:
        graphql_run: ``status``, ``startTime`` and ``events`` of GraphQL. Every asset logs ``FIRST_LINE`` and more first of all.
        since: When it was seen or asked for, seconds since 1970.

    Raises:
        ValueError: A step was launched more than once, or an event is missing: nothing to compare with.
    """
    events: Sequence[Event] = graphql_run["events"]
    steps = list(dict.fromkeys(str(event["stepKey"]) for event in events if event.get("eventType") == LAUNCHED))
    ends = [_only(events, "STEP_SUCCESS", step) for step in steps]
    starts = [_only(events, LAUNCHED, step) for step in steps]
    outputs = [_at(event) for event in events if event.get("eventType") == "ASSET_MATERIALIZATION"]
    return RunTiming(
        launches=tuple(
            LaunchTiming(step, *(round(_only(events, stage, step) - start, 3) for stage in (*_STAGES, FIRST_LINE)))
            for step, start in zip(steps, starts, strict=True)
        ),
        seconds=round(max(outputs) - since, 3),
        queued=round(float(graphql_run["startTime"]) - since, 3),
        between=round(sum(start - end for start, end in zip(starts[1:], ends[:-1], strict=True)), 3),
    )


def _only(events: Iterable[Event], event_type: str, step: str) -> float:
    of_step = (event for event in events if event.get("stepKey") == step)
    times = [
        _at(event)
        for event in of_step
        if event_type == event.get("eventType") or str(event.get("message")).startswith(event_type)
    ]
    if len(times) != 1:
        raise ValueError(f"The run has {len(times)} events {event_type!r} of {step}, and not one.")
    return times[0]


def _at(event: Event) -> float:
    return float(event["timestamp"]) / 1000  # GraphQL gives milliseconds since 1970, as text


@dataclass(frozen=True, slots=True)
class ClusterTimings:
    """Runs of both, and what imports cost."""

    ours: tuple[RunTiming, ...]
    theirs: tuple[RunTiming, ...]
    imports: ImportTiming

    def as_json(self) -> dict[str, Any]:
        """Every figure."""
        return asdict(self)

    def table(self) -> str:
        """For a terminal."""
        our_launches, their_launches = (
            [launch for run in runs for launch in run.launches] for runs in (self.ours, self.theirs)
        )
        steps = dict.fromkeys(launch.step for launch in our_launches)
        rows = [("theirs", their_launches), ("ours", our_launches)]
        rows += [(f"  {step}", [launch for launch in our_launches if launch.step == step]) for step in steps]
        difference = median(launch.at_work for launch in our_launches) - median(
            launch.at_work for launch in their_launches
        )
        imports = (
            f"imports in a pod: Python {self.imports.python:.2f} s, dagster's command {self.imports.dagster:.2f} s more; on top of "
            f"that their project {self.imports.theirs:.2f} s, ours {self.imports.ours:.2f} s"
        )
        return "\n".join(
            [
                f"{'seconds from launch until':26}{'n':>4}" + "".join(f"{name:>19}" for name in _NAMES),
                *(_launches(name, launches) for name, launches in rows),
                f"ours against theirs, medians: {difference:+.2f} s",
                imports,
                _runs("a run of theirs, from the request", self.theirs),
                _runs("a run of ours, from the sensor's tick", self.ours),
            ]
        )


def _launches(name: str, launches: Sequence[LaunchTiming]) -> str:
    stages = zip(*((launch.reached, launch.loaded, launch.began, launch.at_work) for launch in launches), strict=True)
    return f"{name:26}{len(launches):4}" + "".join(f"{_spread(values):>19}" for values in stages)


def _runs(name: str, runs: Sequence[RunTiming]) -> str:
    launching = mean(sum(launch.at_work for launch in run.launches) for run in runs)
    return (
        f"{name} to its outputs: {_spread([run.seconds for run in runs])} s; on average {mean(run.queued for run in runs):.1f} s "
        f"until its process is at work, {launching:.1f} s launching steps, {mean(run.between for run in runs):.1f} s between them"
    )


def _spread(values: Sequence[float], digits: int = 2) -> str:
    """Median, least and most."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"
