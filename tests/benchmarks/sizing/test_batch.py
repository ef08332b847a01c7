"""Cores and GPUs for a batch with a deadline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.files import RefusedError
from benchmarks.sizing.basis import Basis, load_basis
from benchmarks.sizing.batch import BatchLoad, GpuFigure, parse_gpu_figure, size_on_cpus, size_on_gpus
from benchmarks.sizing.prices import Prices
from tests.benchmarks.results import make_result
from tests.benchmarks.sizing.conftest import NOISE


def test_a_batch_ends_in_time_by_the_bound_of_graham(basis: Basis) -> None:
    load = BatchLoad(500.0, 6.0, longest_min=60)
    size = size_on_cpus(basis, load, 2)
    assert size.done_h <= 6.0
    # The bound holds for any schedule without idle cores; here the longest recording comes last.
    recordings = [1800.0] * 998 + [3600.0]
    busy_s = np.zeros(size.pods * 2)
    for seconds in recordings:
        busy_s[busy_s.argmin()] += seconds * basis.mean_s / basis.audio_s
    assert busy_s.max() / 3600 + load.start_s / 3600 <= size.done_h
    assert size_on_cpus(basis, BatchLoad(500.0, 6.0), 2).pods > size_on_cpus(basis, BatchLoad(500.0, 12.0), 2).pods


def test_a_single_recording_needs_one_core() -> None:
    basis = load_basis(Path("x_base.json"), make_result(NOISE), None)
    assert size_on_cpus(basis, BatchLoad(1.0, 24.0), 1).pods == 1


def test_gpus_are_sized_by_a_figure_with_its_origin(basis: Basis) -> None:
    assert size_on_gpus(BatchLoad(500.0, 2.0), parse_gpu_figure("A100=120@a test")).gpus == 3
    assert parse_gpu_figure("A100=120").origin == "given, not measured here"
    with pytest.raises(RefusedError, match="no speed"):
        size_on_gpus(BatchLoad(500.0, 2.0), GpuFigure("A100", 0.0, "nobody"))
    with pytest.raises(RefusedError, match="write NAME=TIMES_REALTIME"):
        parse_gpu_figure("A100")


def test_a_deadline_of_days_counts_as_one_day() -> None:
    basis = load_basis(Path("x_base.json"), make_result(NOISE), None)
    assert size_on_cpus(basis, BatchLoad(900.0, 60.0), 1).pods == size_on_cpus(basis, BatchLoad(900.0, 24.0), 1).pods


BAD_REQUESTS: dict[str, tuple[Callable[[Basis, Prices], object], str]] = {
    "more cores than a cluster has": (
        lambda b, p: size_on_cpus(b, BatchLoad(1e300, 5.0), 1),
        "More than 100,000 would be needed",
    ),
    "a GPU without a name": (lambda b, p: parse_gpu_figure("=5"), "write NAME=TIMES_REALTIME"),
    "a GPU that stands still": (lambda b, p: parse_gpu_figure("A100=nan"), "write NAME=TIMES_REALTIME"),
    "deadline below one recording": (lambda b, p: size_on_cpus(b, BatchLoad(10.0, 0.05), 1), "longest recording"),
    "negative hours": (lambda b, p: BatchLoad(-1.0, 1.0), "-1 is not possible for hours"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_a_bad_request_is_refused_with_one_sentence(case: str, basis: Basis, prices: Prices) -> None:
    request, sentence = BAD_REQUESTS[case]
    with pytest.raises(RefusedError, match=sentence.replace("(", r"\(")):
        request(basis, prices)
