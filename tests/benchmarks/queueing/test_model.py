"""The queueing model against exact results and against the simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.queueing.model import OverloadedError, allen_cunneen_wait, erlang_c, predict_response
from benchmarks.queueing.simulation import simulate_steady_state

EXPONENTIAL = -np.log1p(-(np.arange(4000) + 0.5) / 4000)  # quantiles of the exponential distribution with mean 1


def test_one_server_with_constant_service_follows_pollaczek_and_khinchine() -> None:
    for utilization in (0.2, 0.5, 0.8, 0.95):
        predicted = predict_response([2.0], 1, utilization / 2.0)
        assert predicted.mean_wait_s == pytest.approx(utilization * 2.0 / (2 * (1 - utilization)), rel=2e-3)
        assert predicted.mean_s == pytest.approx(2.0 + predicted.mean_wait_s)


@pytest.mark.parametrize("servers", [1, 2, 5])
def test_exponential_service_gives_the_known_mean_wait_and_percentile(servers: int) -> None:
    utilization = 0.8
    predicted = predict_response(EXPONENTIAL, servers, utilization * servers)
    assert predicted.mean_wait_s == pytest.approx(
        erlang_c(servers, utilization * servers) / (servers * (1 - utilization)), rel=0.01
    )
    if servers == 1:  # then the response time is itself exponential
        assert predicted.p95_s == pytest.approx(-math.log(0.05) / (1 - utilization), rel=0.01)


def test_erlang_c_matches_published_values() -> None:
    assert erlang_c(1, 0.7) == pytest.approx(0.7)
    assert erlang_c(2, 1.0) == pytest.approx(1 / 3)
    assert erlang_c(10, 8.0) == pytest.approx(0.4092, abs=1e-4)


@pytest.mark.parametrize("servers", [1, 2, 4])
@pytest.mark.parametrize("utilization", [0.4, 0.7, 0.85])
def test_the_model_agrees_with_the_simulation(servers: int, utilization: float) -> None:
    service = np.random.default_rng(1).lognormal(0.0, 0.6, 500)
    rate = utilization * servers / service.mean()
    predicted = predict_response(service, servers, rate)
    simulated = simulate_steady_state(service, servers, rate, requests=8000, replications=60)
    assert predicted.mean_s == pytest.approx(simulated.mean_s, abs=3 * simulated.mean_half + 0.02 * simulated.mean_s)
    assert predicted.p95_s == pytest.approx(simulated.p95_s, abs=3 * simulated.p95_half + 0.03 * simulated.p95_s)


@given(st.floats(0.05, 0.94), st.integers(1, 12), st.floats(0.01, 100))
def test_more_servers_and_less_load_are_never_slower(utilization: float, servers: int, scale: float) -> None:
    service = np.array([0.5, 1.0, 1.0, 1.7]) * scale
    rate = utilization * servers / float(service.mean())
    predicted = predict_response(service, servers, rate)
    assert predicted.mean_s >= service.mean() * (1 - 1e-6)
    assert predict_response(service, servers + 1, rate).p95_s <= predicted.p95_s * 1.001
    assert predict_response(service, servers, rate * 0.9).p95_s <= predicted.p95_s * 1.001
    assert allen_cunneen_wait(service, 1, utilization / float(service.mean())) == pytest.approx(
        predict_response(service, 1, utilization / float(service.mean())).mean_wait_s, rel=0.01, abs=1e-4 * scale
    )


def test_more_work_than_the_servers_can_do_is_refused() -> None:
    with pytest.raises(OverloadedError, match=r"2 s of work a second, more than 1 can do"):
        predict_response([1.0], 1, 2.0)
    with pytest.raises(ValueError, match="above 0"):
        predict_response([0.0], 1, 1.0)
