"""The capacity assets ``benchmark``, ``ratio`` and ``sizing``, and the checks of their quality.

Results of machines outside (a Mac, a cloud node) come as files in the capacity folder, the observable source ``benchmark_files``; a
sensor sees them and has ``benchmark`` take them in. ``ratio`` and ``sizing`` follow by declarative automation.
"""

import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

import dagster as dg

from assets.common import plots
from assets.common.checks import make_check_specs, to_check_result
from assets.common.metadata import make_table
from assets.common.resources import CapacityResource
from assets.common.step import OWNERS
from benchmarks.files import RefusedError
from benchmarks.platform import trust
from benchmarks.platform.gather import (
    StoredResult,
    choose_result,
    compute_ratios,
    load_results,
    make_file_name,
)
from benchmarks.platform.host import Host
from benchmarks.platform.isolation import detect_isolation
from benchmarks.platform.ratio import CONFIG_NAME, read_ratio, write_ratio

GROUP = "capacity"

platform_models = dg.DynamicPartitionsDefinition(name="platform_models")
"""A platform and a model, ``m4_base``: what one result stands for."""

EAGER_ALLOWING_MISSING_DEPS = dg.AutomationCondition.eager().without(~dg.AutomationCondition.any_deps_missing())
"""Materialize when a dependency has changed, even if the result of one platform is missing."""


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


@dg.asset(
    name="ratio",
    deps=[benchmark],
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "json"},
    code_version="1",
    automation_condition=EAGER_ALLOWING_MISSING_DEPS,
    check_specs=make_check_specs("ratio", [trust.NARROW_RULE], None),
    description="How many times as long each platform takes as the reference, with 95 % intervals: ratio_config.json.",
)
def ratio(capacity: CapacityResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Compare the newest results."""
    gathered = load_results(capacity.path)
    config, refused = compute_ratios(gathered, capacity.reference)
    if config is not None:
        write_ratio(config, capacity.path / CONFIG_NAME)
    else:
        (capacity.path / CONFIG_NAME).unlink(missing_ok=True)
    found = config.ratios if config else ()
    rows = [
        (
            one.model_size,
            one.a.platform,
            one.b.platform,
            f"{one.ratio:.3f}",
            f"{one.interval[0]:.3f} to {one.interval[1]:.3f}",
        )
        for one in found
    ]
    metadata: dict[str, dg.MetadataValue] = {
        "ratios": make_table(("model", "from", "to", "ratio", "95 % interval"), rows),
    }
    if found:
        metadata["plot"] = plots.plot_ratios(found)
    if left_out := (*refused, *gathered.refused):
        metadata["left_out"] = make_table(("why",), [(line,) for line in left_out])
    return dg.MaterializeResult(metadata=metadata, check_results=[to_check_result(trust.check_ratios(found, refused))])


@dg.asset(
    name="sizing",
    deps=[benchmark, ratio],
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "markdown"},
    code_version="1",
    automation_condition=EAGER_ALLOWING_MISSING_DEPS,
    description=(
        "What the target load needs: pods, CPU, memory, threads, autoscaler, GPUs and cost, with what each rests on; "
        "report, plots and manifests in the capacity folder under sizing/."
    ),
)
def sizing(capacity: CapacityResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Size for the settings' target."""
    from benchmarks.sizing.basis import load_basis
    from benchmarks.sizing.batch import BatchLoad, parse_gpu_figure
    from benchmarks.sizing.plan import make_plan
    from benchmarks.sizing.prices import DEFAULT_PRICES, read_prices
    from benchmarks.sizing.service import Target
    from benchmarks.sizing.write import REPORT, SizingOutput, write_sizing

    try:
        listed = read_prices(Path(capacity.prices) if capacity.prices else DEFAULT_PRICES)
        target = Target(capacity.rps, capacity.p95_s, capacity.mean_s) if capacity.rps is not None else None
        batch = (
            BatchLoad(capacity.hours_per_day, capacity.deadline_h)
            if capacity.hours_per_day is not None and capacity.deadline_h is not None
            else None
        )
        config_file = capacity.path / CONFIG_NAME
        config = read_ratio(config_file) if config_file.exists() else None
        one, leading = choose_result(
            load_results(capacity.path), config, capacity.model, capacity.platform, capacity.reference
        )
        made = make_plan(
            load_basis(one.path, one.result, leading),
            listed,
            listed.cpu_node(None, capacity.cpu_node_price),
            target=target,
            load=batch,
            gpus=[parse_gpu_figure(one) for one in capacity.gpus],
        )
        folder = capacity.path / "sizing"
        written = write_sizing(made, SizingOutput.from_folder(folder))
    except RefusedError as error:
        raise dg.Failure(
            f"{error} The targets, the GPUs and the price are the settings STT_SIZE_RPS, STT_SIZE_P95_S, STT_SIZE_HOURS_PER_DAY, "
            "STT_SIZE_DEADLINE_H, STT_SIZE_GPU and STT_CPU_NODE_PRICE.",
            allow_retries=False,
        ) from None
    text = (folder / REPORT).read_text(encoding="utf-8")
    for path in written:
        if path.suffix == ".png":
            text = text.replace(f"({path.name})", f"({plots.make_data_url(path.read_bytes())})")
    metadata: dict[str, dg.MetadataValue] = {}
    if made.service:
        metadata["pods"] = dg.MetadataValue.int(made.service.fleet.pods)
        metadata["cost_per_month"] = dg.MetadataValue.float(round(made.service.bill.per_month, 2))
    if made.batch:
        metadata["batch_pods"] = dg.MetadataValue.int(made.batch.candidates[0][0].pods)
    metadata["report"] = dg.MetadataValue.md(text)
    metadata["file"] = dg.MetadataValue.path(str(folder / REPORT))
    return dg.MaterializeResult(metadata=metadata)
