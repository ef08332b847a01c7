"""Pods for a service: the target is met at every load, with the uncertainty of the measurement."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.files import RefusedError
from benchmarks.sizing.basis import Basis, load_basis
from benchmarks.sizing.prices import Prices
from benchmarks.sizing.service import (
    MAX_UTILIZATION,
    Target,
    is_within_target,
    predict_at_load,
    size_fleet,
)
from tests.benchmarks.results import make_result
from tests.benchmarks.sizing.conftest import NOISE


def test_the_sized_pods_meet_the_target_and_far_fewer_do_not(basis: Basis) -> None:
    target = Target(10.0, p95_s=8.0)
    size = size_fleet(basis, target, 2)
    slow = basis.service_s(target.variation, basis.high)
    assert is_within_target(predict_at_load(slow, 2, size.pods, target.rps * 1.1, "service"), target)
    assert not is_within_target(predict_at_load(slow, 2, size.pods * 3 // 4, target.rps * 1.1, "service"), target)
    assert size.pods_interval[0] <= size.pods_mean <= size.pods
    assert size.least <= size.pods <= size.most
    assert size.expected.p95_s < size.worst.p95_s <= 8.0


def test_the_autoscaler_stays_within_the_target_at_every_load_between_its_limits(basis: Basis) -> None:
    target = Target(10.0, p95_s=8.0, dispatch="queue")
    size = size_fleet(basis, target, 1)
    for pods in range(size.least, size.most + 1, 7):
        rate = pods * size.hpa_percent / 100 / basis.mean_s
        assert is_within_target(predict_at_load(basis.service_s(target.variation), 1, pods, rate, "queue"), target)


def test_a_common_queue_needs_fewer_pods_than_random_dispatch(basis: Basis) -> None:
    separate, pooled = (
        size_fleet(basis, Target(10.0, p95_s=8.0, dispatch=dispatch), 1).pods for dispatch in ("service", "queue")
    )
    assert pooled < separate


def test_without_a_target_latency_pods_stay_below_the_maximum_utilization(basis: Basis) -> None:
    size = size_fleet(basis, Target(10.0), 1)
    assert size.worst.utilization <= MAX_UTILIZATION
    assert size.pods >= math.ceil(10 * basis.mean_s / MAX_UTILIZATION)


def test_an_uncertain_measurement_gives_a_wider_interval_of_pods() -> None:
    noisy = [2400.0 + 1500 * math.sin(i) for i in range(10)]
    certain, uncertain = (load_basis(Path("x_base.json"), make_result(values), None) for values in (NOISE, noisy))
    low, high = size_fleet(uncertain, Target(10.0, p95_s=10.0), 1).pods_interval
    lower, higher = size_fleet(certain, Target(10.0, p95_s=10.0), 1).pods_interval
    assert high - low > 2 * (higher - lower)


BAD_REQUESTS: dict[str, tuple[Callable[[Basis, Prices], object], str]] = {
    "negative load": (lambda b, p: Target(-1.0), "-1 is not possible for the load"),
    "more requests than there are": (lambda b, p: Target(1e300), "1e.300 is not possible for the load"),
    "a peak of a billion": (lambda b, p: Target(1.0, peak=1e9), "1e.09 is not possible for the peak"),
    "more pods than a cluster has": (lambda b, p: size_fleet(b, Target(5e5), 1), "More than 100,000 pods"),
    "no number": (lambda b, p: Target(math.nan), "nan is not possible"),
    "target below the service time": (lambda b, p: size_fleet(b, Target(1.0, p95_s=2.0), 1), "out of reach"),
    "mean below the service time": (lambda b, p: size_fleet(b, Target(1.0, mean_s=2.0), 1), "out of reach"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_a_bad_request_is_refused_with_one_sentence(case: str, basis: Basis, prices: Prices) -> None:
    request, sentence = BAD_REQUESTS[case]
    with pytest.raises(RefusedError, match=sentence.replace("(", r"\(")):
        request(basis, prices)
