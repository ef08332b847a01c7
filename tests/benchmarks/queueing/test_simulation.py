"""The simulation of a queue."""

from __future__ import annotations

import numpy as np

from benchmarks.queueing.simulation import replay


def test_a_replay_is_first_come_first_served() -> None:
    arrivals, services = np.array([0.0, 1.0, 1.5, 10.0]), np.array([[3.0], [1.0], [1.0], [2.0]])
    assert replay(arrivals, services, 1)[:, 0].tolist() == [3.0, 3.0, 3.5, 2.0]
    assert replay(arrivals, services, 2)[:, 0].tolist() == [3.0, 1.0, 1.5, 2.0]
