"""Trust in a measurement: each rule, kept and broken, and the message with the amount."""

from __future__ import annotations

import pytest

from benchmarks.platform.ratio import compute_ratio
from benchmarks.platform.result import BenchmarkResult
from benchmarks.platform.trust import check_ratios, check_result
from tests.benchmarks.results import make_result

STEADY = [100.0, 101.0] * 20


def list_broken(result: BenchmarkResult) -> dict[str, str]:
    return {check.check.name: check.sentence for check in check_result(result) if not check.passed}


def test_a_good_run_breaks_no_rule() -> None:
    assert list_broken(make_result(STEADY)) == {}


@pytest.mark.parametrize(
    ("result", "rule", "sentence"),
    [
        (make_result(STEADY[:10]), "enough_iterations", "10 iterations; at least 30 are wanted."),
        (
            make_result(STEADY, partial=True, iterations_asked=50),
            "enough_iterations",
            "40 iterations, interrupted before the 50 asked for.",
        ),
        (make_result([100.0, 150.0] * 20), "quiet", "20.3%"),
        (make_result(STEADY, cpu_s=2.0, steal_s=1.5), "alone", "50% of the time only (the host took 1.5 s)"),
    ],
)
def test_each_rule_can_be_broken_alone_and_names_the_amount(result: BenchmarkResult, rule: str, sentence: str) -> None:
    assert list(list_broken(result)) == [rule]
    assert sentence in list_broken(result)[rule]


def test_an_uncertain_ratio_and_pairs_that_cannot_be_compared_are_reported() -> None:
    certain = compute_ratio(("a", make_result(STEADY)), ("b", make_result(STEADY, ids=("two",))))
    uncertain = compute_ratio(
        ("a", make_result([50.0, 150.0, 100.0, 20.0, 180.0])), ("b", make_result(STEADY, ids=("two",)))
    )
    assert check_ratios([certain], ()).passed
    assert not check_ratios([certain, uncertain], ()).passed
    assert "2 ratios, the least certain known to" in check_ratios([certain, uncertain], ()).sentence
    assert not check_ratios([certain], ["a and c differ."]).passed
    assert "no two platforms" in check_ratios([], ()).sentence
