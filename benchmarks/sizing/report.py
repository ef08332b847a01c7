"""Writes ``sizing_report.md`` for the person who orders hardware: what to order, then the reasons, then the measurements."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.sizing.basis import Basis
from benchmarks.sizing.batch import CpuBatch, GpuBatch
from benchmarks.sizing.plan import HOURS_PER_MONTH, BatchPlan, Bill, ServicePlan, SizingPlan
from benchmarks.sizing.plots import BATCH_PLOT, LATENCY_PLOT, LOAD_PLOT
from benchmarks.sizing.service import Target


def format_report(plan: SizingPlan) -> str:
    """The report as Markdown; plots lie beside it."""
    basis, currency = plan.basis, plan.prices.currency
    lines = [f"# Sizing: {basis.model} on {basis.platform}", ""]
    if basis.doubts:
        lines += ["**Do not order from this yet:**", "", *(f"* {line}" for line in basis.doubts), ""]
    lines += [f"{_service_time(basis)}, with nothing in line.", ""]
    if plan.service:
        lines += _service(basis, plan.service, currency)
    if plan.batch:
        lines += _batch(plan.batch, currency)
    lines += ["## What was measured, and where prices are from", ""]
    lines += [*(f"* {line}" for line in basis.rests_on), f"* {_priced(plan)}", ""]
    lines += ["## What is assumed", "", *(f"* {line}" for line in plan.assumptions), ""]
    return "\n".join(lines)


def format_summary(plan: SizingPlan) -> list[str]:
    """The result in a few lines, for a terminal."""
    basis, currency = plan.basis, plan.prices.currency
    lines = [f"{basis.model} on {basis.platform}: {_service_time(basis)}"]
    if plan.service:
        size, target = plan.service.fleet, plan.service.target
        lines.append(
            f"{target.rps:g} requests/s{_describe_target(target)}: {_pods(size.pods, size.pods_interval)} of {size.cpus} CPU and "
            f"{size.memory_mib} MiB (requests = limits), a worker per core; the autoscaler holds {size.hpa_percent} % "
            f"CPU between {size.least} and {size.most} pods"
        )
        lines.append(
            f"predicted at that load: mean {size.expected.mean_s:.2f} s, 95th percentile {size.expected.p95_s:.2f} s "
            f"(at the slow end of the interval {size.worst.mean_s:.2f} and {size.worst.p95_s:.2f})"
        )
        lines.append(f"{_nodes(plan.service.bill)}, {_cost(plan.service.bill, currency)}")
    if plan.batch:
        load = plan.batch.load
        lines.append(f"{load.hours_per_day:g} h of audio a day within {load.deadline_h:g} h, cheapest first:")
        lines += [
            f"  {_describe_option(option)}, done after {option.done_h:.2f} h: {_nodes(bill)}, {_cost(bill, currency)}"
            for option, bill in _sort_options(plan.batch)
        ]
        lines += [
            f"  {_describe_option(option)}, done after {option.done_h:.2f} h: no price known"
            for option in plan.batch.unpriced
        ]
    if basis.doubts:
        lines += ["Do not order from this yet:", *(f"  {line}" for line in basis.doubts)]
    return lines


def _service_time(basis: Basis) -> str:
    return (
        f"One core of {basis.processor} takes {basis.mean_s:.3f} s for {basis.audio_s:.0f} s of audio (95 % interval "
        f"{basis.mean_s * basis.low:.3f} to {basis.mean_s * basis.high:.3f}), {basis.audio_s / basis.mean_s:.1f} times realtime"
    )


def _pods(pods: int, interval: tuple[int, int]) -> str:
    interval_text = (
        "" if interval[0] == interval[1] else f" ({interval[0]} to {interval[1]} by the measurement's interval)"
    )
    return f"{pods} pod{'s' * (pods != 1)}{interval_text}"


def _describe_target(target: Target) -> str:
    parts = [
        f"{name} at most {value:g} s"
        for name, value in (("95th percentile", target.p95_s), ("mean", target.mean_s))
        if value
    ]
    return f", {' and '.join(parts)}" if parts else ", no target latency"


def _nodes(bill: Bill) -> str:
    return f"{bill.nodes} {bill.node.name} ({bill.node.provider})"


def _cost(bill: Bill, currency: str) -> str:
    return f"{bill.per_month:,.0f} {currency} a month{_spread(bill)}, {bill.per_audio_hour:.4f} {currency} per hour of audio"


def _spread(bill: Bill) -> str:
    low, high = (f"{end:,.0f}" for end in bill.per_month_interval)
    return "" if low == high else f" ({low} to {high})"


def _service(basis: Basis, plan: ServicePlan, currency: str) -> Iterator[str]:
    target = plan.target
    yield f"## Service: {target.rps:g} requests a second"
    hours = target.rps * basis.audio_s
    yield from (
        "",
        f"Requests of {basis.audio_s:.0f} s of audio, {hours:g} h of audio in an hour{_describe_target(target)}.",
        "",
    )
    yield from ("| | order |", "|---|---|")
    for name, value in _order(plan, currency):
        yield f"| {name} | {value} |"
    yield from (
        "",
        "`deployment.yaml` and `hpa.yaml` beside this report have these values: set the image, then apply them.",
    )
    yield from (
        "",
        f"![Response time over the number of pods]({LATENCY_PLOT})",
        "",
        f"![Pods over load]({LOAD_PLOT})",
        "",
    )
    if len(plan.candidates) > 1:
        yield from ("The sizes of pods that were compared, cheapest first:", "")
        yield f"| CPU | pods | cores | nodes | {currency} a month | mean, s | 95th percentile, s | autoscaler |"
        yield "|---:|---:|---:|---:|---:|---:|---:|---|"
        for fleet, bill in plan.candidates:
            yield (
                f"| {fleet.cpus} | {fleet.pods} | {fleet.pods * fleet.cpus} | {bill.nodes} | {bill.per_month:,.0f} "
                f"| {fleet.expected.mean_s:.2f} | {fleet.expected.p95_s:.2f} "
                f"| {fleet.hpa_percent} %, {fleet.least} to {fleet.most} |"
            )
        yield ""


def _order(plan: ServicePlan, currency: str) -> Iterator[tuple[str, str]]:
    size, bill = plan.fleet, plan.bill
    expected, worst = size.expected, size.worst
    dearest = plan.most_nodes * (bill.node.per_hour or 0.0) * HOURS_PER_MONTH
    exact = "" if size.pods == size.pods_mean else f"; {size.pods_mean} if the measured mean were exact"
    yield "nodes", f"**{_nodes(bill)}**, with room for {bill.per_node} such pod{'s' * (bill.per_node != 1)} each"
    yield "cost", f"**{_cost(bill, currency)}**"
    yield "pods", f"**{_pods(size.pods, size.pods_interval)}**{exact}"
    yield "CPU of a pod", f"{size.cpus}, request = limit (Guaranteed)"
    yield "memory of a pod", f"{size.memory_mib} MiB, request = limit (Guaranteed)"
    yield "threads", f"a worker per core, one thread each: `STT_WORKERS={size.cpus}`, `OMP_NUM_THREADS=1`"
    yield "autoscaler", f"target {size.hpa_percent} % CPU, {size.least} to {size.most} pods"
    moves = f"{plan.least_nodes} to {plan.most_nodes}, up to {dearest:,.0f} {currency} a month if the peak lasted"
    yield "nodes as it moves", moves
    yield "predicted response time", f"mean {expected.mean_s:.2f} s, 95th percentile {expected.p95_s:.2f} s"
    yield "the same, slow end of the interval", f"mean {worst.mean_s:.2f} s, 95th percentile {worst.p95_s:.2f} s"
    yield "CPU utilization", f"{expected.utilization:.0%}".replace("%", " %")


def _batch(plan: BatchPlan, currency: str) -> Iterator[str]:
    load, options = plan.load, _sort_options(plan)
    size, _ = plan.candidates[0]
    cheapest, bill = options[0]
    yield f"## Batch: {load.hours_per_day:g} hours of audio a day within {load.deadline_h:g} h"
    yield from (
        "",
        (
            f"**{_describe_option(cheapest)} on {_nodes(bill)}: {_cost(bill, currency)}.** "
            f"Done after {cheapest.done_h:.2f} h at the latest."
        ),
        f"On cores it is {size.core_hours:.1f} core hours of work a day.",
        "",
        f"| way, cheapest first | done after, h | nodes | {currency} a month | {currency} per hour of audio | speed |",
        "|---|---:|---|---:|---:|---|",
    )
    for option, option_bill in options:
        yield (
            f"| {_describe_option(option)} | {option.done_h:.2f} | {_nodes(option_bill)} "
            f"| {option_bill.per_month:,.0f}{_spread(option_bill)} | {option_bill.per_audio_hour:.4f} | {_speed(option)} |"
        )
    for gpu in plan.unpriced:
        yield f"| {_describe_option(gpu)} | {gpu.done_h:.2f} | no price known | | | {_speed(gpu)} |"
    if not plan.gpus and not plan.unpriced:
        yield from ("", "GPUs were not sized: no speed of one was given (`--gpu`).")
    yield from ("", f"![When the batch is done, over the number of pods]({BATCH_PLOT})", "")


def _sort_options(plan: BatchPlan) -> list[tuple[CpuBatch | GpuBatch, Bill]]:
    """Everything that has a price, the cheapest first."""
    options: list[tuple[CpuBatch | GpuBatch, Bill]] = [*plan.candidates, *plan.gpus]
    return sorted(options, key=lambda option: option[1].per_month)


def _describe_option(option: CpuBatch | GpuBatch) -> str:
    if isinstance(option, CpuBatch):
        return f"{_pods(option.pods, option.pods_interval)} of {option.cpus} CPU and {option.memory_mib} MiB"
    return f"{option.gpus} {option.figure.gpu}"


def _speed(option: CpuBatch | GpuBatch) -> str:
    return (
        "measured"
        if isinstance(option, CpuBatch)
        else f"{option.figure.realtime:g} times realtime, {option.figure.origin}"
    )


def _priced(plan: SizingPlan) -> str:
    prices = plan.prices
    bill = plan.service.bill if plan.service else plan.batch.candidates[0][1] if plan.batch else None
    node_price = f" {bill.node.name}: {bill.node.per_hour:g} an hour." if bill else ""
    return f"Prices in {prices.currency}, read on {prices.read} in: {prices.source}.{node_price}"
