"""Throttling: the verdict over counters, and the real thing in control groups that limit and that do not."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.platform.cgroups import CpuCounters
from benchmarks.platform.stress import format_table, make_report, read_stress, run_stress_test
from benchmarks.platform.throttling import judge_throttling
from speech.models.registry import Weights
from speech.transcript import Options
from tests.benchmarks.results import make_result

PROJECT = Path(__file__).resolve().parents[3]
SPOKEN = PROJECT / "samples" / "lj-printing.mp3"
OFTEN = CpuCounters(periods=100, throttled=90, throttled_s=8.0)
SELDOM = CpuCounters(periods=100, throttled=11, throttled_s=0.4)


@pytest.mark.parametrize(
    ("counters", "slowdown", "verdict"),
    [
        (OFTEN, 1.0, "throttled"),
        (OFTEN, 4.0, "throttled"),
        (SELDOM, 1.9, "clear"),
        (SELDOM, 2.1, "oversubscribed"),
        (None, 1.0, "clear"),
        (None, 4.0, "oversubscribed"),
        (CpuCounters(periods=0, throttled=0, throttled_s=0.0), 1.0, "clear"),
    ],
)
def test_only_the_kernel_s_counters_make_it_throttling(
    counters: CpuCounters | None, slowdown: float, verdict: str
) -> None:
    assert judge_throttling(counters, slowdown) == verdict


def test_the_table_and_the_verdict_tell_the_cases_apart() -> None:
    one = make_result([100.0] * 5, throttling=SELDOM)
    fast = make_result([110.0] * 5, throttling=OFTEN, workers=2)
    slow = make_result([250.0] * 5, throttling=OFTEN, workers=4)
    found = make_report([one, fast, slow])
    assert [(row.threads, row.verdict, row.confirmed) for row in found.rows] == [
        (1, "clear", False),
        (2, "throttled", False),
        (4, "throttled", True),
    ]
    assert "Throttled with 2 threads" in found.verdict
    assert "takes only 1.10 times as long" in found.verdict
    assert "Throttled with 4 threads: the kernel stopped it in 90 of 100 periods (90%)" in found.verdict
    assert "takes 2.5 times as long" in found.verdict
    assert "| 4 | 250 | 250 | 2.50 | 90 of 100 (90%) | 8.00 | throttled, confirmed by latency |" in format_table(found)
    waiting = make_report([make_result([100.0] * 5), make_result([250.0] * 5, workers=2)])
    assert "Oversubscribed with 2 threads" in waiting.verdict
    assert "no quota is in force" in make_report([make_result(), make_result(workers=2)]).verdict


@contextmanager
def group(cpus: float) -> Iterator[Path]:
    """A real control group with a CPU quota; skips where this process may not make one."""
    old, new = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
    parent = old if (old / "cpu.cfs_quota_us").exists() or (old / "cgroup.procs").exists() else new
    if parent == new and not (new / "cgroup.controllers").exists():
        pytest.skip("needs control groups; this system has none")
    made_ = parent / f"stt-test-{secrets.token_hex(4)}"
    try:
        made_.mkdir()
    except OSError as error:
        pytest.skip(f"needs the right to make a control group: {error}")
    try:
        try:
            if parent == old:
                (made_ / "cpu.cfs_quota_us").write_text(str(int(cpus * 100_000)))
            else:
                (made_ / "cpu.max").write_text(f"{int(cpus * 100_000)} 100000")
        except OSError as error:
            pytest.skip(f"needs the CPU controller for new control groups: {error}")
        yield made_
    finally:
        made_.rmdir()


def stress_in(where: Path, output: Path, weights: Weights, *options: str) -> str:
    """Run ``stt stress`` with one thread over a short recording, in a control group from its first instruction on."""
    arguments = ["stress", "--threads", "1", "--iterations", "1", "--warmup", "0", "--output", str(output)]
    command = [sys.executable, "-m", "stt_orchestration.cli", *arguments, "--audio", str(SPOKEN), *options]
    done = subprocess.run(
        command,
        cwd=PROJECT,
        env={**os.environ, "STT_MODEL_DIR": str(weights.path)},
        preexec_fn=lambda: (where / "cgroup.procs").write_text(
            str(os.getpid())
        ),  # the group must hold all of the process
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_tight_quota_is_found_by_what_the_kernel_counted(tmp_path: Path, base_weights: Weights) -> None:
    with group(0.3) as tight:
        told = stress_in(tight, tmp_path / "tight.json", base_weights)
    found = read_stress(tmp_path / "tight.json")
    assert found.cpu_limit == 0.3
    (row,) = found.rows
    assert row.verdict == "throttled"
    assert row.throttling is not None
    assert row.throttling.throttled_s > 0
    assert "Throttled with one thread" in told


def test_a_roomy_quota_and_none_are_silent(tmp_path: Path, base_weights: Weights) -> None:
    with group((os.cpu_count() or 1) + 1) as roomy:
        told = stress_in(roomy, tmp_path / "roomy.json", base_weights, "--unisolated")
    (row,) = read_stress(tmp_path / "roomy.json").rows
    assert row.throttling is not None
    assert row.throttling.periods > 0
    assert (row.throttling.throttled, row.verdict) == (0, "clear")
    assert "Throttled" not in told
    free = run_stress_test(base_weights, Options(), SPOKEN, threads=[1], iterations=1, warmup=0, unisolated=True)
    assert free.rows[0].verdict == "clear"
    assert free.verdict.startswith("Clear")
