"""Confidence intervals by the bootstrap."""

from __future__ import annotations

import numpy as np

from benchmarks.platform.intervals import compute_ratio_interval


def test_the_interval_contains_the_true_ratio_as_often_as_it_should() -> None:
    random = np.random.default_rng(3)
    contained = 0
    for _ in range(100):
        a, b = random.gamma(100, 1.0, 30), random.gamma(100, 1.7, 30)
        low, high = compute_ratio_interval(list(b), list(a))
        contained += low <= 1.7 <= high
    assert 86 <= contained < 100, "95 of a hundred are expected; four standard deviations are 9"
