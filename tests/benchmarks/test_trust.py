"""What may be ordered from: each rule kept and broken, and that a broken one says by how much."""

from __future__ import annotations

import pytest

from benchmarks.ratio import ratio
from benchmarks.result import BenchmarkResult
from benchmarks.trust import of_ratios, of_result
from tests.benchmarks.made import made

STEADY = [100.0, 101.0] * 20


def broken(result: BenchmarkResult) -> dict[str, str]:
    return {found.rule.name: found.sentence for found in of_result(result) if not found.kept}


def test_a_sound_run_breaks_no_rule() -> None:
    assert broken(made(STEADY)) == {}


@pytest.mark.parametrize(
    ("result", "rule", "told"),
    [
        (made(STEADY[:10]), "enough_iterations", "10 iterations; at least 30 are wanted."),
        (
            made(STEADY, partial=True, iterations_asked=50),
            "enough_iterations",
            "40 iterations, interrupted before the 50 asked for.",
        ),
        (made([100.0, 150.0] * 20), "quiet", "20.3%"),
        (made(STEADY, cpu_s=2.0, steal_s=1.5), "alone", "50% of the time only (the host took 1.5 s)"),
    ],
)
def test_each_rule_is_broken_alone_and_says_by_how_much(result: BenchmarkResult, rule: str, told: str) -> None:
    assert list(broken(result)) == [rule]
    assert told in broken(result)[rule]


def test_a_ratio_that_is_hardly_known_and_pairs_that_could_not_be_compared_are_told() -> None:
    sure = ratio(("a", made(STEADY)), ("b", made(STEADY, ids=("two",))))
    unsure = ratio(("a", made([50.0, 150.0, 100.0, 20.0, 180.0])), ("b", made(STEADY, ids=("two",))))
    assert of_ratios([sure], ()).kept
    assert not of_ratios([sure, unsure], ()).kept
    assert "2 ratios, the least certain known to" in of_ratios([sure, unsure], ()).sentence
    assert not of_ratios([sure], ["a and c differ."]).kept
    assert "no two platforms" in of_ratios([], ()).sentence
