"""Compares the predicted with the measured response times of a real load, and separates the model's error from random error.

The random error comes from the arrival times: they change the measured mean by more than the model may be wrong. So each load is
also replayed: the same arrivals, with service times drawn from the calibration made before. Measured over replayed is the error
that the arrivals do not explain; the model's figure times it is what would have been measured in an endless run (a control
variate).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.lab.queueing_check.load import ServedRequest
from benchmarks.queueing.model import Array, OverloadedError, allen_cunneen_wait, predict_response
from benchmarks.queueing.simulation import replay, simulate_steady_state

Indices = npt.NDArray[np.int64]

_VARIANTS = 200
_RESAMPLES = 500
_BLOCK_BUSY_PERIODS = 4
"""Requests are resampled in blocks of so many mean busy periods' length, because response times within one busy period are
correlated."""


@dataclass(frozen=True, slots=True)
class FigureComparison:
    """One quantity of the response time at one load, seconds; errors as shares, predicted over measured less one.

    Attributes:
        predicted_s: The model's.
        simulated_s: The simulation's, of an endless run.
        measured_s: As measured.
        measured_interval_s: Its 95 % interval, block bootstrap.
        corrected_s: Measured, corrected for the random arrival times (control variate).
        corrected_interval_s: Its 95 % interval.
        error: Of the prediction, against corrected.
        known_error: The same error if the service times are scaled by the change of the machine's speed since the calibration.
    """

    predicted_s: float
    simulated_s: float
    measured_s: float
    measured_interval_s: tuple[float, float]
    corrected_s: float
    corrected_interval_s: tuple[float, float]
    error: float
    known_error: float


@dataclass(frozen=True, slots=True)
class LoadComparison:
    """One load: the rate of requests and the servers, and the comparison of mean and 95th percentile.

    Attributes:
        utilization: Predicted.
        rate: Requests a second that were asked for.
        servers: Workers.
        requests: Answered.
        service_mean_s: Of the calibration.
        service_drift: Service times under load over those of the same clips in the calibration, less one.
        mean: Of the response time.
        p95: Of the response time.
        own_mean_error: Error of the mean if the line is replayed with the arrivals and service times that really came: what is
            the fault of the queue's rules (one line, first come first served) alone, and not of a machine that changed its speed.
        own_p95_error: The same of the 95th percentile.
    """

    utilization: float
    rate: float
    servers: int
    requests: int
    service_mean_s: float
    service_drift: float
    mean: FigureComparison
    p95: FigureComparison
    own_mean_error: float
    own_p95_error: float


def compare_load(
    calibration: Sequence[ServedRequest], load: Sequence[ServedRequest], servers: int, rate: float
) -> LoadComparison:
    """Predict a load from the calibration before it, and hold the prediction against what was measured.

    Args:
        calibration: Requests one at a time, every clip equally often.
        load: Requests under load, in order of arrival.
        servers: Workers that served them.
        rate: Requests a second that were asked for.
    """
    service = np.array([request.service_s for request in calibration])
    predicted = predict_response(service, servers, rate)
    simulated = simulate_steady_state(service, servers, rate)
    measured = np.array([request.response_s for request in load])
    arrivals = np.array([request.arrived for request in load])
    chance = np.random.default_rng(0)
    by_clip: dict[int, list[float]] = {}
    for request in calibration:
        by_clip.setdefault(request.clip, []).append(request.service_s)
    drawn = np.stack([chance.choice(by_clip[request.clip], _VARIANTS) for request in load])
    replayed = replay(arrivals, drawn, servers)
    starts, length = _blocks(len(load), predicted.utilization, chance)
    expected = float(np.mean([np.mean(by_clip[request.clip]) for request in load]))
    drift = float(np.mean([request.service_s for request in load])) / expected - 1
    adjusted_prediction = _SpeedAdjustedPrediction(
        service * (1 + drift), replay(arrivals, drawn * (1 + drift), servers), servers, rate
    )
    mean_s = _figure(measured, replayed, starts, length, predicted.mean_s, simulated.mean_s, _mean, adjusted_prediction)
    p95_s = _figure(measured, replayed, starts, length, predicted.p95_s, simulated.p95_s, _p95, adjusted_prediction)
    own_replayed = replay(arrivals, np.array([[request.service_s] for request in load]), servers)
    return LoadComparison(
        utilization=predicted.utilization,
        rate=rate,
        servers=servers,
        requests=len(load),
        service_mean_s=float(service.mean()),
        service_drift=drift,
        mean=mean_s,
        p95=p95_s,
        own_mean_error=_mean(own_replayed) / _mean(measured) - 1,
        own_p95_error=_p95(own_replayed) / _p95(measured) - 1,
    )


@dataclass(frozen=True, slots=True)
class _SpeedAdjustedPrediction:
    """A prediction for service times at the speed that the machine had under load."""

    service_s: Array
    replayed: Array
    servers: int
    rate: float

    def error(self, measured: float, of: Callable[[Array], float]) -> float:
        """Error of the model, against measured and corrected for the arrivals; NaN where it predicts a line that grows for ever."""
        try:
            predicted = predict_response(self.service_s, self.servers, self.rate)
        except OverloadedError:
            return float("nan")
        simulated = simulate_steady_state(self.service_s, self.servers, self.rate)
        predicted_figure, simulated_figure = (
            (predicted.mean_s, simulated.mean_s) if of is _mean else (predicted.p95_s, simulated.p95_s)
        )
        return predicted_figure / (measured / of(self.replayed) * simulated_figure) - 1


def _mean(values: Array) -> float:
    return float(values.mean())


def _p95(values: Array) -> float:
    return float(np.quantile(values, 0.95))


def _blocks(requests: int, utilization: float, chance: np.random.Generator) -> tuple[Indices, int]:
    length = min(max(1, round(_BLOCK_BUSY_PERIODS / (1 - utilization))), requests)
    return chance.integers(0, requests - length + 1, (_RESAMPLES, -(-requests // length))), length


def _figure(
    measured: Array,
    replayed: Array,
    starts: Indices,
    length: int,
    predicted: float,
    simulated: float,
    of: Callable[[Array], float],
    adjusted_prediction: _SpeedAdjustedPrediction,
) -> FigureComparison:
    # All variants are pooled: the quantile of the mixture is what one long run would show.
    replayed_figure = of(replayed)
    measured_figures, corrected_figures = [], []
    columns = replayed[:, :10]
    for start in starts:
        chosen = (start[:, None] + np.arange(length)).ravel()[: len(measured)]
        measured_figures.append(of(measured[chosen]))
        corrected_figures.append(measured_figures[-1] / of(columns[chosen]))
    measured_figure = of(measured)
    corrected_figure = measured_figure / replayed_figure * simulated
    low, high = (float(value) for value in np.percentile(measured_figures, (2.5, 97.5)))
    c_low, c_high = (float(value) * simulated for value in np.percentile(corrected_figures, (2.5, 97.5)))
    return FigureComparison(
        predicted,
        simulated,
        measured_figure,
        (low, high),
        corrected_figure,
        (c_low, c_high),
        predicted / corrected_figure - 1,
        adjusted_prediction.error(measured_figure, of),
    )


def compare_with_simulation(service_s: Sequence[float]) -> list[dict[str, Any]]:
    """The model and Allen and Cunneen's against the simulation, for the measured service times, over servers and utilization."""
    mean = float(np.mean(service_s))
    rows = []
    for servers in (1, 2, 4, 8):
        for busy in (0.3, 0.5, 0.7, 0.8, 0.9):
            rate = busy * servers / mean
            predicted, simulated = (
                predict_response(service_s, servers, rate),
                simulate_steady_state(service_s, servers, rate, replications=60),
            )
            rows.append(
                {
                    "servers": servers,
                    "utilization": busy,
                    **asdict(simulated),
                    "mean_error": predicted.mean_s / simulated.mean_s - 1,
                    "p95_error": predicted.p95_s / simulated.p95_s - 1,
                    "allen_cunneen_mean_error": (mean + allen_cunneen_wait(service_s, servers, rate)) / simulated.mean_s
                    - 1,
                }
            )
    return rows


def as_json(compared: LoadComparison) -> Mapping[str, Any]:
    """Plain data."""
    return asdict(compared)
