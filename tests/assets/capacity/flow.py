"""Helpers: write invented results of platforms, and materialize one capacity asset."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import dagster as dg

from benchmarks.platform.result import BenchmarkResult, write_result
from stt_orchestration.definitions import build_defs
from stt_orchestration.settings import Settings
from tests.benchmarks.results import make_result
from tests.stt_orchestration.conftest import Installation

NOISE = [2400.0 + 60 * math.sin(i) for i in range(50)]


def write_platform_result(folder: Path, name: str, scale: float, **fields: Any) -> BenchmarkResult:
    result = make_result([value * scale for value in NOISE], ids=(name,), cpu_model=name, **fields)
    write_result(result, folder / f"{name}_base_2024-12-02.json")
    return result


def materialize(
    installation: Installation, name: str, partition: str | None = None, config: dict[str, Any] | None = None
) -> dg.ExecuteInProcessResult:
    definitions = build_defs(Settings.read())
    job = definitions.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=installation.instance,
        asset_selection=[dg.AssetKey(name)],
        partition_key=partition,
        run_config={"ops": {name: {"config": config}}} if config else None,
        raise_on_error=False,
    )
