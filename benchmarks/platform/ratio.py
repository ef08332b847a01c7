"""The normalization ratio of two platforms: what a latency measured on one is on the other.

Ratio = latency on B / latency on A, of the same weights over the same recording with the same options: then a latency measured on A
times the ratio is the one to expect on B. Runs that differ in more than their platform are refused, because their ratio would
measure the difference.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from benchmarks.files import RefusedError, read_json, validate, write_json
from benchmarks.platform.intervals import CONFIDENCE, MIN_SAMPLES, RESAMPLES, compute_ratio_interval
from benchmarks.platform.result import BenchmarkResult, read_result

CONFIG_NAME = "ratio_config.json"
SCHEMA = Path(__file__).with_name("schemas") / "ratio_config.json"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Side(_Record):
    """One of the two platforms, as it was measured."""

    platform: str = Field(min_length=1, description="The result file's stem.")
    architecture: str
    cpu_model: str
    avg_latency_ms: float = Field(gt=0)
    rps: float = Field(gt=0)
    iterations: int = Field(ge=MIN_SAMPLES)
    timestamp: str


class Ratio(_Record):
    """The ratio for one model and recording."""

    model_size: str
    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    audio_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    audio_seconds: float = Field(gt=0)
    cpu_limit: int | float = Field(gt=0)
    workers: int = Field(ge=1)
    a: Side
    b: Side
    ratio: float = Field(gt=0, description="Latency on B / latency on A.")
    interval: tuple[float, float] = Field(description="Of the ratio, by bootstrap over the iterations of both runs.")
    notes: tuple[str, ...] = Field(description="What differs between the runs and does not forbid comparing them.")


class RatioConfig(_Record):
    """All ratios between platforms that were computed together."""

    format: Literal[1] = 1
    timestamp: str = Field(description="When it was computed, UTC.")
    confidence: float = CONFIDENCE
    resamples: int = RESAMPLES
    ratios: tuple[Ratio, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class _ResultFile:
    path: Path
    model: str


_Key = tuple[str, str]  # sha256 of the weights and of the recording


def compare_platforms(a: Path, b: Path) -> RatioConfig:
    """Compare two platforms: two result files, or two folders of results, which are paired by model and recording.

    Of several results in a folder for one model and recording the newest counts. A folder holds one platform's results.

    Raises:
        RefusedError: A file is truncated or foreign, the runs are unlike (the fields are named), nothing pairs, or both are of one
            machine.
    """
    if a.is_dir() != b.is_dir():
        raise RefusedError(f"{a} and {b}: one is a folder. Give two result files, or two folders of them.")
    pairs = _pairs(a, b) if a.is_dir() else [(a, b)]
    ratios = tuple(
        compute_ratio((path_a.stem, read_result(path_a)), (path_b.stem, read_result(path_b)))
        for path_a, path_b in pairs
    )
    return RatioConfig(timestamp=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), ratios=ratios)


def compute_ratio(a: tuple[str, BenchmarkResult], b: tuple[str, BenchmarkResult]) -> Ratio:
    """The ratio of two results, each with its platform's name.

    Raises:
        RefusedError: The runs are unlike (the fields are named), too short for an interval, or both of one machine.
    """
    (name_a, result_a), (name_b, result_b) = a, b
    _require_two_machines(name_a, result_a, name_b, result_b)
    fields_a, fields_b = _collect_comparable_fields(result_a), _collect_comparable_fields(result_b)
    if fields_a["details.weights.sha256"] != fields_b["details.weights.sha256"]:
        # Add the model's name first, because a checksum alone is hard to read. Two names of the same weights are not a difference.
        fields_a, fields_b = (
            {"model_size": result_a.model_size, **fields_a},
            {"model_size": result_b.model_size, **fields_b},
        )
    differences = [
        f"{field} is {fields_a[field]} in {name_a} and {fields_b[field]} in {name_b}"
        for field in fields_a
        if fields_a[field] != fields_b[field]
    ]
    if differences:
        raise RefusedError(f"These runs cannot be compared: {'; '.join(differences)}. Measure both platforms alike.")
    for name, result in (a, b):
        if result.iterations < MIN_SAMPLES:
            raise RefusedError(
                f"{name}: iterations is {result.iterations}, and a ratio needs at least {MIN_SAMPLES} to tell how sure it is. "
                "Measure again."
            )
    return Ratio(
        model_size=result_a.model_size,
        weights_sha256=result_a.details.weights.sha256,
        audio_sha256=result_a.details.audio.sha256,
        audio_seconds=result_a.details.audio.seconds,
        cpu_limit=result_a.cpu_limit,
        workers=result_a.details.workers,
        a=_side(name_a, result_a),
        b=_side(name_b, result_b),
        ratio=round(result_b.avg_latency_ms / result_a.avg_latency_ms, 6),
        interval=compute_ratio_interval(result_b.details.latencies_ms, result_a.details.latencies_ms),
        notes=tuple(_notes(name_a, result_a, name_b, result_b)),
    )


def read_ratio(path: Path) -> RatioConfig:
    """Read a ``ratio_config.json``.

    Raises:
        RefusedError: The file is missing, truncated or foreign; names the file and the field.
    """
    return validate(path, read_json(path), SCHEMA, RatioConfig)


def write_ratio(config: RatioConfig, path: Path) -> None:
    """Write a ``ratio_config.json``, whole or not at all."""
    write_json(json.loads(config.model_dump_json()), path)


def _collect_comparable_fields(result: BenchmarkResult) -> dict[str, Any]:
    """Field -> value of all that must be equal."""
    details = result.details
    return {
        "details.weights.sha256": details.weights.sha256,
        "details.audio.sha256": details.audio.sha256,
        **{f"details.options.{name}": value for name, value in details.options.model_dump().items()},
        "details.engine_version": details.engine_version,
        "details.workers": details.workers,
        "cpu_limit": result.cpu_limit,
    }


def _require_two_machines(name_a: str, result_a: BenchmarkResult, name_b: str, result_b: BenchmarkResult) -> None:
    machine_a, machine_b = result_a.details.machine, result_b.details.machine
    is_same_type = (machine_a.architecture, machine_a.cpu_model) == (machine_b.architecture, machine_b.cpu_model)
    if set(machine_a.ids) & set(machine_b.ids):
        raise RefusedError(
            f"{name_a} and {name_b} were measured on one machine ({machine_a.cpu_model}; details.machine.ids). A ratio needs two."
        )
    if is_same_type and not (machine_a.ids and machine_b.ids):
        raise RefusedError(
            f"{name_a} and {name_b} cannot be told to be two machines: both are {machine_a.cpu_model}, and "
            "details.machine.ids is empty."
        )


def _notes(name_a: str, result_a: BenchmarkResult, name_b: str, result_b: BenchmarkResult) -> list[str]:
    notes = [
        f"{name}: interrupted after {result.iterations} of {result.details.iterations_asked} iterations."
        for name, result in ((name_a, result_a), (name_b, result_b))
        if result.details.partial
    ]
    versions_a, versions_b = result_a.details.versions, result_b.details.versions
    notes += [
        f"{library} is {versions_a.get(library, 'absent')} in {name_a} and {versions_b.get(library, 'absent')} in {name_b}."
        for library in sorted(versions_a.keys() | versions_b.keys())
        if versions_a.get(library) != versions_b.get(library)
    ]
    if (how_a := result_a.details.isolation.how) != (how_b := result_b.details.isolation.how):
        notes.append(
            f"{name_a} had {'; '.join(how_a) or 'no isolation'}, {name_b} {'; '.join(how_b) or 'no isolation'}."
        )
    return notes


def _side(name: str, result: BenchmarkResult) -> Side:
    return Side(
        platform=name,
        architecture=result.architecture,
        cpu_model=result.cpu_model,
        avg_latency_ms=result.avg_latency_ms,
        rps=result.rps,
        iterations=result.iterations,
        timestamp=result.timestamp,
    )


def _pairs(a: Path, b: Path) -> list[tuple[Path, Path]]:
    files_a, files_b = _newest(a), _newest(b)
    common_keys = [key for key in files_a if key in files_b]
    if not common_keys:
        raise RefusedError(
            f"No result in {a} has the model and the recording (details.weights.sha256, details.audio.sha256) of one in {b}: "
            f"there are {_models(files_a)} and {_models(files_b)}."
        )
    return [(files_a[key].path, files_b[key].path) for key in common_keys]


def _newest(folder: Path) -> dict[_Key, _ResultFile]:
    """The newest result's file for each model and recording of a folder, in the order of the models' names."""
    results = {path: read_result(path) for path in sorted(folder.glob("*.json")) if path.name != CONFIG_NAME}
    processors = sorted({result.cpu_model for result in results.values()})
    if len(processors) > 1:
        raise RefusedError(
            f"{folder} holds results of several platforms: {', '.join(processors)}. Give each a folder of its own."
        )
    newest: dict[_Key, _ResultFile] = {}
    for path, result in sorted(results.items(), key=lambda item: (item[1].model_size, item[1].timestamp)):
        newest[result.details.weights.sha256, result.details.audio.sha256] = _ResultFile(path, result.model_size)
    return newest


def _models(results: dict[_Key, _ResultFile]) -> str:
    return ", ".join(dict.fromkeys(file.model for file in results.values())) or "none"


def format_summary(ratios: Sequence[Ratio]) -> str:
    """A line for each ratio, for a terminal."""
    return "\n".join(
        f"{ratio.model_size}: {ratio.b.platform} takes {ratio.ratio:.3f} times as long as {ratio.a.platform} "
        f"(95 % interval {ratio.interval[0]:.3f} to {ratio.interval[1]:.3f}; {ratio.b.avg_latency_ms:.0f} ms against "
        f"{ratio.a.avg_latency_ms:.0f} ms)"
        for ratio in ratios
    )
