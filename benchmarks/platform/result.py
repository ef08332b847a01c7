"""A benchmark's result: its file, its schema, and how it is written and read.

The ten fields at the top are those other tools read; everything else stands in ``details``. Results are exchanged between machines,
so a file is accepted only if it matches ``schemas/result.json`` and its values are consistent.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from benchmarks.files import RefusedError, read_json, validate, write_json
from benchmarks.platform.intervals import compute_mean_interval
from benchmarks.platform.isolation import Isolation
from benchmarks.platform.machine import Machine
from speech.machine.cgroups import CpuCounters
from speech.transcript import Options, StrategyName

SCHEMA = Path(__file__).with_name("schemas") / "result.json"

_AGREE = 1e-3
"""Figures of one file may differ by so much of themselves, for rounding."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Audio(_Record):
    """The recording that was transcribed."""

    name: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    seconds: float = Field(gt=0)


class WeightsUsed(_Record):
    """The weights that were loaded."""

    name: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="Of model.bin.")
    revision: str | None = Field(description="Commit of the model's repository; null for a folder of one's own.")


class Details(_Record):
    """Everything beyond the ten fields. Times in milliseconds where the name says so, otherwise in seconds."""

    format: Literal[1] = 1
    partial: bool = Field(description="True if the run was interrupted; iterations then counts those that ended.")
    iterations_asked: int = Field(ge=1)
    latencies_ms: tuple[float, ...] = Field(
        min_length=1, description="Every iteration's, in order; warm-up is not here."
    )
    p50_ms: float = Field(gt=0)
    p95_ms: float = Field(gt=0)
    p99_ms: float = Field(gt=0)
    stdev_ms: float | None = Field(ge=0, description="Of the sample; null for a single iteration.")
    mean_interval_ms: tuple[float, float] | None = Field(
        description="95 % bootstrap interval of the mean; null below five iterations."
    )
    warmup_latencies_ms: tuple[float, ...] = Field(description="Before the measurement; in no other figure.")
    model_load_s: float = Field(gt=0)
    normalize_s: float = Field(gt=0, description="Decoding the audio file to 16 kHz, once; not in the latencies.")
    cpu_s: float = Field(
        gt=0, description="Processor time of the whole process over all iterations, its threads summed."
    )
    steal_s: float | None = Field(
        ge=0, description="Time the host took from the usable CPUs meanwhile; null where the kernel does not tell."
    )
    throttling: CpuCounters | None = Field(
        description="The kernel's counters over all iterations; null where no limit in force is counted."
    )
    workers: int = Field(ge=1, description="The engine's decoding threads.")
    audio: Audio
    weights: WeightsUsed
    options: Options
    engine_version: str
    decoding: StrategyName | None = Field(description="The engine's path; null if no speech was heard.")
    words: int = Field(ge=0, description="Words in the transcript: a run that heard nothing is no benchmark.")
    isolation: Isolation
    machine: Machine
    versions: dict[str, str] = Field(description="Library -> version.")


class BenchmarkResult(_Record):
    """One run: a model over one recording, again and again, one request at a time."""

    timestamp: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", description="When the run began, UTC.")
    architecture: str = Field(min_length=1, description="ARM64 or x86_64; another machine's own name for itself.")
    cpu_model: str = Field(min_length=1)
    model_size: str = Field(min_length=1, description="Catalogue name of the model, or the folder's name.")
    iterations: int = Field(ge=1)
    avg_latency_ms: float = Field(gt=0)
    total_time_s: float = Field(gt=0, description="Sum of the latencies.")
    rps: float = Field(gt=0, description="Requests a second, one after the other.")
    cpu_limit: int | float = Field(gt=0, description="CPUs the run could use: the least of quota, affinity and cores.")
    memory_mb: float = Field(gt=0, description="Peak resident memory of the measuring process, MiB.")
    details: Details


def summarize(latencies_ms: Sequence[float]) -> dict[str, Any]:
    """The figures that follow from the latencies, under the names they have in ``Details``."""
    p50, p95, p99 = (float(value) for value in np.percentile(latencies_ms, (50, 95, 99)))
    return {
        "latencies_ms": tuple(round(value, 3) for value in latencies_ms),
        "p50_ms": round(p50, 3),
        "p95_ms": round(p95, 3),
        "p99_ms": round(p99, 3),
        "stdev_ms": round(statistics.stdev(latencies_ms), 3) if len(latencies_ms) > 1 else None,
        "mean_interval_ms": compute_mean_interval(latencies_ms),
    }


def read_result(path: Path) -> BenchmarkResult:
    """Read a result; the platform it stands for is called as the file's stem (``path.stem``).

    Raises:
        RefusedError: The file is missing, truncated or foreign, or its figures contradict each other; names the file and the field.
    """
    result = validate(path, read_json(path), SCHEMA, BenchmarkResult)
    latencies = result.details.latencies_ms
    total_s = sum(latencies) / 1000
    for field, value, expected in (
        ("iterations", result.iterations, len(latencies)),
        ("avg_latency_ms", result.avg_latency_ms, total_s * 1000 / len(latencies)),
        ("total_time_s", result.total_time_s, total_s),
        ("rps", result.rps, len(latencies) / total_s),
    ):
        if abs(value - expected) > _AGREE * expected:
            raise RefusedError(
                f"{path}: the field {field} is {value:g}, but the latencies in details.latencies_ms make it {expected:g}. "
                "The file was changed or put together; take the one that `stt benchmark` wrote."
            )
    return result


def write_result(result: BenchmarkResult, path: Path) -> None:
    """Write a result, whole or not at all."""
    write_json(json.loads(result.model_dump_json()), path)
