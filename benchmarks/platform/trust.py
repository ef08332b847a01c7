"""Whether a measurement is good enough to order hardware from: the rules, and what a result says to each of them. Pure.

The asset checks, ``stt benchmark`` and the sizing report all say what stands here, so that all three give the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.platform.ratio import Ratio
from benchmarks.platform.result import BenchmarkResult
from speech.checks import Check, CheckResult

MIN_ITERATIONS = 30
"""Below, the bootstrap's interval of the mean is visibly too narrow, and a 95th percentile rests on one or two values."""

MAX_NOISE = 0.1
"""Standard deviation of the latencies over their mean. One recording again and again should take the same time again and again."""

MIN_CPU_SHARE = 0.95
"""Share of CPU time over wall time. The engine only waits for its CPU, so a lower share means that another program used the CPU."""

MAX_RATIO_HALF_WIDTH = 0.1
"""Half of a ratio's interval over the ratio: pods are ordered with that error."""


ENOUGH_ITERATIONS_RULE = Check("enough_iterations", f"{MIN_ITERATIONS} iterations or more, not interrupted.")
QUIET_RULE = Check("quiet", f"Standard deviation at most {MAX_NOISE:.0%} of the mean latency.")
ALONE_RULE = Check(
    "alone", f"The run had {MIN_CPU_SHARE:.0%} of its CPU's time or more; if not, something else took it."
)
ISOLATED_RULE = Check("isolated", "Exactly one CPU could be used, by quota or affinity.", stops=True)
RULES = (ENOUGH_ITERATIONS_RULE, QUIET_RULE, ALONE_RULE, ISOLATED_RULE)

NARROW_RULE = Check(
    "narrow_enough",
    f"Every ratio is known to {MAX_RATIO_HALF_WIDTH:.0%} or better, and like results could be compared.",
)


def check_result(result: BenchmarkResult) -> tuple[CheckResult, ...]:
    """What a result says to each of ``RULES``, in their order; where there is a number to it, it is ``figures["figure"]``."""
    return (_check_iterations(result), _check_noise(result), _check_cpu_share(result), _check_isolation(result))


def check_ratios(ratios: Sequence[Ratio], refused: Sequence[str]) -> CheckResult:
    """What ratios say to ``NARROW_RULE``; ``figures["figure"]`` is the least certain ratio's half width, as a share of the ratio.

    Args:
        ratios: All that were computed.
        refused: A sentence for each pair that could not be compared.
    """
    widest = max((compute_half_width(ratio) for ratio in ratios), default=0.0)
    if ratios:
        count = "One ratio, known to" if len(ratios) == 1 else f"{len(ratios)} ratios, the least certain known to"
        sentence = f"{count} ±{widest:.1%}; at most ±{MAX_RATIO_HALF_WIDTH:.0%} is wanted."
    else:
        sentence = "No ratio: there are no two platforms measured with one model." if not refused else "No ratio."
    passed = widest <= MAX_RATIO_HALF_WIDTH and not refused
    return CheckResult(NARROW_RULE, passed, " ".join([sentence, *refused]), figures={"figure": widest})


def compute_half_width(ratio: Ratio) -> float:
    """Half of a ratio's interval, as a share of the ratio."""
    return (ratio.interval[1] - ratio.interval[0]) / 2 / ratio.ratio


def _check_iterations(result: BenchmarkResult) -> CheckResult:
    sentence = f"{result.iterations} iterations"
    if result.details.partial:
        sentence += f", interrupted before the {result.details.iterations_asked} asked for"
    enough = result.iterations >= MIN_ITERATIONS
    if not enough:
        sentence += f"; at least {MIN_ITERATIONS} are wanted"
    passed = enough and not result.details.partial
    return CheckResult(ENOUGH_ITERATIONS_RULE, passed, f"{sentence}.", figures={"figure": float(result.iterations)})


def _check_noise(result: BenchmarkResult) -> CheckResult:
    if result.details.stdev_ms is None:
        return CheckResult(QUIET_RULE, False, "A single iteration does not tell how much latencies vary.")
    noise = result.details.stdev_ms / result.avg_latency_ms
    sentence = f"Latencies vary by {noise:.1%} of their mean (standard deviation); at most {MAX_NOISE:.0%} is wanted."
    return CheckResult(QUIET_RULE, noise <= MAX_NOISE, sentence, figures={"figure": round(noise, 4)})


def _check_cpu_share(result: BenchmarkResult) -> CheckResult:
    share = result.details.cpu_s / (result.total_time_s * min(1, result.cpu_limit))
    passed = share >= MIN_CPU_SHARE
    sentence = f"It had its CPU for {share:.0%} of the time"
    if passed:
        sentence += "."
    else:
        stolen = result.details.steal_s
        host = f" (the host took {stolen:.1f} s)" if stolen else ""
        sentence += f" only{host}: something else ran beside it."
    return CheckResult(ALONE_RULE, passed, sentence, figures={"figure": round(share, 4)})


def _check_isolation(result: BenchmarkResult) -> CheckResult:
    isolation = result.details.isolation
    means = "; ".join(isolation.how)
    if isolation.one_cpu:
        return CheckResult(ISOLATED_RULE, True, f"One CPU, by {means}." if means else "The machine has one CPU.")
    return CheckResult(
        ISOLATED_RULE,
        False,
        f"{result.cpu_limit:g} CPUs could be used{f' ({means})' if means else ''}: its figures size nothing.",
    )
