"""The stress test: the same requests with one, two and four decoding threads on one CPU, with the kernel's throttling counters."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from benchmarks.files import RefusedError, read_json, validate, write_json
from benchmarks.platform.measure import STANDARD_CLIP, WARMUP, measure
from benchmarks.platform.result import BenchmarkResult
from benchmarks.platform.throttling import ThrottlingVerdict, explain_verdicts, judge_throttling
from speech.machine.cgroups import CpuCounters
from speech.models.registry import Weights
from speech.transcript import Options

THREADS = (1, 2, 4)
ITERATIONS = 10
SCHEMA = Path(__file__).with_name("schemas") / "stress.json"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StressRow(_Record):
    """One number of threads."""

    threads: int = Field(ge=1)
    iterations: int = Field(ge=1)
    avg_latency_ms: float = Field(gt=0)
    p95_ms: float = Field(gt=0)
    slowdown: float = Field(gt=0, description="Mean latency against that of the first row.")
    throttling: CpuCounters | None = Field(description="Null where no limit in force is counted.")
    verdict: ThrottlingVerdict
    confirmed: bool = Field(description="Throttled, and more than twice as slow as the first row.")


class StressReport(_Record):
    """All numbers of threads, and the verdict in words."""

    timestamp: str
    architecture: str
    cpu_model: str
    model_size: str
    cpu_limit: int | float = Field(gt=0)
    isolation: tuple[str, ...] = Field(description="What limits the CPU, in words.")
    partial: bool
    rows: tuple[StressRow, ...] = Field(min_length=1)
    verdict: str


def run_stress_test(
    weights: Weights,
    options: Options,
    audio: Path = STANDARD_CLIP,
    *,
    threads: Sequence[int] = THREADS,
    iterations: int = ITERATIONS,
    warmup: int = WARMUP,
    unisolated: bool = False,
    pinned_by_us: bool = False,
    progress: Callable[[int, int, int], None] | None = None,
) -> StressReport:
    """Measure with each number of decoding threads in turn; the others are compared with the first.

    ``progress`` is called with the number of threads, the number of ended iterations and the number of all iterations. The other
    arguments and the errors are those of ``measure``; an interrupt returns what was measured until then.
    """
    if not threads or min(threads) < 1 or len(set(threads)) < len(threads):
        raise RefusedError(f"The numbers of threads must be different and at least 1, and not {list(threads)}.")
    results = []
    for count in threads:
        try:
            results.append(
                measure(
                    weights,
                    options,
                    audio,
                    iterations=iterations,
                    warmup=warmup,
                    workers=count,
                    unisolated=unisolated,
                    pinned_by_us=pinned_by_us,
                    progress=_with(count, progress),
                )
            )
        except KeyboardInterrupt:
            if not results:
                raise
            return make_report(results, partial=True)
        if results[-1].details.partial:
            break
    return make_report(results, partial=results[-1].details.partial)


def make_report(results: Sequence[BenchmarkResult], *, partial: bool = False) -> StressReport:
    """The table and the verdict over results with different numbers of workers; the others are compared with the first."""
    baseline = results[0]
    rows = []
    for result in results:
        counters, slowdown = result.details.throttling, result.avg_latency_ms / baseline.avg_latency_ms
        verdict = judge_throttling(counters, slowdown)
        rows.append(
            StressRow(
                threads=result.details.workers,
                iterations=result.iterations,
                avg_latency_ms=result.avg_latency_ms,
                p95_ms=result.details.p95_ms,
                slowdown=round(slowdown, 3),
                throttling=counters,
                verdict=verdict,
                confirmed=verdict == "throttled" and judge_throttling(None, slowdown) == "oversubscribed",
            )
        )
    return StressReport(
        timestamp=baseline.timestamp,
        architecture=baseline.architecture,
        cpu_model=baseline.cpu_model,
        model_size=baseline.model_size,
        cpu_limit=baseline.cpu_limit,
        isolation=baseline.details.isolation.how,
        partial=partial,
        rows=tuple(rows),
        verdict=explain_verdicts([(row.threads, row.verdict, row.slowdown, row.throttling) for row in rows]),
    )


def format_table(stress_report: StressReport) -> str:
    """For a terminal or a Markdown page."""
    lines = [
        "| threads | mean ms | p95 ms | against the first | throttled periods | throttled s | verdict |",
        "|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in stress_report.rows:
        counted = row.throttling
        periods = f"{counted.throttled} of {counted.periods} ({counted.share:.0%})" if counted else "no quota"
        seconds = f"{counted.throttled_s:.2f}" if counted else "no quota"
        lines.append(
            f"| {row.threads} | {row.avg_latency_ms:.0f} | {row.p95_ms:.0f} | {row.slowdown:.2f} | {periods} | {seconds} "
            f"| {row.verdict}{', confirmed by latency' if row.confirmed else ''} |"
        )
    return "\n".join(lines)


def read_stress(path: Path) -> StressReport:
    """Read a report.

    Raises:
        RefusedError: The file is missing, truncated or foreign; names the file and the field.
    """
    return validate(path, read_json(path), SCHEMA, StressReport)


def write_stress(stress_report: StressReport, path: Path) -> None:
    """Write a report, whole or not at all."""
    write_json(json.loads(stress_report.model_dump_json()), path)


def _with(count: int, progress: Callable[[int, int, int], None] | None) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, of: progress(count, done, of)
