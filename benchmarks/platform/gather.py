"""Reads the folder that holds results of several platforms, and chooses and compares them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.files import RefusedError
from benchmarks.platform.machine import describe_machine, read_cpu_model
from benchmarks.platform.ratio import CONFIG_NAME, Ratio, RatioConfig, compute_ratio
from benchmarks.platform.result import BenchmarkResult, read_result
from speech.machine.host import Host

_DATE = re.compile(r"_\d{4}-\d\d-\d\d$")


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A result in a file.

    Attributes:
        path: Its file.
        result: What it holds.
        platform: The file's stem without model and date, ``m4`` of ``m4_base_2024-12-02``.
    """

    path: Path
    result: BenchmarkResult
    platform: str

    @property
    def key(self) -> str:
        """Platform and model; a newer result with the same key replaces this one."""
        return f"{self.platform}_{self.result.model_size}"

    @property
    def version(self) -> str:
        """Distinguishes this result from others with the same key."""
        return f"{self.path.name} {self.result.timestamp}"


@dataclass(frozen=True, slots=True)
class PlatformResults:
    """The folder's results, the oldest first, and a sentence for each file that is not a result."""

    results: tuple[StoredResult, ...]
    refused: tuple[str, ...]

    @property
    def newest(self) -> dict[str, StoredResult]:
        """Key -> its newest result."""
        return {stored.key: stored for stored in self.results}

    def filter_by_machine(self, host: Host) -> tuple[StoredResult, ...]:
        """The results of a machine, the newest first. The machine is recognized by its identifiers, not by file names."""
        machine_ids = set(describe_machine(host).ids)
        return tuple(
            stored for stored in reversed(self.results) if machine_ids & set(stored.result.details.machine.ids)
        )


def read_stored_result(path: Path) -> StoredResult:
    """Read one result.

    Raises:
        RefusedError: It is missing or no result.
    """
    result = read_result(path)
    return StoredResult(path, result, _DATE.sub("", path.stem).removesuffix(f"_{result.model_size}"))


def load_results(folder: Path) -> PlatformResults:
    """Read every result of a folder. A file that is not a result is reported, and the others are used."""
    results, refused = [], []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        if path.name == CONFIG_NAME or path.name.startswith("."):
            continue
        try:
            results.append(read_stored_result(path))
        except RefusedError as error:
            refused.append(str(error))
    return PlatformResults(tuple(sorted(results, key=lambda stored: stored.result.timestamp)), tuple(refused))


def make_platform_key(model: str) -> str:
    """The key of this machine and a model: named after its processor."""
    slug = re.sub(r"[^a-z0-9.]+", "-", read_cpu_model(Host.here()).lower()).strip("-")
    return f"{slug}_{Path(model).name}"


def make_file_name(key: str) -> str:
    """The file of a new result of a platform and model."""
    return f"{key}_{datetime.now(UTC):%Y-%m-%d}.json"


def make_result_path(folder: Path, model: str) -> Path:
    """Default path of a result measured on this machine today."""
    return folder / make_file_name(make_platform_key(model))


def find_newest_result(folder: Path, model: str) -> Path:
    """The newest result of this machine for a model.

    Raises:
        RefusedError: The folder has none.
    """
    gathered = load_results(folder)
    name = Path(model).name
    for stored in gathered.filter_by_machine(Host.here()):
        if stored.result.model_size == name:
            return stored.path
    keys = sorted({stored.key for stored in gathered.results})
    note = f" (there are {', '.join(keys)})" if keys else ""
    raise RefusedError(
        f"{folder} has no result of this machine with {name}{note}. Give --measure to measure it first, or name the result to "
        "size from."
    )


def compute_ratios(gathered: PlatformResults, reference: str | None) -> tuple[RatioConfig | None, tuple[str, ...]]:
    """The ratios from the reference platform to every other, of the newest results; and why pairs have none.

    Args:
        gathered: The results.
        reference: The platform that ratios start from; None takes the oldest result's.

    Returns:
        The ratios, None where no pair gave one; and a sentence for each pair that was refused.
    """
    newest = list(gathered.newest.values())
    start = reference or (gathered.results[0].platform if gathered.results else None)
    of_reference = {
        start_result.result.model_size: start_result for start_result in newest if start_result.platform == start
    }
    ratios: list[Ratio] = []
    refused: list[str] = []
    for target in newest:
        start_result = of_reference.get(target.result.model_size)
        if start_result is None or target.platform == start:
            continue
        try:
            ratios.append(
                compute_ratio((start_result.path.stem, start_result.result), (target.path.stem, target.result))
            )
        except RefusedError as error:
            refused.append(str(error))
    timestamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return RatioConfig(timestamp=timestamp, ratios=tuple(ratios)) if ratios else None, tuple(refused)


def choose_result(
    gathered: PlatformResults, config: RatioConfig | None, model: str, platform: str | None, reference: str | None
) -> tuple[StoredResult, RatioConfig | None]:
    """The result to size from: the target's own, or the reference's with a ratio to the target.

    Args:
        gathered: The results.
        config: Their ratios.
        model: To size for.
        platform: To size for; None is the reference.
        reference: As for ``compute_ratios``.

    Raises:
        RefusedError: The model was measured on neither, or no ratio leads to the platform.
    """
    start = reference or (gathered.results[0].platform if gathered.results else None)
    newest = gathered.newest
    target = platform or start
    target_result, start_result = newest.get(f"{target}_{model}"), newest.get(f"{start}_{model}")
    if target_result is not None:
        return target_result, None
    if start_result is None:
        raise RefusedError(
            f"{model} was measured neither on {target or 'any platform'} nor on {start or 'a reference'}: run `stt "
            "benchmark`, or put a result into the folder."
        )
    leading = [
        ratio for ratio in (config.ratios if config else ()) if _DATE.sub("", ratio.b.platform).startswith(f"{target}_")
    ]
    if not leading or config is None:
        raise RefusedError(f"{model} was not measured on {target}, and no ratio leads there from {start}.")
    return start_result, config.model_copy(update={"ratios": tuple(leading)})
