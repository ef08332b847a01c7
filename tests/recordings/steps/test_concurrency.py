"""How many recordings a step works on at once in the memory that it has."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from recordings.steps import enriched, normalized
from recordings.steps.concurrency import MemoryGate, plan_concurrency
from recordings.steps.enriched import EnrichOptions
from recordings.steps.normalized import NormalizeOptions
from recordings.steps.report import StepReport
from speech.machine.resources import FreeMemory
from tests.recordings.step_pipeline import StepPipeline

MIB = 2**20
FREE = FreeMemory(1024 * MIB, 100 * MIB, "the limit of the cgroup")


def test_all_that_fits_is_worked_on_at_once() -> None:
    planned = plan_concurrency(4, [25 * MIB] * 9, 100 * MIB, FREE)
    assert (planned.workers, planned.gate.is_limited, planned.decided, planned.warning) == (4, False, None, None)
    planned = plan_concurrency(64, [90 * MIB, 1, 1], 100 * MIB, FREE)
    assert planned.decided is None, "three recordings need no more than they are"


def test_of_the_largest_only_those_that_fit() -> None:
    planned = plan_concurrency(4, [10 * MIB, 60 * MIB, 35 * MIB, 5 * MIB, 20 * MIB], 100 * MIB, FREE)
    assert planned.warning is None
    assert planned.decided == (
        "Memory decides: 2 of the largest recordings at once in place of 4, which would need about 125 MiB; 100 MiB may be used. "
        "100 MiB of 1.0 GiB of memory are free (the limit of the cgroup)."
    )


def test_what_does_not_fit_at_all_is_tried_alone_with_a_warning() -> None:
    planned = plan_concurrency(4, [200 * MIB, 1], 100 * MIB, FREE)
    assert planned.warning is not None
    assert "needs about 200 MiB of memory, and 100 MiB may be used" in planned.warning
    assert plan_concurrency(1, [200 * MIB], 100 * MIB, FREE).decided is None, "one at a time was wanted"


def test_the_gate_lets_in_what_fits_in_the_order_of_arrival() -> None:
    gate, entered, leave = MemoryGate(10), [], {name: threading.Event() for name in "abcd"}
    inside = {name: threading.Event() for name in "abcd"}

    def work(name: str, size: int) -> None:
        with gate.hold(size):
            entered.append(name)
            inside[name].set()
            assert leave[name].wait(10)

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(work, "a", 6), pool.submit(work, "b", 4)]
        assert inside["a"].wait(10)
        assert inside["b"].wait(10)
        running.append(pool.submit(work, "c", 50))  # more than there is
        leave["a"].set()
        running[0].result(10)
        assert not inside["c"].wait(0.05)
        running.append(pool.submit(work, "d", 1))  # would fit, and came later
        assert not inside["d"].wait(0.05)
        leave["b"].set()
        assert inside["c"].wait(10)
        assert not inside["d"].wait(0.05)
        leave["c"].set()
        leave["d"].set()
        for each in running:
            each.result(10)
    assert entered[2:] == ["c", "d"]
    assert gate.most == 2


def test_the_gate_is_free_again_after_an_error() -> None:
    gate = MemoryGate(1)
    with pytest.raises(RuntimeError), gate.hold(5):
        raise RuntimeError
    with gate.hold(5):
        assert gate.most == 1


def test_steps_work_one_by_one_where_memory_allows_one(
    pipeline: StepPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        pipeline.write_silence(name)
    key = pipeline.form_batch()
    pipeline.run(key)
    said: list[str] = []

    def run(free: FreeMemory) -> tuple[StepReport, StepReport]:
        """Other options, so that the steps have something to do."""
        changed = free.free_bytes / 2**40
        return (
            enriched.run(
                pipeline.workspace, key, EnrichOptions(embed_minutes=changed), said.append, workers=8, free=free
            ),
            normalized.run(
                pipeline.workspace, key, NormalizeOptions(max_hours=1 + changed), said.append, workers=8, free=free
            ),
        )

    with caplog.at_level(logging.WARNING, "stt"):
        reports = run(FreeMemory(200 * MIB, int(85 / 0.9 * MIB), "the limit of the cgroup"))
    assert [(report.worked, report.most_at_once) for report in reports] == [(3, 1), (3, 1)]
    for decided in ("1 of the largest recordings at once in place of 3", "1 stereo recording at once in place of 3"):
        assert sum(f"Memory decides: {decided}" in line for line in said) == 1
    assert all("in place of 3" in (report.memory_decided or "") for report in reports)
    assert not caplog.text
    said.clear()
    pipeline.run(key)
    reports = run(FreeMemory(2**40, 2**40, "all of the machine"))
    assert [(report.worked, report.memory_decided) for report in reports] == [(3, None), (3, None)]
    assert not said
