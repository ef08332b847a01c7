"""Seconds of launches and runs, from event logs as GraphQL gives them."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.lab.cluster.steps import ClusterTimings, ImportTiming, parse_run

T0 = 1_795_300_000.0


def event(kind: str | None, step: str | None, at: float, message: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {"timestamp": f"{(T0 + at) * 1000:.0f}", "stepKey": step, "message": message}
    return {**found, "eventType": kind} if kind else found


def step(name: str, launch: float) -> list[dict[str, Any]]:
    """A step that is at work 2.75 s after its launch."""
    stages = {
        "STEP_WORKER_STARTING": 0.0,
        "STEP_WORKER_STARTED": 1.5,
        "RESOURCE_INIT_STARTED": 2.25,
        "STEP_START": 2.5,
        "ASSET_MATERIALIZATION": 3.4,
        "STEP_SUCCESS": 3.5,
    }
    line = event(None, name, launch + 2.75, "At work on batch-1.")
    return [*(event(kind, name, launch + after) for kind, after in stages.items()), line]


def run(*events: dict[str, Any]) -> dict[str, Any]:
    return {"status": "SUCCESS", "startTime": T0 + 4.0, "events": [event("RUN_START", None, 4.0), *events]}


def test_a_run_is_read_stage_by_stage() -> None:
    found = parse_run(run(*step("raw", 5.0), *step("normalized", 9.0)), T0)
    assert [launch.step for launch in found.launches] == ["raw", "normalized"]
    assert {(one.reached, one.loaded, one.began, one.at_work) for one in found.launches} == {(1.5, 2.25, 2.5, 2.75)}
    assert found.queued == 4.0
    assert found.between == pytest.approx(0.5)  # from 8.5 to 9.0
    assert found.seconds == pytest.approx(12.4)  # the last output, not the run's end


def test_a_step_that_was_launched_twice_is_nothing_to_compare_with() -> None:
    with pytest.raises(ValueError, match="2 events 'STEP_SUCCESS' of raw"):
        parse_run(run(*step("raw", 5.0), *step("raw", 9.0)), T0)


def test_the_table_has_both_projects_each_step_and_the_difference() -> None:
    ours = parse_run(run(*step("raw", 5.0), *step("normalized", 9.0)), T0)
    slower = [{**each, "timestamp": f"{float(each['timestamp']) + 250:.0f}"} for each in step("one", 5.0)[1:]]
    theirs = parse_run(run(step("one", 5.0)[0], *slower), T0)
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
