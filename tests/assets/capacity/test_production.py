"""The cost of a run compared with the prediction from the benchmark of its machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from assets.capacity.production import COST_AS_PREDICTED, MAX_DRIFT, check_cost
from benchmarks.platform.result import write_result
from recordings.ledger.runs import StepRun
from recordings.steps.report import StepReport
from tests.assets.capacity.flow import NOISE
from tests.benchmarks.results import make_result
from tests.stt_orchestration.conftest import Installation


@pytest.mark.parametrize(("factor", "passes"), [(1.0, True), (1.0 + MAX_DRIFT / 2, True), (2.0, False), (0.4, False)])
def test_the_cost_of_a_run_is_compared_with_the_benchmark_of_its_machine(
    factor: float, passes: bool, installation: Installation, capacity_folder: Path
) -> None:
    from benchmarks.platform.machine import describe_machine
    from speech.machine.host import Host

    machine_ids = describe_machine(Host.here()).ids or pytest.skip(
        "this machine has no identity to find its benchmark by"
    )
    result = make_result(NOISE, ids=machine_ids)
    write_result(result, capacity_folder / "here_base_2024-12-02.json")
    cost = result.avg_latency_ms / 1000 / result.details.audio.seconds
    wall = 1000.0 * cost * factor / 2
    options = result.details.options.model_dump()
    run = StepRun("transcript", "b", 1.0, 10, 1000.0, wall, 2, result.details.weights.sha256, options)
    installation.workspace.ledger.record_run(run)
    assert installation.workspace.ledger.list_runs("transcript", 5) == [run]
    verdict = check_cost(
        installation.workspace, StepReport("transcript", "b", (), 10, 1000.0, wall), capacity_folder, wall
    )
    assert verdict.check == COST_AS_PREDICTED
    assert verdict.passed is passes
    assert verdict.figures["drift"] == pytest.approx(factor - 1, abs=1e-3)
    assert "It had its cores for 50% of that time" in verdict.sentence
    all_cores = check_cost(
        installation.workspace, StepReport("transcript", "b", (), 10, 1000.0, wall), capacity_folder, 2 * wall
    )
    assert "had its cores" not in all_cores.sentence
    without_run = check_cost(
        installation.workspace, StepReport("transcript", "other", (), 10, 1000.0, wall), capacity_folder, wall
    )
    assert without_run.passed
    assert not without_run.figures
