"""The stress test: its table and verdict, and real runs in control groups with and without a limit."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.platform.stress import format_table, make_report, read_stress, run_stress_test
from speech.machine.cgroups import CpuCounters
from speech.models.registry import Weights
from speech.transcript import Options
from tests.benchmarks.results import make_result
from tests.speech.machine.control_group import control_group, run_in

PROJECT = Path(__file__).resolve().parents[3]
AUDIO = PROJECT / "samples" / "lj-printing.mp3"
OFTEN_THROTTLED = CpuCounters(periods=100, throttled=90, throttled_s=8.0)
SELDOM_THROTTLED = CpuCounters(periods=100, throttled=11, throttled_s=0.4)


def test_the_table_and_the_verdict_distinguish_the_cases() -> None:
    single = make_result([100.0] * 5, throttling=SELDOM_THROTTLED)
    fast = make_result([110.0] * 5, throttling=OFTEN_THROTTLED, workers=2)
    slow = make_result([250.0] * 5, throttling=OFTEN_THROTTLED, workers=4)
    report = make_report([single, fast, slow])
    assert [(row.threads, row.verdict, row.confirmed) for row in report.rows] == [
        (1, "clear", False),
        (2, "throttled", False),
        (4, "throttled", True),
    ]
    assert "Throttled with 2 threads" in report.verdict
    assert "takes only 1.10 times as long" in report.verdict
    assert "Throttled with 4 threads: the kernel stopped it in 90 of 100 periods (90%)" in report.verdict
    assert "takes 2.5 times as long" in report.verdict
    assert "| 4 | 250 | 250 | 2.50 | 90 of 100 (90%) | 8.00 | throttled, confirmed by latency |" in format_table(report)
    oversubscribed = make_report([make_result([100.0] * 5), make_result([250.0] * 5, workers=2)])
    assert "Oversubscribed with 2 threads" in oversubscribed.verdict
    assert "no quota is in force" in make_report([make_result(), make_result(workers=2)]).verdict


def run_stress_in(group: Path, output: Path, weights: Weights, *options: str) -> str:
    """Run ``stt stress`` with one thread over a short recording in a control group. Returns its output."""
    arguments = ["stress", "--threads", "1", "--iterations", "1", "--warmup", "0", "--output", str(output)]
    command = [sys.executable, "-m", "stt_orchestration.cli", *arguments, "--audio", str(AUDIO), *options]
    environment = {**os.environ, "STT_MODEL_DIR": str(weights.path)}
    result = run_in(group, command, cwd=PROJECT, env=environment, timeout=200)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_tight_quota_is_found_by_the_counters_of_the_kernel(tmp_path: Path, base_weights: Weights) -> None:
    with control_group(0.3) as group:
        output = run_stress_in(group, tmp_path / "tight.json", base_weights)
    report = read_stress(tmp_path / "tight.json")
    assert report.cpu_limit == 0.3
    (row,) = report.rows
    assert row.verdict == "throttled"
    assert row.throttling is not None
    assert row.throttling.throttled_s > 0
    assert "Throttled with one thread" in output


def test_a_large_quota_and_no_quota_are_clear(tmp_path: Path, base_weights: Weights) -> None:
    with control_group((os.cpu_count() or 1) + 1) as group:
        output = run_stress_in(group, tmp_path / "roomy.json", base_weights, "--unisolated")
    (row,) = read_stress(tmp_path / "roomy.json").rows
    assert row.throttling is not None
    assert row.throttling.periods > 0
    assert (row.throttling.throttled, row.verdict) == (0, "clear")
    assert "Throttled" not in output
    unlimited = run_stress_test(base_weights, Options(), AUDIO, threads=[1], iterations=1, warmup=0, unisolated=True)
    assert unlimited.rows[0].verdict == "clear"
    assert unlimited.verdict.startswith("Clear")
