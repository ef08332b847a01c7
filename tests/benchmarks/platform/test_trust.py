"""What may be ordered from: each rule kept and broken, and that a broken one says by how much."""

from __future__ import annotations

import pytest

from benchmarks.platform.ratio import compute_ratio
from benchmarks.platform.result import BenchmarkResult
from benchmarks.platform.trust import check_ratios, check_result
from tests.benchmarks.results import make_result

STEADY = [100.0, 101.0] * 20


def broken(result: BenchmarkResult) -> dict[str, str]:
    return {found.check.name: found.sentence for found in check_result(result) if not found.passed}


def test_a_sound_run_breaks_no_rule() -> None:
    assert broken(make_result(STEADY)) == {}


@pytest.mark.parametrize(
    ("result", "rule", "told"),
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
def test_each_rule_is_broken_alone_and_says_by_how_much(result: BenchmarkResult, rule: str, told: str) -> None:
    assert list(broken(result)) == [rule]
    assert told in broken(result)[rule]


def test_a_ratio_that_is_hardly_known_and_pairs_that_could_not_be_compared_are_told() -> None:
    sure = compute_ratio(("a", make_result(STEADY)), ("b", make_result(STEADY, ids=("two",))))
    unsure = compute_ratio(
        ("a", make_result([50.0, 150.0, 100.0, 20.0, 180.0])), ("b", make_result(STEADY, ids=("two",)))
    )
    assert check_ratios([sure], ()).passed
    assert not check_ratios([sure, unsure], ()).passed
    assert "2 ratios, the least certain known to" in check_ratios([sure, unsure], ()).sentence
    assert not check_ratios([sure], ["a and c differ."]).passed
    assert "no two platforms" in check_ratios([], ()).sentence
