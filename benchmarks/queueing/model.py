"""Response times of a service with random arrivals: the queue M/G/c with the measured service times as they are.

Requests arrive at random (Poisson), wait in one line in the order they came, and are served by the first of ``servers`` that is
free. The waiting time is the approximation of Tijms, van Hoorn and Federgruen (Approximations for the steady-state probabilities
in the M/G/c queue, Advances in Applied Probability 13, 1981; also Tijms, A First Course in Stochastic Models, Wiley 2003, section
9.6): a request waits with Erlang's delay probability; who waits, waits for the first of the ``servers`` residual service times to
end, and then for a geometric number of residual service times of one server that works as fast as all together. It is exact for
one server with any service times (Pollaczek and Khinchine) and for any number of servers with exponential ones. The distribution is
computed from the measured sample on a lattice by Fourier transform, so a percentile needs no further assumption.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_POINTS = 2**13
_TAIL = 16.0
"""The lattice reaches so many mean waits of a request that waits (exp(-16) = 1e-7 lies beyond)."""


class OverloadedError(ValueError):
    """More work arrives than the servers can do: there is no steady state, and the line grows for ever."""


@dataclass(frozen=True, slots=True)
class ResponseTimes:
    """What a request sees.

    Attributes:
        utilization: Share of the time a server is busy, 0 to 1.
        waits: Probability that a request has to wait.
        mean_wait_s: Mean time in line, seconds.
        mean_s: Mean response time (line and service), seconds.
        p95_s: Its 95th percentile, seconds.
    """

    utilization: float
    waits: float
    mean_wait_s: float
    mean_s: float
    p95_s: float


def predict_response(service_s: Sequence[float] | Array, servers: int, rate: float) -> ResponseTimes:
    """Response times at a load.

    Args:
        service_s: Measured service times, seconds; each counts as likely as any other.
        servers: How many requests are served at the same time.
        rate: Requests a second, above 0.

    Raises:
        OverloadedError: The servers cannot keep up.
        ValueError: No service times, or an impossible number.
    """
    sample = np.sort(np.asarray(service_s, np.float64))
    if not len(sample) or sample[0] <= 0 or not np.isfinite(sample[-1]):
        raise ValueError("Service times must be finite numbers above 0, and at least one.")
    if servers < 1 or not rate > 0:
        raise ValueError(f"{servers} servers and {rate} requests a second make no queue.")
    mean = float(sample.mean())
    busy = rate * mean / servers
    if busy >= 1:
        raise OverloadedError(
            f"{rate:g} requests a second of {mean:.3g} s each are {rate * mean:.3g} s of work a second, more than {servers} can do."
        )
    waits = erlang_c(servers, rate * mean)
    residual_mean = float((sample**2).mean()) / (2 * mean)
    reach = _TAIL * (residual_mean / servers) / (1 - busy) + 4 * sample[-1]
    step = reach / _POINTS
    edges = (np.arange(_POINTS) + 0.5) * step
    first_residual = _masses(1 - (1 - _residual_cdf(sample, edges)) ** servers)
    shared_residual = _masses(_residual_cdf(sample, edges * servers))
    transform = np.fft.rfft
    wait = waits * transform(first_residual) * (1 - busy) / (1 - busy * transform(shared_residual)) + (1 - waits)
    masses = np.fft.irfft(wait * transform(_split(sample, step)), _POINTS)
    wait_masses = np.fft.irfft(wait, _POINTS)
    times = np.arange(_POINTS) * step
    mean_wait = float(wait_masses @ times)
    return ResponseTimes(busy, waits, mean_wait, mean_wait + mean, float(np.interp(0.95, np.cumsum(masses), times)))


def erlang_c(servers: int, offered: float) -> float:
    """Probability that a request must wait, by Erlang's formula for exponential service.

    Args:
        servers: Number of servers.
        offered: Seconds of work that arrive in a second, below ``servers``.
    """
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = offered * blocked / (k + offered * blocked)
    return blocked / (1 - offered / servers * (1 - blocked))


def allen_cunneen_wait(service_s: Sequence[float] | Array, servers: int, rate: float) -> float:
    """Mean wait by the formula of Allen and Cunneen (Allen, Probability, Statistics and Queueing Theory, 1990), seconds.

    It knows only mean and variance, and is what capacity planners use most; the comparison shows it beside ours.
    """
    sample = np.asarray(service_s, np.float64)
    mean, offered = float(sample.mean()), rate * float(sample.mean())
    variation = float(sample.var()) / mean**2
    return erlang_c(servers, offered) * mean / (servers - offered) * (1 + variation) / 2


def _residual_cdf(ordered: Array, at: Array) -> Array:
    """Distribution of the remaining time of a service that has begun: E[min(S, t)] / E[S]."""
    below = np.searchsorted(ordered, at, side="right")
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    cdf: Array = (sums[below] + at * (len(ordered) - below)) / sums[-1]
    return np.minimum(cdf, 1.0)


def _masses(cdf_at_edges: Array) -> Array:
    """Probability of each lattice point: what lies between the middles towards its neighbours."""
    return np.diff(cdf_at_edges, prepend=0.0)


def _split(sample: Array, step: float) -> Array:
    """The sample on the lattice, each value shared by its two neighbours so that the mean stays."""
    place = sample / step
    low = place.astype(int)
    masses = np.zeros(_POINTS)
    np.add.at(masses, low, 1 - (place - low))
    np.add.at(masses, low + 1, place - low)
    return masses / len(sample)
