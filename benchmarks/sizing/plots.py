"""The plots of a sizing, as PNG: what more or fewer pods would do, and what happens when the load changes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.queueing.model import Array, OverloadedError
from benchmarks.sizing.basis import Basis
from benchmarks.sizing.batch import predict_done_h
from benchmarks.sizing.plan import BatchPlan, ServicePlan, SizingPlan
from benchmarks.sizing.service import Target, find_min_pods, predict_at_load

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LATENCY_PLOT, LOAD_PLOT, BATCH_PLOT = "latency.png", "load.png", "batch.png"

_BAND = "band: interval of the measurement"
_LOADS = 40


def draw(plan: SizingPlan, folder: Path) -> None:
    """Every plot that the plan has."""
    import matplotlib as mpl

    mpl.use("agg")
    if plan.service:
        _latency(plan.service, plan.basis, folder / LATENCY_PLOT)
        _load(plan.service, plan.basis, folder / LOAD_PLOT)
    if plan.batch:
        _batch(plan.batch, plan.basis, folder / BATCH_PLOT)


def _latency(plan: ServicePlan, basis: Basis, path: Path) -> None:
    size, target = plan.fleet, plan.target
    samples = _samples(plan, basis)
    figure, panel = _panel("x")
    pods = sorted({max(1, round(size.pods * share / 20)) for share in range(8, 46)})
    for name, label, color in (("p95_s", "95th percentile", "C1"), ("mean_s", "mean", "C0")):
        low, middle, high = ([_of(sample, size.cpus, count, target, name) for count in pods] for sample in samples)
        panel.plot(pods, middle, "o-", ms=3, color=color, label=f"{label} ({_BAND})")
        panel.fill_between(pods, low, high, color=color, alpha=0.25)
    for target_s, label, color in ((target.p95_s, "95th percentile asked", "C1"), (target.mean_s, "mean asked", "C0")):
        if target_s is not None:
            panel.axhline(target_s, ls="--", lw=1, color=color, label=f"{label}: {target_s:g} s")
    panel.axvline(size.pods, color="0.3", lw=1, label=f"ordered: {size.pods}")
    panel.set_title(f"Response time at {target.rps:g} requests/s")
    panel.set_xlabel(f"pods of {size.cpus} CPU")
    panel.set_ylabel("seconds")
    panel.set_ylim(0, max(4 * basis.mean_s, 1.5 * (target.p95_s or 0), 2 * size.worst.p95_s))
    _finish(figure, panel, path)


def _load(plan: ServicePlan, basis: Basis, path: Path) -> None:
    size, target = plan.fleet, plan.target
    samples = _samples(plan, basis)
    figure, panel = _panel("y")
    peak_rps = target.rps * target.peak
    loads = [peak_rps * (i + 1) / _LOADS for i in range(_LOADS)]
    fast, usual, slow = ([find_min_pods(sample, size.cpus, rps, target) for rps in loads] for sample in samples)
    panel.step(loads, usual, where="mid", color="C0", label=f"pods needed ({_BAND})")
    panel.fill_between(loads, fast, slow, step="mid", color="C0", alpha=0.25)
    work = float(samples[2].mean())
    held_pods = [max(size.least, math.ceil(rps * work / (size.cpus * size.hpa_percent / 100))) for rps in loads]
    panel.step(loads, held_pods, where="mid", color="C2", label=f"pods the autoscaler holds ({size.hpa_percent} % CPU)")
    panel.plot([target.rps], [size.pods], "D", color="C3", label=f"ordered: {size.pods}")
    for load, label in ((target.rps * target.trough, "quiet"), (target.rps, "sized for"), (peak_rps, "worst")):
        panel.axvline(load, ls=":", lw=1, color="0.5")
        panel.text(
            load,
            0.02,
            f"{label} ",
            rotation=90,
            ha="right",
            va="bottom",
            fontsize=8,
            transform=panel.get_xaxis_transform(),
        )
    panel.set_title("Pods over load")
    panel.set_xlabel("requests/s")
    panel.set_ylabel(f"pods of {size.cpus} CPU")
    panel.set_xlim(left=0)
    panel.set_ylim(bottom=0)
    _finish(figure, panel, path)


def _batch(plan: BatchPlan, basis: Basis, path: Path) -> None:
    size, load = plan.candidates[0][0], plan.load
    figure, panel = _panel("x")
    pods = sorted({max(1, round(size.pods * share / 20)) for share in range(8, 46)})
    fast, usual, slow = (
        [predict_done_h(basis, load, count * size.cpus, scale) for count in pods]
        for scale in (basis.low, 1.0, basis.high)
    )
    panel.plot(pods, usual, "o-", ms=3, color="C0", label=f"done at the latest ({_BAND})")
    panel.fill_between(pods, fast, slow, color="C0", alpha=0.25)
    panel.axhline(load.within_s / 3600, ls="--", lw=1, color="C1", label=f"deadline: {load.within_s / 3600:g} h")
    panel.axvline(size.pods, color="0.3", lw=1, label=f"cheapest size on cores: {size.pods}")
    panel.set_title(f"When {load.hours_per_day:g} h of audio are done")
    panel.set_xlabel(f"pods of {size.cpus} CPU")
    panel.set_ylabel("hours after the start")
    panel.set_ylim(bottom=0)
    _finish(figure, panel, path)


def _samples(plan: ServicePlan, basis: Basis) -> tuple[Array, Array, Array]:
    """Service times at the fast end of the interval, at the mean, at the slow end."""
    low, mean, high = (basis.service_s(plan.target.variation, scale) for scale in (basis.low, 1.0, basis.high))
    return low, mean, high


def _of(sample: Array, cpus: int, pods: int, target: Target, name: str) -> float:
    try:
        value: float = getattr(predict_at_load(sample, cpus, pods, target.rps, target.dispatch), name)
    except OverloadedError:
        return float("nan")
    return value


def _panel(pods_on: Literal["x", "y"]) -> tuple[Any, Axes]:
    from matplotlib import pyplot as plt
    from matplotlib.ticker import MaxNLocator

    figure, panel = plt.subplots(figsize=(7.5, 4), dpi=130)
    if pods_on == "x":
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        panel.yaxis.set_major_locator(MaxNLocator(integer=True))
    return figure, panel


def _finish(figure: Any, panel: Axes, target: Path) -> None:
    from matplotlib import pyplot as plt

    panel.grid(alpha=0.3)
    panel.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(target, metadata={"Software": None})
    plt.close(figure)
