"""The whole of a sizing: candidates compared by what they cost, the one to order, and everything it rests on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.files import RefusedError
from benchmarks.sizing.basis import Basis
from benchmarks.sizing.batch import BatchLoad, CpuBatch, GpuBatch, GpuFigure, size_on_cpus, size_on_gpus
from benchmarks.sizing.prices import Node, Prices
from benchmarks.sizing.service import Fleet, Target, TooManyPodsError, size_fleet

HOURS_PER_MONTH = 730.0
DAYS_PER_MONTH = HOURS_PER_MONTH / 24

POD_CPUS = (1, 2, 3, 4)
"""Sizes of pods that are compared unless one is asked for. Three is included because a node with four cores reserves part of one
core for the system."""


@dataclass(frozen=True, slots=True)
class Bill:
    """Nodes and money.

    Attributes:
        node: The machine type.
        per_node: Pods, or GPUs, on one.
        nodes: To order.
        nodes_interval: At the ends of the interval of the measurement.
        per_month: At the price of the file.
        per_month_interval: At the ends of the interval.
        per_audio_hour: The same money per hour of audio.
    """

    node: Node
    per_node: int
    nodes: int
    nodes_interval: tuple[int, int]
    per_month: float
    per_month_interval: tuple[float, float]
    per_audio_hour: float


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """A service: the candidates with their bills, the chosen one first, and nodes for the autoscaler's two ends."""

    target: Target
    candidates: tuple[tuple[Fleet, Bill], ...]
    least_nodes: int
    most_nodes: int

    @property
    def fleet(self) -> Fleet:
        """The one to order."""
        return self.candidates[0][0]

    @property
    def bill(self) -> Bill:
        """What it costs."""
        return self.candidates[0][1]


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """A batch: on cores and on GPUs as far as figures were given, the cheapest of each first; and GPUs without a price."""

    load: BatchLoad
    candidates: tuple[tuple[CpuBatch, Bill], ...]
    gpus: tuple[tuple[GpuBatch, Bill], ...]
    unpriced: tuple[GpuBatch, ...]


@dataclass(frozen=True, slots=True)
class SizingPlan:
    """A sizing."""

    basis: Basis
    prices: Prices
    service: ServicePlan | None
    batch: BatchPlan | None
    assumptions: tuple[str, ...]


def make_plan(
    basis: Basis,
    prices: Prices,
    node: Node,
    *,
    target: Target | None = None,
    load: BatchLoad | None = None,
    pod_cpus: Sequence[int] = POD_CPUS,
    gpus: Sequence[GpuFigure] = (),
) -> SizingPlan:
    """Size a service, a batch, or both.

    Args:
        basis: What was measured.
        prices: Where prices come from.
        node: The CPU-only node to order, with its price.
        target: What a service has to do.
        load: What a batch has to do.
        pod_cpus: Sizes of pods to compare.
        gpus: Speeds of GPUs for the batch.

    Raises:
        RefusedError: Nothing was asked, or what was asked cannot be done.
    """
    if target is None and load is None:
        raise RefusedError("Nothing to size: give requests a second, or hours of audio a day and a deadline.")
    return SizingPlan(
        basis=basis,
        prices=prices,
        service=_service(basis, target, node, pod_cpus) if target else None,
        batch=_batch(basis, load, prices, node, pod_cpus, gpus) if load else None,
        assumptions=tuple(_assumptions(basis, target, load)),
    )


def _service(basis: Basis, target: Target, node: Node, pod_cpus: Sequence[int]) -> ServicePlan:
    hours = target.rps * basis.audio_s  # hours of audio in an hour
    options = []
    too_many = None
    for cpus in pod_cpus:
        try:
            size = size_fleet(basis, target, cpus)
        except TooManyPodsError as error:
            too_many = error
            continue
        per_node = _per_node(node, cpus, size.memory_mib)
        if per_node:
            bill = _bill(node, per_node, size.pods, size.pods_interval, HOURS_PER_MONTH, hours * HOURS_PER_MONTH)
            options.append((size, bill))
    if not options and too_many:
        raise too_many
    _require_fit(options, node, pod_cpus, basis)
    # The cheapest; among equal prices prefer smaller pods: the loss of one pod then costs less capacity.
    options.sort(key=lambda option: (option[1].per_month, option[0].cpus * option[0].pods, option[0].cpus))
    fleet, bill = options[0]
    return ServicePlan(
        target, tuple(options), math.ceil(fleet.least / bill.per_node), math.ceil(fleet.most / bill.per_node)
    )


def _batch(
    basis: Basis, load: BatchLoad, prices: Prices, node: Node, pod_cpus: Sequence[int], gpus: Sequence[GpuFigure]
) -> BatchPlan:
    month = load.hours_per_day * DAYS_PER_MONTH
    options = []
    for cpus in pod_cpus:
        size = size_on_cpus(basis, load, cpus)
        per_node = _per_node(node, cpus, size.memory_mib)
        if per_node:
            bill = _bill(node, per_node, size.pods, size.pods_interval, size.done_h * DAYS_PER_MONTH, month)
            options.append((size, bill))
    _require_fit(options, node, pod_cpus, basis)
    options.sort(key=lambda option: (option[1].per_month, option[0].cpus))
    sized = [size_on_gpus(load, figure) for figure in gpus]
    billed = [
        (option, _bill(node, node.gpus, option.gpus, (option.gpus, option.gpus), option.done_h * DAYS_PER_MONTH, month))
        for option in sized
        for node in prices.gpu_nodes(option.figure.gpu)
    ]
    billed.sort(key=lambda option: option[1].per_month)
    unpriced = tuple(option for option in sized if not prices.gpu_nodes(option.figure.gpu))
    return BatchPlan(load, tuple(options), tuple(billed), unpriced)


def _per_node(node: Node, cpus: int, memory: int) -> int:
    return node.count_fitting_pods(cpus, memory / 1024)


def _require_fit(options: Sequence[object], node: Node, pod_cpus: Sequence[int], basis: Basis) -> None:
    if not options:
        raise RefusedError(
            f"No pod of {' or '.join(str(cpus) for cpus in pod_cpus)} cores and {basis.memory_mb:.0f} MB a worker fits on a "
            f"{node.name} ({node.allocatable_cpus:.2f} cores and {node.allocatable_gib:.1f} GiB for pods). Name a larger node, or "
            "smaller pods."
        )


def _bill(node: Node, per_node: int, units: int, interval: tuple[int, int], hours: float, audio_hours: float) -> Bill:
    low, high = (math.ceil(count / per_node) for count in interval)
    nodes, price = math.ceil(units / per_node), node.per_hour or 0.0
    return Bill(
        node=node,
        per_node=per_node,
        nodes=nodes,
        nodes_interval=(low, high),
        per_month=nodes * price * hours,
        per_month_interval=(low * price * hours, high * price * hours),
        per_audio_hour=nodes * price * hours / audio_hours,
    )


def _assumptions(basis: Basis, target: Target | None, load: BatchLoad | None) -> list[str]:
    interval = (
        f"The interval is of repeated measurements at that time ({basis.low - 1:+.1%} to {basis.high - 1:+.1%} of the "
        "service time); what differs between nodes of one type, days and neighbours is not in it."
    )
    cores = "A core of a pod with several cores is as fast as the one measured, a worker on each; memory is counted in full."
    lines = [interval, cores]
    if target:
        lines += _of_service(basis, target)
    if load:
        day = (
            "All of a day's audio is there when the batch begins; it costs per second what the measured recording "
            f"does. The longest recording has {load.longest_min:g} min and one core of its own; until a pod works, "
            f"{load.start_s:g} s pass."
        )
        lines += [day, "Nodes are paid while the batch runs, so start them for it and stop them after it."]
        if load.within_s < load.deadline_h * 3600:
            lines.append(
                f"The deadline of {load.deadline_h:g} h counts as {load.within_s / 3600:g}: the next day's audio comes then."
            )
    return lines


def _of_service(basis: Basis, target: Target) -> list[str]:
    requests = (
        f"Every request is {basis.audio_s:.0f} s of audio like the one measured; from request to request the service "
        f"time varies with a coefficient of {target.variation:g} (lognormal). Benchmark with audio of your length, and "
        "set the variation from your own traffic."
    )
    where = (
        "A Kubernetes Service gives each to a pod by chance, and it waits there while others may be idle; one line that pods take "
        "from needs fewer of them."
        if target.dispatch == "service"
        else "They wait in one line that pods take from as they become free; behind a plain Service more pods are needed."
    )
    model = (
        "Response times: the queue M/G/c as benchmarks/queueing/model.py computes it (Tijms, van Hoorn and Federgruen "
        "1981); `python -m benchmarks.lab.queueing_check` measures how far it is off."
    )
    load = f"The load is {target.peak:g} times as high at the worst, and {target.trough:g} times in quiet hours."
    tolerance = (
        "The target holds up to a tenth above the load, because the autoscaler tolerates that much; while pods are "
        "being started, it may not hold."
    )
    return [requests, f"Requests arrive at random and independently (Poisson). {where}", model, load, tolerance]
