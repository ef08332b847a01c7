"""Plots for the UI: drawn small, and carried inside the metadata, because Dagster serves no files."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from benchmarks.platform.ratio import Ratio
from benchmarks.platform.result import BenchmarkResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def make_data_url(png: bytes) -> str:
    """A picture as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def plot_latencies(result: BenchmarkResult) -> dg.MarkdownMetadataValue:
    """Every iteration's latency in order, with mean and 95th percentile."""
    figure, panel = _create_axes(2.6)
    values, details = result.details.latencies_ms, result.details
    panel.plot(range(1, len(values) + 1), values, ".-", color="C0")
    for at, label, style in ((result.avg_latency_ms, "mean", "-"), (details.p95_ms, "p95", "--")):
        panel.axhline(at, ls=style, lw=1, color="C1", label=f"{label} {at:.0f} ms")
    panel.set_xlabel("iteration")
    panel.set_ylabel("latency, ms")
    panel.set_ylim(bottom=0)
    panel.legend(frameon=False, fontsize=8, loc="lower right")
    return _render_markdown(figure, panel, "latencies")


def plot_ratios(compared: Sequence[Ratio]) -> dg.MarkdownMetadataValue:
    """Every platform against the reference, with intervals."""
    figure, panel = _create_axes(1.0 + 0.4 * len(compared))
    names = [one.b.platform for one in compared]
    middle = [one.ratio for one in compared]
    ends = [[one.ratio - one.interval[0] for one in compared], [one.interval[1] - one.ratio for one in compared]]
    panel.errorbar(middle, names, xerr=ends, fmt="o", capsize=4, color="C0")
    panel.axvline(1, color="0.3", lw=1)
    panel.set_ylim(-0.6, len(compared) - 0.4)
    panel.set_xlim(left=0)
    panel.set_xlabel(f"times as long as {compared[0].a.platform} (95 % interval)")
    return _render_markdown(figure, panel, "ratios")


def _create_axes(height: float) -> tuple[Any, Axes]:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    return plt.subplots(figsize=(7, height), dpi=100)


def _render_markdown(figure: Any, panel: Axes, name: str) -> dg.MarkdownMetadataValue:
    from matplotlib import pyplot as plt

    panel.grid(alpha=0.3)
    figure.tight_layout()
    made = io.BytesIO()
    figure.savefig(made)
    plt.close(figure)
    return dg.MetadataValue.md(f"![{name}]({make_data_url(made.getvalue())})")
