"""Confidence intervals by bootstrap. Pure, and the same for the same figures: the random numbers have a fixed seed.

The interval shows how much the value would change if the run were repeated immediately. It does not include differences between
days, between machines of one type, or caused by other programs on the host.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
RESAMPLES = 10_000
MIN_SAMPLES = 5
"""Fewer figures than this give no interval: resampling so few again and again makes it far too narrow."""


def compute_mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Interval of the mean; None for fewer than ``MIN_SAMPLES`` values."""
    return _percentile_interval(_means(values, seed=1)) if len(values) >= MIN_SAMPLES else None


def compute_ratio_interval(numerator: Sequence[float], denominator: Sequence[float]) -> tuple[float, float]:
    """Interval of the ratio of two means of independent runs.

    Raises:
        ValueError: One has fewer than ``MIN_SAMPLES`` values.
    """
    if min(len(numerator), len(denominator)) < MIN_SAMPLES:
        raise ValueError(f"an interval needs at least {MIN_SAMPLES} values of each")
    return _percentile_interval(_means(numerator, seed=1) / _means(denominator, seed=2))


def _means(values: Sequence[float], seed: int) -> npt.NDArray[np.float64]:
    drawn = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    means: npt.NDArray[np.float64] = np.asarray(values, np.float64)[drawn].mean(axis=1)
    return means


def _percentile_interval(estimates: npt.NDArray[np.float64]) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2 * 100
    low, high = np.percentile(estimates, (tail, 100 - tail))
    return round(float(low), 6), round(float(high), 6)
