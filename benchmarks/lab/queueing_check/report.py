"""The comparison of model, simulation and real load, as Markdown and as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MIN_CPU_SHARE = 0.95
"""Below this share of processor time over service time, other programs disturbed the load and the verdict leaves it out."""


def format_report(result: Mapping[str, Any]) -> str:
    """The comparison as Markdown."""
    lines = [
        "# Latency under load: predicted and measured",
        "",
        "A real load on the real engine: a process per worker on a core of its own, requests at random times for random phrases",
        f"of the samples that are decoded once, model {result['model']}. Predicted by `benchmarks/queueing/model.py` from service",
        "times that were measured with nothing in line, between stretches of the load. Response times in seconds, 95 % intervals;",
        "*corrected* takes out the luck of the arrivals that happened to come (`benchmarks/lab/queueing_check/compare.py`), and",
        "*speed known* is the error that is left when the model is told how much the machine slowed between calibration and load.",
        "Command: `python -m benchmarks.lab.queueing_check`.",
        "",
        *(f"* {name}: {value}" for name, value in result["machine"].items()),
        "",
        _verdict(result["loads"]),
        "",
        "| workers | utilization | requests | | predicted | measured | corrected | error | speed known |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    loads = sorted(result["loads"], key=lambda load: (load["servers"], load["utilization"]))
    for load in loads:
        for name in ("mean", "p95"):
            figure = load[name]
            lines.append(
                f"| {load['servers']} | {load['utilization']:.0%} | {load['requests']} | {name} | {figure['predicted_s']:.3f} "
                f"| {figure['measured_s']:.3f} ({_range(figure['measured_interval_s'])}) "
                f"| {figure['corrected_s']:.3f} ({_range(figure['corrected_interval_s'])}) "
                f"| {figure['error']:+.1%} | {figure['known_error']:+.1%} |"
            )
    lines += [
        "",
        "What the errors are made of: how the machine's speed moved between calibration and load (service times of the same",
        "clips), how much of the service time the process had the processor (the rest went to other programs), and what is left",
        "when the line is replayed with the service times that came.",
        "",
        "| workers | utilization | service slower under load by | processor time / service time | replayed, mean | replayed, p95 |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {load['servers']} | {load['utilization']:.0%} | {load['service_drift']:+.1%} | {load['cpu_share']:.3f} "
        f"| {load['own_mean_error']:+.2%} | {load['own_p95_error']:+.2%} |"
        for load in loads
    ]
    lines += [
        "",
        "## Model against simulation",
        "",
        "The same service times, played through request by request (60 runs of 20,000 requests). Errors are shares of the",
        "simulated figure; Allen and Cunneen's formula, which most planners use, gives no percentile.",
        "",
        "| workers | utilization | simulated mean | simulated p95 | model, mean | model, p95 | Allen-Cunneen, mean |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['servers']} | {row['utilization']:.0%} | {row['mean_s']:.3f} ± {row['mean_half']:.3f} "
        f"| {row['p95_s']:.3f} ± {row['p95_half']:.3f} | {row['mean_error']:+.1%} | {row['p95_error']:+.1%} "
        f"| {row['allen_cunneen_mean_error']:+.1%} |"
        for row in result["simulation"]
    ]
    return "\n".join(lines) + "\n"


def _verdict(loads: Sequence[Mapping[str, Any]]) -> str:
    quiet = [load for load in loads if load["cpu_share"] >= MIN_CPU_SHARE]
    errors = [abs(load[name]["error"]) for load in quiet for name in ("mean", "p95")]
    sentence = (
        f"Over {len(quiet)} loads the model is off by {max(errors):.1%} at most, mean and 95th percentile."
        if errors
        else "No load was undisturbed, so nothing here tests the model."
    )
    disturbed = len(loads) - len(quiet)
    if not disturbed:
        return sentence
    return (
        f"{sentence} {disturbed} loads are left out: other programs took more than {1 - MIN_CPU_SHARE:.0%} of the processor. "
        "Remove the JSON and run it again on a quiet machine."
    )


def _range(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.2f} to {interval[1]:.2f}"


def plot(result: Mapping[str, Any], target: Path) -> None:
    """Response time over utilization: the model's curves and the measured points."""
    import matplotlib as mpl

    mpl.use("svg")
    import numpy as np
    from matplotlib import pyplot as plt

    from benchmarks.queueing.model import predict_response

    service = result["service_s"]
    figure, panel = plt.subplots(figsize=(7, 4.5))
    for servers in sorted({load["servers"] for load in result["loads"]}):
        loads = [load for load in result["loads"] if load["servers"] == servers]
        busy = np.linspace(0.02, max(load["utilization"] for load in loads) + 0.08, 40).clip(max=0.95)
        curve = [
            predict_response(service, servers, utilization * servers / float(np.mean(service))) for utilization in busy
        ]
        for name, label in (("mean", "mean"), ("p95", "95th percentile")):
            drawn = panel.plot(busy * 100, [getattr(times, f"{name}_s") for times in curve], label=f"{label}, model")
            corrected = [load[name]["corrected_s"] for load in loads]
            spread = np.array([load[name]["corrected_interval_s"] for load in loads]).T
            panel.errorbar(
                [load["utilization"] * 100 for load in loads],
                corrected,
                yerr=np.abs(spread - np.array(corrected)),
                fmt="o",
                capsize=3,
                color=drawn[0].get_color(),
                label=f"{label}, measured",
            )
    panel.set_xlabel("utilization of the worker, %")
    panel.set_ylabel("response time, s")
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
    panel.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})
    plt.close(figure)
