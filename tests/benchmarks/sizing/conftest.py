"""A measured basis and the shipped prices."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.sizing.basis import Basis, load_basis
from benchmarks.sizing.prices import Prices, read_prices
from tests.benchmarks.results import make_result

NOISE = [2400.0 + 60 * math.sin(i) for i in range(50)]
"""Latencies in ms of a steady measurement."""


@pytest.fixture
def basis() -> Basis:
    return load_basis(Path("here_base.json"), make_result(NOISE), None)


@pytest.fixture
def prices() -> Prices:
    return read_prices()
