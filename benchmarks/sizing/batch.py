"""Sizing a batch: so many hours of audio a day, done within a deadline, on cores or on GPUs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.files import RefusedError
from benchmarks.sizing.basis import Basis
from benchmarks.sizing.service import MAX_PODS, TooManyPodsError, compute_memory_mib

_DAY_H = 24.0


@dataclass(frozen=True, slots=True)
class BatchLoad:
    """A day's work.

    Attributes:
        hours_per_day: Hours of audio, all there when the batch begins.
        deadline_h: Hours until the last must be done. Above 24 they count as 24, since the next day's audio comes then.
        longest_min: Minutes of the longest recording; one recording is worked on by one core.
        start_s: Seconds until a pod works: scheduling, image, loading the model.
    """

    hours_per_day: float
    deadline_h: float
    longest_min: float = 60.0
    start_s: float = 60.0

    def __post_init__(self) -> None:
        for name, value in (
            ("hours of audio a day", self.hours_per_day),
            ("a deadline in hours", self.deadline_h),
            ("the longest recording in minutes", self.longest_min),
        ):
            if not 0 < value < math.inf:
                raise RefusedError(f"{value:g} is not possible for {name}; nothing was sized.")
        if not 0 <= self.start_s < self.deadline_h * 3600:
            raise RefusedError(
                f"{self.start_s:g} s until a pod works leave nothing of a deadline of {self.deadline_h:g} h."
            )

    @property
    def within_s(self) -> float:
        """Seconds that the batch may take."""
        return min(self.deadline_h, _DAY_H) * 3600


@dataclass(frozen=True, slots=True)
class CpuBatch:
    """Pods for a batch.

    Attributes:
        cpus: Cores of a pod, a worker each.
        memory_mib: Of a pod.
        pods: To order, for the slow end of the interval.
        pods_interval: At the fast end, at the slow end.
        pods_mean: At the measured mean.
        done_h: When the last recording is done at the measured mean, hours after the start.
        core_hours: Work of a day at the measured mean.
    """

    cpus: int
    memory_mib: int
    pods: int
    pods_interval: tuple[int, int]
    pods_mean: int
    done_h: float
    core_hours: float


@dataclass(frozen=True, slots=True)
class GpuFigure:
    """How fast a GPU is.

    Attributes:
        gpu: Its name, as in the price file.
        realtime: Seconds of audio per second.
        origin: Who gave it, or which measurement it is.
    """

    gpu: str
    realtime: float
    origin: str


@dataclass(frozen=True, slots=True)
class GpuBatch:
    """GPUs for a batch, from one figure."""

    figure: GpuFigure
    gpus: int
    done_h: float


def parse_gpu_figure(text: str) -> GpuFigure:
    """Read ``NAME=TIMES_REALTIME``, or ``NAME=TIMES_REALTIME@ORIGIN`` with where the figure comes from.

    Raises:
        RefusedError: It is not of that form.
    """
    name, _, figure = text.partition("=")
    speed, _, origin = figure.partition("@")
    try:
        realtime = float(speed)
    except ValueError:
        realtime = 0.0
    if not name or not 0 < realtime < math.inf:
        raise RefusedError(
            f"{text!r} is no GPU's speed; write NAME=TIMES_REALTIME, such as A100=120, and @ and its origin behind it."
        )
    return GpuFigure(name, realtime, origin or "given, not measured here")


def size_on_cpus(basis: Basis, load: BatchLoad, cpus: int) -> CpuBatch:
    """Pods that finish in time.

    The batch ends at the latest after the start, the work divided by the cores, and what the longest recording adds when it is
    taken last (Graham, Bounds on Multiprocessing Timing Anomalies, SIAM J. Appl. Math. 17, 1969).

    Raises:
        RefusedError: The longest recording alone takes longer than the deadline.
    """
    cost = basis.mean_s / basis.audio_s  # core seconds per second of audio
    pods = [
        math.ceil(_units(load, cost * scale, f"core of {basis.platform}") / cpus)
        for scale in (basis.low, 1.0, basis.high)
    ]
    return CpuBatch(
        cpus=cpus,
        memory_mib=compute_memory_mib(basis.memory_mb, cpus),
        pods=pods[2],
        pods_interval=(pods[0], pods[2]),
        pods_mean=pods[1],
        done_h=predict_done_h(basis, load, pods[2] * cpus),
        core_hours=load.hours_per_day * cost,
    )


def size_on_gpus(load: BatchLoad, figure: GpuFigure) -> GpuBatch:
    """GPUs that finish in time, each working on recordings of its own.

    Raises:
        RefusedError: The figure is no speed, or the longest recording alone takes too long.
    """
    if not 0 < figure.realtime < math.inf:
        raise RefusedError(f"{figure.realtime:g} times realtime is no speed of a GPU ({figure.gpu}).")
    gpus = _units(load, 1 / figure.realtime, figure.gpu)
    return GpuBatch(figure, gpus, _done_s(load, 1 / figure.realtime, gpus) / 3600)


def _work_s(load: BatchLoad, cost: float) -> tuple[float, float]:
    """Seconds that one unit would need for everything, and for the longest recording."""
    return load.hours_per_day * 3600 * cost, min(load.longest_min / 60, load.hours_per_day) * 3600 * cost


def predict_done_h(basis: Basis, load: BatchLoad, units: int, scale: float = 1.0) -> float:
    """Hours after the start until so many cores are done at the latest, for a service time that is ``scale`` times the mean."""
    return _done_s(load, basis.mean_s / basis.audio_s * scale, units) / 3600


def _done_s(load: BatchLoad, cost: float, units: int) -> float:
    work, longest = _work_s(load, cost)
    return load.start_s + work / units + longest * (1 - 1 / units)


def _units(load: BatchLoad, cost: float, unit: str) -> int:
    """The fewest cores or GPUs whose bound is within the deadline."""
    work, longest = _work_s(load, cost)
    time_left = load.within_s - load.start_s - longest
    if time_left < 0 or (time_left == 0 and work > longest):
        raise RefusedError(
            f"A deadline of {load.within_s / 3600:g} h is out of reach: the longest recording ({load.longest_min:g} min) "
            f"alone takes {longest / 3600:.2f} h on one {unit}, and a recording is not divided. Allow more time, cut "
            "recordings, or take a faster one."
        )
    units = (work - longest) / time_left if work > longest else 1.0
    if units > MAX_PODS:
        raise TooManyPodsError(f"More than {MAX_PODS:,} would be needed (of one {unit}). Size a part of the load.")
    return max(1, math.ceil(units))
