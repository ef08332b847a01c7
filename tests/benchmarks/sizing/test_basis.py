"""The basis of a sizing: a measured result, on its own platform or converted to another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.files import RefusedError
from benchmarks.platform.ratio import RatioConfig, compute_ratio
from benchmarks.sizing.basis import Basis, load_basis
from benchmarks.sizing.prices import Prices
from tests.benchmarks.results import make_result
from tests.benchmarks.sizing.conftest import NOISE


def test_a_ratio_converts_a_result_and_its_uncertainty_to_another_platform() -> None:
    m4, xeon = make_result(NOISE), make_result([2 * value for value in NOISE], cpu_model="Xeon", ids=("two",))
    config = RatioConfig(
        timestamp="2024-12-02T10:30:00Z", ratios=(compute_ratio(("m4_base", m4), ("xeon_base", xeon)),)
    )
    small = make_result([3 * value for value in NOISE], model="small")
    converted = load_basis(Path("m4_small.json"), small, config)
    unconverted = load_basis(Path("m4_small.json"), small, None)
    assert converted.mean_s == pytest.approx(2 * unconverted.mean_s)
    assert converted.platform == "xeon_base"
    assert converted.low < unconverted.low < 1 < unconverted.high < converted.high
    assert any("small was never measured on xeon_base" in line for line in converted.doubts)
    assert unconverted.doubts == ()
    with pytest.raises(RefusedError, match="starts at m4_base"):
        load_basis(Path("other_small.json"), make_result(NOISE, cpu_model="Other"), config)


BAD_REQUESTS: dict[str, tuple[Callable[[Basis, Prices], object], str]] = {
    "two CPUs": (lambda b, p: load_basis(Path("x.json"), make_result(NOISE, cpu_limit=2), None), "measured on 2 CPUs"),
    "too few iterations": (lambda b, p: load_basis(Path("x.json"), make_result([2.0, 3.0]), None), "too few to know"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_a_bad_request_is_refused_with_one_sentence(case: str, basis: Basis, prices: Prices) -> None:
    request, sentence = BAD_REQUESTS[case]
    with pytest.raises(RefusedError, match=sentence.replace("(", r"\(")):
        request(basis, prices)
