"""A whole sizing in one call: prices, ratios and a result are read, the plan is made, and its files are written.

``stt size`` and the asset ``sizing`` both call ``size``. They differ in where a request comes from and in how the result to size
from is found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.platform.gather import StoredResult
from benchmarks.platform.ratio import RatioConfig, read_ratio
from benchmarks.sizing import manifests
from benchmarks.sizing.basis import load_basis
from benchmarks.sizing.batch import BatchLoad, GpuFigure
from benchmarks.sizing.plan import POD_CPUS, SizingPlan, make_plan
from benchmarks.sizing.prices import DEFAULT_PRICES, read_prices
from benchmarks.sizing.service import Target
from benchmarks.sizing.write import SizingOutput, write_sizing

SelectResult = Callable[[RatioConfig | None], tuple[StoredResult, RatioConfig | None]]
"""Finds the result to size from. It gets the ratios of the request, None where the request has no file of them. It returns the
result, and the ratios that lead from its platform to the target platform; None sizes for the result's own platform."""


@dataclass(frozen=True, slots=True)
class SizingRequest:
    """What to size for, at which prices, and where to write it.

    Attributes:
        output: Folder that the files are written to; an earlier sizing there is replaced.
        target: A service's load in requests a second and its response times in seconds; None sizes no service.
        load: A batch's hours of audio a day and its deadline in hours; None sizes no batch.
        gpus: Speeds of GPUs for the batch, in seconds of audio per second.
        pod_cpu: Cores of a pod; None compares those of ``plan.POD_CPUS``.
        ratios: A ``ratio_config.json``; None: there are no ratios.
        prices: The price file; None: the one that is shipped.
        cpu_node: Name of the CPU-only node to order; None: the first of the price file that has a price.
        cpu_node_price: Its price per hour, in the currency of the price file; None: the one of the file.
        deployment: File of the Deployment to patch; None: a plain one.
        hpa: File of the HorizontalPodAutoscaler to patch; None: a plain one.
    """

    output: Path
    target: Target | None = None
    load: BatchLoad | None = None
    gpus: tuple[GpuFigure, ...] = ()
    pod_cpu: int | None = None
    ratios: Path | None = None
    prices: Path | None = None
    cpu_node: str | None = None
    cpu_node_price: float | None = None
    deployment: Path | None = None
    hpa: Path | None = None


@dataclass(frozen=True, slots=True)
class SizingResult:
    """The plan, and the files that were written of it."""

    plan: SizingPlan
    files: tuple[Path, ...]


def size(request: SizingRequest, select_result: SelectResult) -> SizingResult:
    """Make the plan of a request and write it.

    Args:
        request: What to size.
        select_result: Finds the result to size from. It is called after prices, ratios, output folder and manifests were checked,
            because it may measure for minutes.

    Raises:
        RefusedError: A file is missing or wrong, what was asked cannot be done, or the result is not good for a sizing. No file was
            written.
        OSError: The output folder cannot be written.
    """
    prices = read_prices(request.prices or DEFAULT_PRICES)
    node = prices.cpu_node(request.cpu_node, request.cpu_node_price)
    ratios = read_ratio(request.ratios) if request.ratios else None
    output = SizingOutput.from_folder(
        request.output, request.deployment or manifests.DEPLOYMENT, request.hpa or manifests.HPA
    )
    stored, leading = select_result(ratios)
    plan = make_plan(
        load_basis(stored.path, stored.result, leading),
        prices,
        node,
        target=request.target,
        load=request.load,
        pod_cpus=(request.pod_cpu,) if request.pod_cpu else POD_CPUS,
        gpus=request.gpus,
    )
    return SizingResult(plan, tuple(write_sizing(plan, output)))
