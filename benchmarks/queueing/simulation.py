"""Simulates the same queue request by request; the only error is sampling error. The model is checked against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_T_95 = 1.96  # normal quantile; there are at least 20 replications


@dataclass(frozen=True, slots=True)
class Simulated:
    """A figure for the mean and one for the 95th percentile of the response time, seconds, each with half of its 95 % interval."""

    mean_s: float
    mean_half: float
    p95_s: float
    p95_half: float


def simulate_steady_state(
    service_s: Sequence[float] | Array,
    servers: int,
    rate: float,
    *,
    requests: int = 20_000,
    replications: int = 40,
    seed: int = 0,
) -> Simulated:
    """Simulate many independent replications and average them.

    Args:
        service_s: The service times to draw from, seconds.
        servers: How many requests are served at the same time.
        rate: Requests a second.
        requests: Of each replication; the first quarter warms up and is not counted.
        replications: How many; their spread gives the intervals.
        seed: Of the random numbers.
    """
    random = np.random.default_rng(seed)
    sample = np.asarray(service_s, np.float64)
    gaps = random.exponential(1 / rate, (requests, replications))
    services = random.choice(sample, (requests, replications))
    responses = _simulate(gaps, services, servers)[requests // 4 :]
    means, tails = responses.mean(axis=0), np.quantile(responses, 0.95, axis=0)
    half = _T_95 / np.sqrt(replications)
    return Simulated(
        float(means.mean()), float(half * means.std(ddof=1)), float(tails.mean()), float(half * tails.std(ddof=1))
    )


def replay(arrivals_s: Array, services_s: Array, servers: int) -> Array:
    """Response times of requests that came at these times.

    Args:
        arrivals_s: Times of arrival in order, shape (requests,), seconds.
        services_s: What each takes, shape (requests, variants): the variants are played side by side.
        servers: How many are served at the same time.

    Returns:
        Response times, shape (requests, variants), seconds.
    """
    gaps = np.diff(arrivals_s, prepend=arrivals_s[:1])
    return _simulate(np.broadcast_to(gaps[:, None], services_s.shape), services_s, servers)


def _simulate(gaps: Array, services: Array, servers: int) -> Array:
    """Kiefer and Wolfowitz's recursion: what each server has still to do, at each arrival, the least loaded first."""
    requests, replications = services.shape
    work_left = np.zeros((replications, servers))
    responses = np.empty_like(services)
    for i in range(requests):
        np.maximum(work_left - gaps[i][:, None], 0.0, out=work_left)
        responses[i] = work_left[:, 0] + services[i]
        work_left[:, 0] = responses[i]
        if servers > 1:
            work_left.sort(axis=1)
    return responses
