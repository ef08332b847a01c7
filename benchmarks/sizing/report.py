"""``sizing_report.md`` and its plots: for whoever orders the hardware."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.queueing.model import Array, Overloaded
from benchmarks.sizing.basis import Basis
from benchmarks.sizing.plan import HOURS_PER_MONTH, BatchPlan, Bill, Plan, ServicePlan
from benchmarks.sizing.service import Target, least_pods, seen

LATENCY_PLOT, LOAD_PLOT = "latency.png", "load.png"


def text(plan: Plan) -> str:
    """The report as Markdown; plots lie beside it."""
    found = plan.basis
    lines = [f"# Sizing: {found.model} on {found.platform}", ""]
    if plan.service:
        lines += _service(found, plan.service, plan.prices.currency)
    if plan.batch:
        lines += _batch(plan.batch, plan.prices.currency)
    lines += ["## What this rests on", "", *(f"* {line}" for line in found.rests_on), f"* {_priced(plan)}", ""]
    lines += ["## What is assumed", "", *(f"* {line}" for line in plan.assumptions), ""]
    return "\n".join(lines)


def summary(plan: Plan) -> list[str]:
    """The result in a few lines, for a terminal."""
    found, currency = plan.basis, plan.prices.currency
    lines = [f"{found.model} on {found.platform}: {_service_time(found)}"]
    if plan.service:
        size, target = plan.service.fleet, plan.service.target
        lines.append(
            f"{target.rps:g} requests/s{_asked(target)}: {_pods(size.pods, size.pods_interval)} of {size.cpus} CPU and "
            f"{size.memory_mib} MiB (requests = limits), threads {size.cpus}; the autoscaler holds {size.hpa_percent} % "
            f"CPU between {size.least} and {size.most} pods"
        )
        lines.append(
            f"predicted at that load: mean {size.expected.mean_s:.2f} s, 95th percentile {size.expected.p95_s:.2f} s "
            f"(at the slow end of the interval {size.worst.mean_s:.2f} and {size.worst.p95_s:.2f})"
        )
        lines.append(_cost(plan.service.bill, currency))
    if plan.batch:
        load, (batch, bill) = plan.batch.load, plan.batch.candidates[0]
        lines.append(
            f"{load.hours_per_day:g} h of audio a day within {load.deadline_h:g} h: {_pods(batch.pods, batch.pods_interval)} of "
            f"{batch.cpus} CPU and {batch.memory_mib} MiB, done after {batch.done_h:.2f} h"
        )
        lines.append(_cost(bill, currency))
        lines += [
            f"or {gpu.gpus} {gpu.figure.gpu} ({gpu.figure.realtime:g} times realtime, {gpu.figure.origin}), done after "
            f"{gpu.done_h:.2f} h; {_cost(money, currency)}"
            for gpu, money in plan.batch.gpus
        ]
    return lines


def _service_time(found: Basis) -> str:
    return (
        f"{found.audio_s:.0f} s of audio take one core {found.mean_s:.3f} s "
        f"({found.mean_s * found.low:.3f} to {found.mean_s * found.high:.3f}, 95 %)"
    )


def _pods(pods: int, interval: tuple[int, int]) -> str:
    known = "" if interval[0] == interval[1] else f" ({interval[0]} to {interval[1]} by the measurement's interval)"
    return f"{pods} pod{'s' * (pods != 1)}{known}"


def _asked(target: Target) -> str:
    parts = [
        f"{name} at most {value:g} s"
        for name, value in (("95th percentile", target.p95_s), ("mean", target.mean_s))
        if value
    ]
    return f", {' and '.join(parts)}" if parts else ", no target latency"


def _cost(bill: Bill, currency: str) -> str:
    low, high = bill.per_month_interval
    spread = "" if low == high else f" ({low:,.0f} to {high:,.0f})"
    return (
        f"{bill.nodes} {bill.node.name} ({bill.node.provider}, {bill.node.per_hour:g} {currency} an hour): {bill.per_month:,.0f} "
        f"{currency} a month{spread}, {bill.per_audio_hour:.4f} per hour of audio"
    )


def _service(found: Basis, plan: ServicePlan, currency: str) -> Iterator[str]:
    target = plan.target
    yield f"For **{target.rps:g} requests a second** of {found.audio_s:.0f} s of audio{_asked(target)}:"
    yield from ("", "| order | |", "|---|---|")
    for name, value in _order(plan, currency):
        yield f"| {name} | {value} |"
    yield from ("", f"{_service_time(found)}, with nothing in line.", "")
    yield from (f"![Response time over the number of pods]({LATENCY_PLOT})", "", f"![Pods over load]({LOAD_PLOT})", "")
    yield from ("Pods of other sizes, cheapest first:", "")
    yield f"| CPU | pods | cores | nodes | {currency} a month | mean, s | 95th percentile, s | autoscaler |"
    yield "|---|---|---|---|---|---|---|---|"
    for one, money in plan.candidates:
        yield (
            f"| {one.cpus} | {one.pods} ({one.pods_interval[0]} to {one.pods_interval[1]}) | {one.pods * one.cpus} | {money.nodes} "
            f"| {money.per_month:,.0f} | {one.expected.mean_s:.2f} | {one.expected.p95_s:.2f} "
            f"| {one.hpa_percent} %, {one.least} to {one.most} |"
        )
    yield ""


def _order(plan: ServicePlan, currency: str) -> Iterator[tuple[str, str]]:
    size, bill = plan.fleet, plan.bill
    expected, worst = size.expected, size.worst
    low, high = bill.per_month_interval
    dearest = plan.most_nodes * (bill.node.per_hour or 0.0) * HOURS_PER_MONTH
    yield "pods", f"**{_pods(size.pods, size.pods_interval)}**; {size.pods_mean} if the measured mean were exact"
    yield "CPU, each, request = limit", f"{size.cpus} (Guaranteed)"
    yield "memory, each, request = limit", f"{size.memory_mib} MiB (Guaranteed)"
    threads = f"a worker per core, with one thread each (`STT_WORKERS={size.cpus}`, `OMP_NUM_THREADS=1`)"
    yield "threads", f"{size.cpus}: {threads}"
    yield "autoscaler", f"holds {size.hpa_percent} % CPU, {size.least} to {size.most} pods"
    nodes = f"{plan.least_nodes} to {plan.most_nodes} as the autoscaler moves"
    yield "nodes", f"**{bill.nodes} {bill.node.name}** (pods on one: {bill.per_node}); {nodes}"
    cost = f"{bill.per_audio_hour:.4f} per hour of audio; {dearest:,.0f} with every pod that the autoscaler may start"
    yield "cost", f"**{bill.per_month:,.0f} {currency} a month** at that load ({low:,.0f} to {high:,.0f}), {cost}"
    slow = f"at the slow end of the interval {worst.mean_s:.2f} s and {worst.p95_s:.2f} s"
    yield "response time there", f"mean {expected.mean_s:.2f} s, 95th percentile {expected.p95_s:.2f} s; {slow}"
    yield "utilization there", f"{expected.utilization:.0%}"


def _batch(plan: BatchPlan, currency: str) -> Iterator[str]:
    size, bill = plan.candidates[0]
    load = plan.load
    yield from (
        f"For **{load.hours_per_day:g} hours of audio a day, done within {load.deadline_h:g} h**:",
        "",
        f"| way | units | each | done after, h | nodes | {currency} a month | per hour of audio | the speed is |",
        "|---|---|---|---|---|---|---|---|",
    )
    for one, money in plan.candidates:
        yield (
            f"| CPU | {_pods(one.pods, one.pods_interval)} | {one.cpus} CPU, {one.memory_mib} MiB | {one.done_h:.2f} "
            f"| {money.nodes} {money.node.name} | {money.per_month:,.0f} ({money.per_month_interval[0]:,.0f} to "
            f"{money.per_month_interval[1]:,.0f}) | {money.per_audio_hour:.4f} | measured |"
        )
    for gpu, money in plan.gpus:
        yield (
            f"| GPU | {gpu.gpus} {gpu.figure.gpu} | {gpu.figure.realtime:g} times realtime | {gpu.done_h:.2f} "
            f"| {money.nodes} {money.node.name} ({money.node.provider}) | {money.per_month:,.0f} | {money.per_audio_hour:.4f} "
            f"| {gpu.figure.origin} |"
        )
    for gpu in plan.unpriced:
        yield (
            f"| GPU | {gpu.gpus} {gpu.figure.gpu} | {gpu.figure.realtime:g} times realtime | {gpu.done_h:.2f} | no price known | | "
            f"| {gpu.figure.origin} |"
        )
    yield from (
        "",
        f"{size.core_hours:.2f} core hours of work a day; {bill.node.name} holds {bill.per_node} such pods. "
        + (
            ""
            if plan.gpus or plan.unpriced
            else "GPUs were not sized: no speed of one was given or measured (`--gpu`)."
        ),
        "",
    )


def _priced(plan: Plan) -> str:
    prices = plan.prices
    bill = plan.service.bill if plan.service else plan.batch.candidates[0][1] if plan.batch else None
    given = f" {bill.node.name}: {bill.node.per_hour:g} an hour." if bill else ""
    return f"Prices in {prices.currency}, read on {prices.read} in: {prices.source}.{given}"


def plot(plan: ServicePlan, found: Basis, folder: Path) -> None:
    """Both plots of a service."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    size, target = plan.fleet, plan.target
    samples = [found.service_s(target.variation, scale) for scale in (found.low, 1.0, found.high)]
    figure, panel = plt.subplots(figsize=(7, 4), dpi=130)
    pods = sorted({max(1, round(size.pods * share / 20)) for share in range(8, 46)})
    for name, label, color in (("p95_s", "95th percentile", "C1"), ("mean_s", "mean", "C0")):
        low, middle, high = ([_of(sample, size.cpus, count, target, name) for count in pods] for sample in samples)
        panel.plot(pods, middle, "o-", ms=3, color=color, label=f"{label} (band: interval of the measurement)")
        panel.fill_between(pods, low, high, color=color, alpha=0.25)
    for asked, label, color in ((target.p95_s, "95th percentile asked", "C1"), (target.mean_s, "mean asked", "C0")):
        if asked:
            panel.axhline(asked, ls="--", lw=1, color=color, label=label)
    panel.axvline(size.pods, lw=1, color="0.4", label=f"ordered: {size.pods}")
    panel.set_xlabel(f"pods of {size.cpus} CPU, at {target.rps:g} requests/s")
    panel.set_ylabel("response time, s")
    panel.set_ylim(0, max(4 * found.mean_s, 1.5 * (target.p95_s or 0), 2 * size.worst.p95_s))
    _finish(figure, panel, folder / LATENCY_PLOT)

    figure, panel = plt.subplots(figsize=(7, 4), dpi=130)
    loads = [target.rps * target.peak * (i + 1) / 24 for i in range(24)]
    fast, usual, slow = ([least_pods(sample, size.cpus, one, target) for one in loads] for sample in samples)
    panel.plot(loads, usual, color="C0", label="pods needed (band: interval of the measurement)")
    panel.fill_between(loads, fast, slow, color="C0", alpha=0.25)
    work = float(samples[2].mean())
    held = [max(size.least, one * work / (size.cpus * size.hpa_percent / 100)) for one in loads]
    panel.plot(loads, held, color="C2", label=f"pods the autoscaler holds ({size.hpa_percent} % CPU)")
    panel.plot([target.rps], [size.pods], "D", color="C3", label=f"ordered: {size.pods}")
    panel.set_xlabel("requests/s")
    panel.set_ylabel(f"pods of {size.cpus} CPU")
    panel.set_ylim(bottom=0)
    _finish(figure, panel, folder / LOAD_PLOT)


def _of(sample: Array, cpus: int, pods: int, target: Target, name: str) -> float:
    try:
        value: float = getattr(seen(sample, cpus, pods, target.rps, target.dispatch), name)
    except Overloaded:
        return float("nan")
    return value


def _finish(figure: Any, panel: Any, target: Path) -> None:
    from matplotlib import pyplot as plt

    panel.grid(alpha=0.3)
    panel.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(target, metadata={"Software": None})
    plt.close(figure)
