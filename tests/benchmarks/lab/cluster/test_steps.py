"""Seconds of launches and runs, read from event logs as GraphQL returns them."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.lab.cluster.steps import ClusterTimings, ImportTiming, parse_run

T0 = 1_795_300_000.0


def make_event(kind: str | None, step: str | None, seconds: float, message: str = "") -> dict[str, Any]:
    event: dict[str, Any] = {"timestamp": f"{(T0 + seconds) * 1000:.0f}", "stepKey": step, "message": message}
    return {**event, "eventType": kind} if kind else event


def make_step(name: str, launched_at: float) -> list[dict[str, Any]]:
    """Events of a step that is at work 2.75 s after its launch."""
    stages = {
        "STEP_WORKER_STARTING": 0.0,
        "STEP_WORKER_STARTED": 1.5,
        "RESOURCE_INIT_STARTED": 2.25,
        "STEP_START": 2.5,
        "ASSET_MATERIALIZATION": 3.4,
        "STEP_SUCCESS": 3.5,
    }
    line = make_event(None, name, launched_at + 2.75, "At work on batch-1.")
    return [*(make_event(kind, name, launched_at + offset) for kind, offset in stages.items()), line]


def make_run(*events: dict[str, Any]) -> dict[str, Any]:
    return {"status": "SUCCESS", "startTime": T0 + 4.0, "events": [make_event("RUN_START", None, 4.0), *events]}


def test_the_stages_of_a_run_are_read() -> None:
    timings = parse_run(make_run(*make_step("raw", 5.0), *make_step("normalized", 9.0)), T0)
    assert [launch.step for launch in timings.launches] == ["raw", "normalized"]
    assert {(launch.reached, launch.loaded, launch.began, launch.at_work) for launch in timings.launches} == {
        (1.5, 2.25, 2.5, 2.75)
    }
    assert timings.queued == 4.0
    assert timings.between == pytest.approx(0.5)  # from 8.5 to 9.0
    assert timings.seconds == pytest.approx(12.4)  # the last output, not the run's end


def test_a_step_with_two_launches_is_refused() -> None:
    with pytest.raises(ValueError, match="2 events 'STEP_SUCCESS' of raw"):
        parse_run(make_run(*make_step("raw", 5.0), *make_step("raw", 9.0)), T0)


def test_the_table_has_both_projects_each_step_and_the_difference() -> None:
    ours = parse_run(make_run(*make_step("raw", 5.0), *make_step("normalized", 9.0)), T0)
    slower_events = [
        {**event, "timestamp": f"{float(event['timestamp']) + 250:.0f}"} for event in make_step("one", 5.0)[1:]
    ]
    theirs = parse_run(make_run(make_step("one", 5.0)[0], *slower_events), T0)
    table = ClusterTimings((ours,), (theirs,), ImportTiming(0.05, 1.5, 1.25, 0.75)).table()
    assert "ours against theirs, medians: -0.25 s" in table
    assert table.splitlines()[1].split() == [
        "theirs",
        "1",
        "1.75",
        "(1.75-1.75)",
        "2.50",
        "(2.50-2.50)",
        "2.75",
        "(2.75-2.75)",
        "3.00",
        "(3.00-3.00)",
    ]
    assert [line.split()[0] for line in table.splitlines()[2:5]] == ["ours", "raw", "normalized"]
