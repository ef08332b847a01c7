"""Throttling: the verdict from counters and slowdown."""

from __future__ import annotations

import pytest

from benchmarks.platform.throttling import judge_throttling
from speech.machine.cgroups import CpuCounters

OFTEN_THROTTLED = CpuCounters(periods=100, throttled=90, throttled_s=8.0)
SELDOM_THROTTLED = CpuCounters(periods=100, throttled=11, throttled_s=0.4)


@pytest.mark.parametrize(
    ("counters", "slowdown", "verdict"),
    [
        (OFTEN_THROTTLED, 1.0, "throttled"),
        (OFTEN_THROTTLED, 4.0, "throttled"),
        (SELDOM_THROTTLED, 1.9, "clear"),
        (SELDOM_THROTTLED, 2.1, "oversubscribed"),
        (None, 1.0, "clear"),
        (None, 4.0, "oversubscribed"),
        (CpuCounters(periods=0, throttled=0, throttled_s=0.0), 1.0, "clear"),
    ],
)
def test_only_counters_of_the_kernel_prove_throttling(
    counters: CpuCounters | None, slowdown: float, verdict: str
) -> None:
    assert judge_throttling(counters, slowdown) == verdict
