"""Invented benchmark results for tests; none of their figures was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.platform.isolation import Isolation
from benchmarks.platform.machine import Machine
from benchmarks.platform.result import Audio, BenchmarkResult, Details, WeightsUsed, summarize
from speech.machine.cgroups import CpuCounters
from speech.transcript import Options


def make_result(
    latencies_ms: Sequence[float] = (100.0, 110.0, 90.0, 105.0, 95.0),
    *,
    ids: Sequence[str] = ("one",),
    cpu_model: str = "Apple M4",
    timestamp: str = "2024-12-02T10:30:00Z",
    model: str = "base",
    cpu_limit: float = 1,
    throttling: CpuCounters | None = None,
    **details: Any,
) -> BenchmarkResult:
    """A consistent result with these latencies; keyword arguments replace single fields."""
    total_s = sum(latencies_ms) / 1000
    isolation = Isolation(
        cpus_usable=4,
        cpu_quota=1.0,
        cgroup_version=2,
        memory_limit_mb=2048.0,
        qos=None,
        pinned=False,
        pinned_by_us=False,
        one_cpu=True,
        how=("a quota of 1 CPU (cgroup version 2)",),
    )
    platform = Machine(
        architecture="ARM64",
        cpu_model=cpu_model,
        cores=4,
        memory_mb=8192.0,
        system="Linux 6.1",
        instruction_sets=("asimd",),
        ids=tuple(ids),
    )
    fields: dict[str, Any] = {
        **summarize(latencies_ms),
        "partial": False,
        "iterations_asked": len(latencies_ms),
        "warmup_latencies_ms": (),
        "model_load_s": 0.5,
        "normalize_s": 0.1,
        "cpu_s": total_s,
        "steal_s": None,
        "throttling": throttling,
        "workers": 1,
        "audio": Audio(name="a.wav", sha256="a" * 64, seconds=30.0),
        "weights": WeightsUsed(name=model, sha256=model[0].encode().hex() * 32, revision=None),
        "options": Options(),
        "engine_version": "2",
        "decoding": "fast",
        "words": 70,
        "isolation": isolation,
        "machine": platform,
        "versions": {"ctranslate2": "4.6.0"},
        **details,
    }
    return BenchmarkResult(
        timestamp=timestamp,
        architecture=platform.architecture,
        cpu_model=cpu_model,
        model_size=model,
        iterations=len(latencies_ms),
        avg_latency_ms=total_s * 1000 / len(latencies_ms),
        total_time_s=total_s,
        rps=len(latencies_ms) / total_s,
        cpu_limit=cpu_limit,
        memory_mb=500.0,
        details=Details(**fields),
    )
