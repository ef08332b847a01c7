"""What a sizing rests on: service times on the target platform, measured there, or elsewhere and carried over by a ratio."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from benchmarks.files import RefusedError
from benchmarks.platform.ratio import Ratio, RatioConfig
from benchmarks.platform.result import BenchmarkResult
from benchmarks.platform.trust import check_ratios, check_result
from benchmarks.queueing.model import Array

_QUANTILES = 64


@dataclass(frozen=True, slots=True)
class Basis:
    """Service times of one core of the target, and how sure they are.

    Attributes:
        platform: The target's name.
        processor: Of the target.
        model: Its name.
        latencies_s: Measured, on the target's scale, seconds.
        audio_s: Seconds of audio in a request.
        low: Lower end of the 95 % interval of the mean service time, as a share of it.
        high: Upper end.
        memory_mb: Peak of the process with one worker, MiB.
        rests_on: Sentences: every measurement.
        doubts: Sentences: reasons why the measurement is not good enough to order hardware; empty for a sound one.
    """

    platform: str
    processor: str
    model: str
    latencies_s: tuple[float, ...]
    audio_s: float
    low: float
    high: float
    memory_mb: float
    rests_on: tuple[str, ...]
    doubts: tuple[str, ...]

    @property
    def mean_s(self) -> float:
        """Mean service time, seconds."""
        return float(np.mean(self.latencies_s))

    def service_s(self, variation: float, scale: float = 1.0) -> Array:
        """Service times of requests that differ from each other, seconds.

        A benchmark repeats one recording; real requests differ. The latencies are spread by a lognormal factor of mean 1 with that
        coefficient of variation, as ``_QUANTILES`` equally likely values.
        """
        measured = np.asarray(self.latencies_s) * scale
        if variation == 0:
            return measured
        sigma = math.sqrt(math.log(1 + variation**2))
        probabilities = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
        factors = np.exp(sigma * np.array([NormalDist().inv_cdf(float(probability)) for probability in probabilities]))
        spread: Array = np.outer(measured, factors / factors.mean()).ravel()
        return spread


def load_basis(path: Path, result: BenchmarkResult, ratio: RatioConfig | None) -> Basis:
    """The basis that a result gives, on its own platform or, by a ratio, on another.

    Args:
        path: The result's file; its stem is the platform's name.
        result: What was measured.
        ratio: From the result's platform to the target; None sizes for the platform the result comes from.

    Raises:
        RefusedError: The result is not of one worker on one CPU, has no interval, or the ratio starts elsewhere.
    """
    name, details = path.stem, result.details
    if result.cpu_limit != 1 or details.workers != 1:
        raise RefusedError(
            f"{name} was measured on {result.cpu_limit:g} CPUs with {details.workers} workers; a sizing needs one of each. Run "
            "`stt benchmark` under one CPU."
        )
    if details.mean_interval_ms is None:
        raise RefusedError(
            f"{name} has {result.iterations} iterations, too few to know how sure the mean is; run `stt benchmark` again."
        )
    mean = result.avg_latency_ms
    low, high = (end / mean for end in details.mean_interval_ms)
    measured = (
        f"{name}: {result.iterations} iterations of {details.audio.name} ({details.audio.seconds:.1f} s) by {result.model_size} on "
        f"one CPU of {result.cpu_model} ({result.architecture}), {result.timestamp}: mean {mean:.0f} ms "
        f"({details.mean_interval_ms[0]:.0f} to {details.mean_interval_ms[1]:.0f}); isolation: "
        f"{'; '.join(details.isolation.how) or 'none'}."
    )
    rests_on = [measured]
    doubts = [f"{name}: {finding.sentence}" for finding in check_result(result) if not finding.passed]
    scale, platform, processor = 1.0, name, result.cpu_model
    if ratio is not None:
        chosen = _select_ratio(name, result, ratio)
        scale, platform, processor = chosen.ratio, chosen.b.platform, chosen.b.cpu_model
        # Independent errors of a product: their logarithms add in quadrature.
        spread_low = math.hypot(math.log(low), math.log(chosen.interval[0] / chosen.ratio))
        spread_high = math.hypot(math.log(high), math.log(chosen.interval[1] / chosen.ratio))
        low, high = math.exp(-spread_low), math.exp(spread_high)
        rests_on.append(
            f"The ratio from {chosen.a.platform} to {chosen.b.platform} ({chosen.b.cpu_model}), measured with {chosen.model_size}: "
            f"{chosen.ratio:.3f} ({chosen.interval[0]:.3f} to {chosen.interval[1]:.3f})."
        )
        if chosen.weights_sha256 != details.weights.sha256:
            doubts.append(
                f"{result.model_size} was never measured on {platform}: that its ratio is the one of {chosen.model_size} "
                "is assumed."
            )
        certainty = check_ratios([chosen], ())
        if not certainty.passed:
            doubts.append(certainty.sentence)
    latencies = tuple(value / 1000 * scale for value in details.latencies_ms)
    audio = details.audio.seconds
    return Basis(
        platform,
        processor,
        result.model_size,
        latencies,
        audio,
        low,
        high,
        result.memory_mb,
        tuple(rests_on),
        tuple(doubts),
    )


def _select_ratio(name: str, result: BenchmarkResult, config: RatioConfig) -> Ratio:
    of_processor = [ratio for ratio in config.ratios if (ratio.a.cpu_model, ratio.a.architecture) == _processor(result)]
    if not of_processor:
        starts = ", ".join(sorted({f"{ratio.a.platform} ({ratio.a.cpu_model})" for ratio in config.ratios}))
        raise RefusedError(f"The ratio starts at {starts}, but {name} was measured on {result.cpu_model}.")
    of_weights = [ratio for ratio in of_processor if ratio.weights_sha256 == result.details.weights.sha256]
    return (of_weights or of_processor)[0]


def _processor(result: BenchmarkResult) -> tuple[str, Any]:
    return result.cpu_model, result.architecture
