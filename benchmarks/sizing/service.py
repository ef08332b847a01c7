"""Sizing a service: how many pods answer so many requests a second within a target latency, and at which load to add one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from benchmarks.files import RefusedError
from benchmarks.queueing.model import Array, OverloadedError, ResponseTimes, predict_response
from benchmarks.sizing.basis import Basis

HPA_TOLERANCE = 0.1
"""The autoscaler does nothing until utilization is a tenth above its target (Kubernetes' default)."""

MAX_UTILIZATION = 0.8
"""Success criterion of the speech service's requirement: average CPU utilization below 80 %."""

MAX_PODS = 100_000
"""No cluster has more (Kubernetes is built for 150,000 pods on 5,000 nodes)."""

Dispatch = Literal["service", "queue"]


class TooManyPodsError(RefusedError):
    """More pods than a cluster has; larger ones may do."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the service has to do.

    Attributes:
        rps: Requests a second, on average, in the hours it is sized for.
        p95_s: 95th percentile of the response time at most, seconds; None asks nothing.
        mean_s: Its mean at most.
        variation: Coefficient of variation of service times from request to request.
        dispatch: ``service``: a Kubernetes Service gives each request to a pod by chance, and it waits there. ``queue``: pods take
            requests from one line as they become free.
        peak: Load at the worst over ``rps``: what the autoscaler may grow to.
        trough: Load in quiet hours over ``rps``: what it may shrink to.
        least_pods: Never fewer, for availability.
    """

    rps: float
    p95_s: float | None = None
    mean_s: float | None = None
    variation: float = 0.5
    dispatch: Dispatch = "service"
    peak: float = 2.0
    trough: float = 0.25
    least_pods: int = 2

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("the load", self.rps, 1e-6 <= self.rps <= 1e6),
            ("the target for the 95th percentile", self.p95_s, self.p95_s is None or 0 < self.p95_s < math.inf),
            ("the target for the mean", self.mean_s, self.mean_s is None or 0 < self.mean_s < math.inf),
            ("the variation", self.variation, 0 <= self.variation <= 5),
            ("the peak", self.peak, 1 <= self.peak <= 1000),
            ("the trough", self.trough, 0.001 <= self.trough <= 1),
            ("the least number of pods", self.least_pods, self.least_pods >= 1),
        ):
            if not allowed:
                raise RefusedError(f"{value:g} is not possible for {name}; nothing was sized.")


@dataclass(frozen=True, slots=True)
class Fleet:
    """Pods of one size for a target.

    Attributes:
        cpus: Cores of a pod, each with a worker of its own.
        memory_mib: Of a pod; requests equal limits.
        pods: To order, for the slow end of the interval.
        pods_interval: At the fast end, at the slow end; the uncertainty of the measurement.
        pods_mean: At the measured mean.
        hpa_percent: CPU utilization that the autoscaler holds.
        least, most: Replicas between which it moves.
        expected: Response times of these pods at the target load, at the measured mean.
        worst: The same at the slow end of the interval.
    """

    cpus: int
    memory_mib: int
    pods: int
    pods_interval: tuple[int, int]
    pods_mean: int
    hpa_percent: int
    least: int
    most: int
    expected: ResponseTimes
    worst: ResponseTimes


def compute_memory_mib(measured_mb: float, workers: int) -> int:
    """Memory of a pod: the measured peak for each worker and a quarter more, in steps of 64 MiB.

    Workers of one process share the weights. That is ignored, because the memory of several workers was not measured. So the figure
    may be too high, but never too low.
    """
    return math.ceil(measured_mb * workers * 1.25 / 64) * 64


def size_fleet(basis: Basis, target: Target, cpus: int) -> Fleet:
    """The pods of a size that meet a target.

    Raises:
        RefusedError: No number of pods meets it.
    """
    _require_reachable(basis, target)
    low, mean, high = (basis.service_s(target.variation, scale) for scale in (basis.low, 1.0, basis.high))
    # The autoscaler lets the load grow by its tolerance before it acts, so the target must hold there too.
    with_tolerance = target.rps * (1 + HPA_TOLERANCE)
    ordered = [_size_pods(sample, cpus, with_tolerance, target) for sample in (low, mean, high)]
    pods, percent, least = ordered[2]
    at_peak = find_min_pods(high, cpus, with_tolerance * target.peak, target)
    most = max(pods, at_peak, _count_autoscaled_pods(high, cpus, target.rps * target.peak, percent))
    return Fleet(
        cpus=cpus,
        memory_mib=compute_memory_mib(basis.memory_mb, cpus),
        pods=pods,
        pods_interval=(ordered[0][0], pods),
        pods_mean=ordered[1][0],
        hpa_percent=percent,
        least=least,
        most=most,
        expected=predict_at_load(mean, cpus, pods, target.rps, target.dispatch),
        worst=predict_at_load(high, cpus, pods, target.rps, target.dispatch),
    )


def _size_pods(service: Array, cpus: int, rps: float, target: Target) -> tuple[int, int, int]:
    """Pods for a load, the utilization in percent at which the autoscaler is to hold them, and how few it may keep."""
    few = max(target.least_pods, find_min_pods(service, cpus, rps * target.trough, target))
    percent = max(1, math.floor(100 * _find_max_utilization(service, cpus, few, target) / (1 + HPA_TOLERANCE)))
    pods = max(
        target.least_pods,
        find_min_pods(service, cpus, rps, target),
        _count_autoscaled_pods(service, cpus, target.rps, percent),
    )
    return pods, percent, few


def _count_autoscaled_pods(service: Array, cpus: int, rps: float, percent: int) -> int:
    """Pods that the autoscaler comes to."""
    return math.ceil(rps * float(service.mean()) / (cpus * percent / 100))


def predict_at_load(service: Array, cpus: int, pods: int, rps: float, dispatch: Dispatch) -> ResponseTimes:
    """Response times of so many pods at a load.

    Raises:
        OverloadedError: They cannot keep up.
    """
    return (
        predict_response(service, cpus * pods, rps)
        if dispatch == "queue"
        else predict_response(service, cpus, rps / pods)
    )


def is_within_target(times: ResponseTimes, target: Target) -> bool:
    """Whether response times are within the target, and pods not busier than they may be."""
    return (
        times.utilization <= MAX_UTILIZATION
        and (target.p95_s is None or times.p95_s <= target.p95_s)
        and (target.mean_s is None or times.mean_s <= target.mean_s)
    )


def find_min_pods(service: Array, cpus: int, rps: float, target: Target) -> int:
    """The fewest pods that meet the target at a load.

    Raises:
        TooManyPodsError: There would be more than a hundred thousand.
    """

    def enough(pods: int) -> bool:
        try:
            return is_within_target(predict_at_load(service, cpus, pods, rps, target.dispatch), target)
        except OverloadedError:
            return False

    return _find_first(enough, max(1, math.ceil(rps * float(service.mean()) / cpus / MAX_UTILIZATION)))


def _find_first(enough: Callable[[int], bool], start: int) -> int:
    high = start
    while high > MAX_PODS or not enough(high):
        if high > MAX_PODS:
            raise TooManyPodsError(
                f"More than {MAX_PODS:,} pods would be needed. Size a part of the load, or take larger pods."
            )
        high *= 2
    low = max(start - 1, high // 2)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _find_max_utilization(service: Array, cpus: int, pods: int, target: Target) -> float:
    """The highest utilization at which so many pods still meet the target."""
    low, high = 0.0, MAX_UTILIZATION
    for _ in range(12):
        middle = (low + high) / 2
        rate = middle * cpus * pods / float(service.mean())
        low, high = (
            (middle, high)
            if is_within_target(predict_at_load(service, cpus, pods, rate, target.dispatch), target)
            else (low, middle)
        )
    return high if low == 0 else low


def _require_reachable(basis: Basis, target: Target) -> None:
    """Refuse targets that no number of pods can meet: requests that take longer than the target even without waiting."""
    import numpy as np

    slow = basis.service_s(target.variation, basis.high)
    for name, target_s, service_s in (
        ("95th percentile", target.p95_s, float(np.quantile(slow, 0.95))),
        ("mean", target.mean_s, float(slow.mean())),
    ):
        if target_s is not None and target_s <= service_s:
            raise RefusedError(
                f"A {name} of {target_s:g} s is out of reach: a request of {basis.audio_s:.0f} s of audio takes {service_s:.2f} s "
                f"on one core of {basis.platform} with nothing in line ({name}, upper end of the interval), and more pods make "
                "no request faster. Take a faster core or a smaller model, or allow more time."
            )
