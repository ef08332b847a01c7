"""The capacity assets: ``benchmark``, ``ratio`` and ``sizing``, and the checks that say whether to believe them.

Results of machines outside (a Mac, a cloud node) come as files in the capacity folder, the external asset ``benchmark_files``; a
sensor sees them and has ``benchmark`` take them in. ``ratio`` and ``sizing`` follow by declarative automation.
"""

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from assets.metadata import table
from assets.resources import CapacityResource
from assets.step import OWNERS
from benchmarks.files import Refused
from benchmarks.gather import choose, file_name, gather, ratios
from benchmarks.host import Host
from benchmarks.isolation import detect
from benchmarks.ratio import CONFIG_NAME, read_ratio, write_ratio
from benchmarks.result import BenchmarkResult

GROUP = "capacity"

platform_models = dg.DynamicPartitionsDefinition(name="platform_models")
"""A platform and a model, ``m4_base``: what one result stands for."""

ENOUGH_ITERATIONS = 30
MOST_NOISE = 0.1
"""Standard deviation of the latencies over their mean."""

WIDEST_RATIO = 0.1
"""Half of the ratio's interval over the ratio: pods are ordered with that error."""

FOLLOWS = dg.AutomationCondition.eager().without(~dg.AutomationCondition.any_deps_missing())
"""As soon as something above has changed; a platform that failed to come in does not hold up the others."""

benchmark_files = dg.AssetSpec(
    "benchmark_files",
    group_name=GROUP,
    owners=OWNERS,
    kinds={"file", "json"},
    code_version="1",
    description="Results of `stt benchmark` in the capacity folder, of this machine and of others, as the sensor last saw them.",
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
    check_specs=[
        dg.AssetCheckSpec(
            "enough_iterations",
            asset="benchmark",
            description=f"{ENOUGH_ITERATIONS} iterations or more, not interrupted.",
        ),
        dg.AssetCheckSpec(
            "quiet", asset="benchmark", description=f"Standard deviation at most {MOST_NOISE:.0%} of the mean latency."
        ),
        dg.AssetCheckSpec(
            "isolated",
            asset="benchmark",
            description="Exactly one CPU could be used, by quota or affinity.",
            blocking=True,
        ),
    ],
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
        _measure(key, config.iterations, capacity.path)
    found = gather(capacity.path).newest.get(key)
    if found is None:
        raise dg.Failure(
            f"{capacity.folder} has no result of {key}. Put {file_name(key)} there, or materialize with `measure: true` "
            "on that machine.",
            allow_retries=False,
        )
    result = found.result
    return dg.MaterializeResult(
        metadata={
            "file": dg.MetadataValue.path(str(found.path)),
            "cpu_model": result.cpu_model,
            "avg_latency_ms": result.avg_latency_ms,
            "rps": result.rps,
            "p95_ms": result.details.p95_ms,
            "memory_mb": result.memory_mb,
            "iterations": result.iterations,
            "times_realtime": round(result.details.audio.seconds * result.rps, 3),
            "latencies": dg.MetadataValue.md(_picture(_latencies_png(result))),
        },
        check_results=list(_judged(result)),
    )


def _measure(key: str, iterations: int, folder: Path) -> None:
    # A process of its own: peak memory is the engine's then, and the affinity ends with it.
    command = [sys.executable, "-m", "stt_orchestration.cli", "benchmark", "--overwrite"]
    if not detect(Host.here()).one_cpu:
        # In a pod with one CPU, the result is to say what the node isolates and not what we do.
        command.append("--pin")
    command += ["--model", key.rsplit("_", 1)[1], "--iterations", str(iterations)]
    command += ["--output", str(folder / file_name(key))]
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ.copy())
    if told.returncode:
        raise dg.Failure(f"stt benchmark: {told.stderr.strip()[-2000:]}", allow_retries=False)


def _judged(result: BenchmarkResult) -> Iterator[dg.AssetCheckResult]:
    details = result.details
    yield dg.AssetCheckResult(
        check_name="enough_iterations",
        passed=result.iterations >= ENOUGH_ITERATIONS and not details.partial,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{result.iterations} of {details.iterations_asked} iterations; at least {ENOUGH_ITERATIONS} are wanted.",
    )
    noise = None if details.stdev_ms is None else details.stdev_ms / result.avg_latency_ms
    yield dg.AssetCheckResult(
        check_name="quiet",
        passed=noise is not None and noise <= MOST_NOISE,
        severity=dg.AssetCheckSeverity.WARN,
        description="Too few iterations to know."
        if noise is None
        else f"{noise:.1%} of the mean, {MOST_NOISE:.0%} allowed.",
        metadata={} if noise is None else {"noise": noise},
    )
    yield dg.AssetCheckResult(
        check_name="isolated",
        passed=details.isolation.one_cpu,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(details.isolation.how)
        or f"{result.cpu_limit:g} CPUs could be used, so its figures size nothing.",
    )


@dg.asset(
    name="ratio",
    deps=[benchmark],
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "json"},
    code_version="1",
    automation_condition=FOLLOWS,
    check_specs=[
        dg.AssetCheckSpec(
            "narrow_enough",
            asset="ratio",
            description=f"Every ratio is known to {WIDEST_RATIO:.0%} or better, and every pair of results could be compared.",
        )
    ],
    description="How many times as long each platform takes as the reference, with 95 % intervals: ratio_config.json.",
)
def ratio(capacity: CapacityResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Compare the newest results."""
    gathered = gather(capacity.path)
    config, refused = ratios(gathered, capacity.reference)
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
    widest = max(((one.interval[1] - one.interval[0]) / 2 / one.ratio for one in found), default=0.0)
    sentence = f"{len(found)} ratios, the widest interval ±{widest:.1%} ({WIDEST_RATIO:.0%} allowed)."
    return dg.MaterializeResult(
        metadata={
            "ratios": table(("model", "from", "to", "ratio", "95 % interval"), rows),
            "refused": table(("why",), [(line,) for line in (*refused, *gathered.refused)]),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="narrow_enough",
                passed=widest <= WIDEST_RATIO and not refused,
                severity=dg.AssetCheckSeverity.WARN,
                description=" ".join([sentence, *refused]),
            )
        ],
    )


@dg.asset(
    name="sizing",
    deps=[benchmark, ratio],
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "markdown"},
    code_version="1",
    automation_condition=FOLLOWS,
    description=(
        "What the target load needs: pods, CPU, memory, threads, autoscaler, GPUs and cost, with what each rests on; "
        "report, plots and manifests in the capacity folder under sizing/."
    ),
)
def sizing(capacity: CapacityResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Size for the settings' target."""
    from benchmarks.sizing import report
    from benchmarks.sizing.basis import basis
    from benchmarks.sizing.batch import Load
    from benchmarks.sizing.plan import plan
    from benchmarks.sizing.prices import SHIPPED, read_prices
    from benchmarks.sizing.service import Target
    from benchmarks.sizing.write import REPORT, write

    try:
        listed = read_prices(Path(capacity.prices) if capacity.prices else SHIPPED)
        target = Target(capacity.rps, capacity.p95_s, capacity.mean_s) if capacity.rps is not None else None
        batch = (
            Load(capacity.hours_per_day, capacity.deadline_h)
            if capacity.hours_per_day is not None and capacity.deadline_h is not None
            else None
        )
        config_file = capacity.path / CONFIG_NAME
        config = read_ratio(config_file) if config_file.exists() else None
        one, leading = choose(gather(capacity.path), config, capacity.model, capacity.platform, capacity.reference)
        made = plan(
            basis(one.path, one.result, leading),
            listed,
            listed.cpu_node(None, capacity.cpu_node_price),
            target=target,
            load=batch,
        )
        folder = capacity.path / "sizing"
        write(made, folder)
    except Refused as error:
        raise dg.Failure(
            f"{error} The targets and the price are the settings STT_SIZE_RPS, STT_SIZE_P95_S, STT_SIZE_HOURS_PER_DAY, "
            "STT_SIZE_DEADLINE_H and STT_CPU_NODE_PRICE.",
            allow_retries=False,
        ) from None
    text = (folder / REPORT).read_text(encoding="utf-8")
    for name in (report.LATENCY_PLOT, report.LOAD_PLOT):
        if made.service:
            text = text.replace(f"({name})", f"({_data_url((folder / name).read_bytes())})")
    metadata: dict[str, dg.MetadataValue] = {
        "report": dg.MetadataValue.md(text),
        "file": dg.MetadataValue.path(str(folder / REPORT)),
    }
    if made.service:
        metadata["pods"] = dg.MetadataValue.int(made.service.fleet.pods)
        metadata["cost_per_month"] = dg.MetadataValue.float(round(made.service.bill.per_month, 2))
    if made.batch:
        metadata["batch_pods"] = dg.MetadataValue.int(made.batch.candidates[0][0].pods)
    return dg.MaterializeResult(metadata=metadata)


def _picture(png: bytes) -> str:
    return f"![latencies]({_data_url(png)})"


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _latencies_png(result: BenchmarkResult) -> bytes:
    import io

    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, panel = plt.subplots(figsize=(6, 2.5), dpi=90)
    panel.plot(result.details.latencies_ms, ".-")
    panel.set_xlabel("iteration")
    panel.set_ylabel("latency, ms")
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
    figure.tight_layout()
    made = io.BytesIO()
    figure.savefig(made)
    plt.close(figure)
    return made.getvalue()
