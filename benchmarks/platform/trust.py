"""Whether a measurement is good enough to order hardware from: the rules, and what a result says to each of them. Pure.

The asset checks, ``stt benchmark`` and the sizing report all say what stands here, so that all three give the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.platform.ratio import Ratio
from benchmarks.platform.result import BenchmarkResult

MIN_ITERATIONS = 30
"""Below, the bootstrap's interval of the mean is visibly too narrow, and a 95th percentile rests on one or two values."""

MAX_NOISE = 0.1
"""Standard deviation of the latencies over their mean. One recording again and again should take the same time again and again."""

MIN_CPU_SHARE = 0.95
"""Share of CPU time over wall time. The engine only waits for its CPU, so a lower share means that another program used the CPU."""

MAX_RATIO_HALF_WIDTH = 0.1
"""Half of a ratio's interval over the ratio: pods are ordered with that error."""


@dataclass(frozen=True, slots=True)
class TrustRule:
    """A rule.

    Attributes:
        name: As the asset check is called.
        rule: In words.
        stops: Whether nothing may be sized from what breaks it.
    """

    name: str
    rule: str
    stops: bool = False


@dataclass(frozen=True, slots=True)
class TrustResult:
    """What was found of a rule: kept or not, in a sentence, with the figure if there is one."""

    rule: TrustRule
    passed: bool
    sentence: str
    figure: float | None = None


ENOUGH_ITERATIONS_RULE = TrustRule("enough_iterations", f"{MIN_ITERATIONS} iterations or more, not interrupted.")
QUIET_RULE = TrustRule("quiet", f"Standard deviation at most {MAX_NOISE:.0%} of the mean latency.")
ALONE_RULE = TrustRule(
    "alone", f"The run had {MIN_CPU_SHARE:.0%} of its CPU's time or more; if not, something else took it."
)
ISOLATED_RULE = TrustRule("isolated", "Exactly one CPU could be used, by quota or affinity.", stops=True)
RULES = (ENOUGH_ITERATIONS_RULE, QUIET_RULE, ALONE_RULE, ISOLATED_RULE)

NARROW_RULE = TrustRule(
    "narrow_enough",
    f"Every ratio is known to {MAX_RATIO_HALF_WIDTH:.0%} or better, and like results could be compared.",
)


def check_result(result: BenchmarkResult) -> tuple[TrustResult, ...]:
    """What a result says to each of ``RULES``, in their order."""
    return (_iterations(result), _quiet(result), _alone(result), _isolated(result))


def check_ratios(ratios: Sequence[Ratio], refused: Sequence[str]) -> TrustResult:
    """What ratios say to ``NARROW_RULE``.

    Args:
        ratios: All that were computed.
        refused: A sentence for each pair that could not be compared.
    """
    widest = max((compute_half_width(one) for one in ratios), default=0.0)
    if ratios:
        count = "One ratio, known to" if len(ratios) == 1 else f"{len(ratios)} ratios, the least certain known to"
        sentence = f"{count} ±{widest:.1%}; at most ±{MAX_RATIO_HALF_WIDTH:.0%} is wanted."
    else:
        sentence = "No ratio: there are no two platforms measured with one model." if not refused else "No ratio."
    return TrustResult(
        NARROW_RULE, widest <= MAX_RATIO_HALF_WIDTH and not refused, " ".join([sentence, *refused]), widest
    )


def compute_half_width(ratio: Ratio) -> float:
    """Half of a ratio's interval, as a share of the ratio."""
    return (ratio.interval[1] - ratio.interval[0]) / 2 / ratio.ratio


def _iterations(result: BenchmarkResult) -> TrustResult:
    asked, partial = result.details.iterations_asked, result.details.partial
    told = f"{result.iterations} iterations"
    if partial:
        told += f", interrupted before the {asked} asked for"
    enough = result.iterations >= MIN_ITERATIONS
    wanted = "" if enough else f"; at least {MIN_ITERATIONS} are wanted"
    return TrustResult(ENOUGH_ITERATIONS_RULE, enough and not partial, f"{told}{wanted}.", float(result.iterations))


def _quiet(result: BenchmarkResult) -> TrustResult:
    if result.details.stdev_ms is None:
        return TrustResult(QUIET_RULE, False, "A single iteration does not tell how much latencies vary.")
    noise = result.details.stdev_ms / result.avg_latency_ms
    told = f"Latencies vary by {noise:.1%} of their mean (standard deviation); at most {MAX_NOISE:.0%} is wanted."
    return TrustResult(QUIET_RULE, noise <= MAX_NOISE, told, round(noise, 4))


def _alone(result: BenchmarkResult) -> TrustResult:
    share = result.details.cpu_s / (result.total_time_s * min(1, result.cpu_limit))
    told = f"It had its CPU for {share:.0%} of the time"
    if share >= MIN_CPU_SHARE:
        return TrustResult(ALONE_RULE, True, f"{told}.", round(share, 4))
    stolen = result.details.steal_s
    host = f" (the host took {stolen:.1f} s)" if stolen else ""
    return TrustResult(ALONE_RULE, False, f"{told} only{host}: something else ran beside it.", round(share, 4))


def _isolated(result: BenchmarkResult) -> TrustResult:
    isolation = result.details.isolation
    found = "; ".join(isolation.how)
    if isolation.one_cpu:
        return TrustResult(ISOLATED_RULE, True, f"One CPU, by {found}." if found else "The machine has one CPU.")
    return TrustResult(
        ISOLATED_RULE,
        False,
        f"{result.cpu_limit:g} CPUs could be used{f' ({found})' if found else ''}: its figures size nothing.",
    )
