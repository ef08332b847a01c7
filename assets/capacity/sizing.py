"""The ``sizing`` asset: what the load of the settings needs."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from assets.capacity.benchmark import benchmark
from assets.capacity.common import EAGER_ALLOWING_MISSING_DEPS, GROUP
from assets.capacity.ratio import ratio
from assets.common import plots
from assets.common.resources import CapacityResource
from assets.common.step import OWNERS
from benchmarks.files import RefusedError
from benchmarks.platform.gather import choose_result, load_results
from benchmarks.platform.ratio import CONFIG_NAME

if TYPE_CHECKING:
    from benchmarks.sizing.size import SizingRequest, SizingResult


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
    from benchmarks.sizing.size import size

    try:
        sized = size(
            _make_request(capacity),
            lambda ratios: choose_result(
                load_results(capacity.path), ratios, capacity.model, capacity.platform, capacity.reference
            ),
        )
    except RefusedError as error:
        raise dg.Failure(
            f"{error} The targets, the GPUs and the price are the settings STT_SIZE_RPS, STT_SIZE_P95_S, STT_SIZE_HOURS_PER_DAY, "
            "STT_SIZE_DEADLINE_H, STT_SIZE_GPU and STT_CPU_NODE_PRICE.",
            allow_retries=False,
        ) from None
    return dg.MaterializeResult(metadata=_make_sizing_metadata(sized))


def _make_request(capacity: CapacityResource) -> "SizingRequest":
    from benchmarks.sizing.batch import BatchLoad, parse_gpu_figure
    from benchmarks.sizing.service import Target
    from benchmarks.sizing.size import SizingRequest

    ratios = capacity.path / CONFIG_NAME
    return SizingRequest(
        target=Target(capacity.rps, capacity.p95_s, capacity.mean_s) if capacity.rps is not None else None,
        load=(
            BatchLoad(capacity.hours_per_day, capacity.deadline_h)
            if capacity.hours_per_day is not None and capacity.deadline_h is not None
            else None
        ),
        gpus=tuple(parse_gpu_figure(figure) for figure in capacity.gpus),
        ratios=ratios if ratios.exists() else None,
        prices=Path(capacity.prices) if capacity.prices else None,
        cpu_node_price=capacity.cpu_node_price,
        output=capacity.path / "sizing",
    )


def _make_sizing_metadata(sized: "SizingResult") -> Mapping[str, dg.MetadataValue]:
    """Figures to order by, and the report with its plots inside, because Dagster serves no files."""
    from benchmarks.sizing.write import REPORT

    plan = sized.plan
    report = next(path for path in sized.files if path.name == REPORT)
    text = report.read_text(encoding="utf-8")
    for path in sized.files:
        if path.suffix == ".png":
            text = text.replace(f"({path.name})", f"({plots.make_data_url(path.read_bytes())})")
    metadata: dict[str, dg.MetadataValue] = {}
    if plan.service:
        metadata["pods"] = dg.MetadataValue.int(plan.service.fleet.pods)
        metadata["cost_per_month"] = dg.MetadataValue.float(round(plan.service.bill.per_month, 2))
    if plan.batch:
        metadata["batch_pods"] = dg.MetadataValue.int(plan.batch.candidates[0][0].pods)
    metadata["report"] = dg.MetadataValue.md(text)
    metadata["file"] = dg.MetadataValue.path(str(report))
    return metadata
