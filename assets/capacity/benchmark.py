"""The ``benchmark`` asset: what one platform takes for a request with one model, and the files it is taken in from.

Results of machines outside (a Mac, a cloud node) come as files in the capacity folder, the observable source ``benchmark_files``. A
sensor sees them and requests runs of ``benchmark``, which takes them in.
"""

import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

import dagster as dg

from assets.capacity.common import GROUP
from assets.common import plots
from assets.common.checks import make_check_specs, to_check_result
from assets.common.metadata import make_table
from assets.common.partitions import platform_models
from assets.common.resources import CapacityResource
from assets.common.step import OWNERS
from benchmarks.platform import trust
from benchmarks.platform.gather import StoredResult, load_results, make_file_name
from benchmarks.platform.isolation import detect_isolation
from speech.machine.host import Host

with warnings.catch_warnings():
    # The decorator is marked as beta: a test holds what it does here, and an operator cannot act on the warning.
    warnings.simplefilter("ignore", dg.BetaWarning)

    @dg.multi_observable_source_asset(  # type: ignore[untyped-decorator]  # Dagster gives it no types
        name="benchmark_files",
        specs=[
            dg.AssetSpec(
                "benchmark_files",
                group_name=GROUP,
                owners=OWNERS,
                kinds={"file", "json"},
                code_version="1",
                partitions_def=platform_models,
                description=(
                    "Results of `stt benchmark` in the capacity folder, of this machine and of others: the newest of each "
                    "platform and model, as the sensor last saw it, or as it is observed by hand."
                ),
            )
        ],
    )
    def benchmark_files(context: dg.AssetExecutionContext, capacity: CapacityResource) -> dg.ObserveResult:
        """Look for the newest result of one platform and model."""
        found = load_results(capacity.path).newest.get(context.partition_key)
        if found is None:
            raise dg.Failure(
                f"{capacity.folder} has no result of {context.partition_key} any more.", allow_retries=False
            )
        return dg.ObserveResult(
            data_version=dg.DataVersion(found.version), metadata={"file": dg.MetadataValue.path(str(found.path))}
        )


class BenchmarkConfig(dg.Config):
    """How ``benchmark`` gets its result.

    Attributes:
        measure: True measures the machine that the step runs on; False takes in the newest file of the platform and model.
        iterations: How many requests are measured.
    """

    measure: bool = False
    iterations: int = 50


@dg.asset(
    deps=[benchmark_files],
    partitions_def=platform_models,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "json"},
    code_version="1",
    pool="benchmark",
    check_specs=make_check_specs("benchmark", trust.RULES, platform_models),
    description=(
        "How long one CPU of a platform takes for a request with a model, by the production engine. Taken in from the capacity "
        "folder, or measured on the machine the step runs on (config `measure: true`)."
    ),
)
def benchmark(
    context: dg.AssetExecutionContext, config: BenchmarkConfig, capacity: CapacityResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Measure or take in one platform and model."""
    key = context.partition_key
    if config.measure:
        context.log.info(_measure_this_machine(key, config.iterations, capacity))
    found = load_results(capacity.path).newest.get(key)
    if found is None:
        raise dg.Failure(
            f"{capacity.folder} has no result of {key}. Put {make_file_name(key)} there, or materialize with `measure: true` "
            "on that machine.",
            allow_retries=False,
        )
    return dg.MaterializeResult(
        metadata=_make_result_metadata(found),
        check_results=[to_check_result(finding) for finding in trust.check_result(found.result)],
        data_version=dg.DataVersion(found.version),
    )


def _measure_this_machine(key: str, iterations: int, capacity: CapacityResource) -> str:
    """Measure this machine; returns what the command said."""
    in_use = capacity.model  # may be a folder path; the partition key contains only its last part
    model = in_use if key.endswith(f"_{Path(in_use).name}") else key.rsplit("_", 1)[1]
    # A separate process, so that peak memory is that of the engine and the CPU affinity does not affect this process.
    command = [sys.executable, "-m", "stt_orchestration.cli", "benchmark", "--overwrite", "--model", model]
    if not detect_isolation(Host.here()).one_cpu:
        # In a pod with one CPU we do not pin, so that the result shows only what the node itself isolates.
        command.append("--pin")
    command += ["--iterations", str(iterations), "--output", str(capacity.path / make_file_name(key))]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    if told.returncode:
        raise dg.Failure(f"stt benchmark: {told.stderr.strip()[-2000:]}", allow_retries=False)
    return told.stdout.strip()[-2000:]


def _make_result_metadata(file: StoredResult) -> Mapping[str, dg.MetadataValue]:
    result, details = file.result, file.result.details
    facts = {
        "measured": result.timestamp,
        "processor": f"{result.cpu_model} ({result.architecture})",
        "instruction sets": ", ".join(details.machine.instruction_sets),
        "isolation": "; ".join(details.isolation.how) or "none",
        "model": f"{result.model_size}, {details.options.compute_type}",
        "audio": f"{details.audio.name}, {details.audio.seconds:.1f} s",
        "libraries": ", ".join(f"{name} {version}" for name, version in details.versions.items()),
    }
    return {
        "avg_latency_ms": dg.MetadataValue.float(result.avg_latency_ms),
        "p95_ms": dg.MetadataValue.float(details.p95_ms),
        "times_realtime": dg.MetadataValue.float(round(details.audio.seconds * result.rps, 3)),
        "rps": dg.MetadataValue.float(result.rps),
        "memory_mb": dg.MetadataValue.float(result.memory_mb),
        "iterations": dg.MetadataValue.int(result.iterations),
        "latencies": plots.plot_latencies(result),
        "facts": make_table(("of", "found"), list(facts.items())),
        "file": dg.MetadataValue.path(str(file.path)),
    }
