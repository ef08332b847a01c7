"""Whether a measurement can use exactly one CPU, and which limit ensures it. Only judged here; the values come from the kernel.

A latency can be compared only if the number of usable CPUs is known: the engine's one thread on a machine of many cores still has
helpers (audio decoding, the allocator, Python's own), and two platforms compare only when both had one CPU.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from benchmarks.files import RefusedError
from speech.machine import cgroups
from speech.machine.host import Host

QoS = Literal["Guaranteed", "Burstable", "BestEffort"]

_GUARANTEED_OOM = frozenset({-997, -998})
"""What the kubelet gives containers of Guaranteed pods as oom_score_adj (older ones gave -998); Burstable ones have 2 to 999,
BestEffort ones 1000."""


class Isolation(BaseModel):
    """What CPUs and memory a run could use."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpus_usable: int = Field(ge=1, description="By affinity (taskset, cpuset, a static CPU manager), or all cores.")
    cpu_quota: float | None = Field(gt=0, description="CPUs' worth of time by quota; null without one.")
    cgroup_version: Literal[1, 2] | None
    memory_limit_mb: float | None = Field(gt=0, description="MiB; null without one.")
    qos: QoS | None = Field(description="Class of the pod; null outside Kubernetes, or where nothing tells.")
    pinned: bool = Field(description="Whether affinity leaves fewer than all cores.")
    pinned_by_us: bool = Field(description="Whether that was asked for with --pin.")
    one_cpu: bool = Field(description="Whether the run had one CPU at most.")
    how: tuple[str, ...] = Field(description="What isolates it, in words; empty if nothing does.")

    @property
    def cpu_limit(self) -> int | float:
        """CPUs the run could use: a whole number where it is one."""
        least = min(self.cpus_usable, self.cpu_quota or self.cpus_usable)
        return int(least) if least == int(least) else round(least, 3)


def detect_isolation(host: Host, *, pinned_by_us: bool = False) -> Isolation:
    """What isolation is in force on the process."""
    usable = len(host.affinity) if host.affinity is not None else host.cores
    limit = cgroups.read_cpu_limit(host)
    memory = cgroups.read_memory_limit(host)
    qos = _qos(host)
    pinned = usable < host.cores
    how = []
    if limit:
        how.append(f"a quota of {limit.cpus:g} CPU (cgroup version {limit.version})")
    if pinned:
        cores = ", ".join(str(core) for core in sorted(host.affinity or ())[:8])
        by = ", set by --pin" if pinned_by_us else ", as the static CPU manager does" if qos == "Guaranteed" else ""
        how.append(f"affinity to {usable} of {host.cores} cores ({cores}{by})")
    if qos:
        how.append(f"a {qos} pod")
    return Isolation(
        cpus_usable=usable,
        cpu_quota=round(limit.cpus, 6) if limit else None,
        cgroup_version=cgroups.detect_cgroup_version(host),
        memory_limit_mb=round(memory / 2**20, 1) if memory and memory < host.memory_bytes else None,
        qos=qos,
        pinned=pinned,
        pinned_by_us=pinned_by_us,
        one_cpu=usable == 1 or (limit is not None and limit.cpus <= 1),
        how=tuple(how),
    )


def require_one_cpu(isolation: Isolation, system: str) -> None:
    """Refuse a run that could use more than one CPU.

    Raises:
        RefusedError: It could; says what to do on this system.
    """
    if isolation.one_cpu:
        return
    cpus = (
        f"{isolation.cpu_limit:g} CPUs"
        if not isolation.how
        else f"{isolation.cpu_limit:g} CPUs: {'; '.join(isolation.how)}"
    )
    pin = "" if system == "Darwin" else "give --pin to keep it on one core, or "
    start = f"{pin}start it in a container with --cpus=1 or in a Guaranteed pod with one CPU"
    raise RefusedError(
        f"This run could use {cpus}, and a benchmark of more than one CPU cannot be compared with others. "
        f"{start[0].upper()}{start[1:]}; give --unisolated to measure all the same (the result will say so)."
    )


@contextmanager
def pin_to_one_core() -> Iterator[None]:
    """Keep this process, all its threads, and those it starts on one core while the block lasts: the last it may use.

    Raises:
        RefusedError: The system has no affinity.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise RefusedError(
            "This system cannot keep a process on one core (macOS has no affinity). Start the benchmark in a container "
            "with --cpus=1."
        )
    usable = os.sched_getaffinity(os.getpid())
    _keep_on({max(usable)})
    try:
        yield
    finally:
        _keep_on(usable)


def _keep_on(cores: set[int]) -> None:
    for task in Path("/proc/self/task").iterdir():
        try:
            os.sched_setaffinity(int(task.name), cores)
        except ProcessLookupError:
            continue  # the thread has ended


def _qos(host: Host) -> QoS | None:
    """The pod's class: by the name of its group, or, where a namespace hides that, by what the kubelet told the OOM killer."""
    path = next((path for path in cgroups.own_paths(host) if "kubepods" in path), None)
    if path is not None:
        return "BestEffort" if "besteffort" in path else "Burstable" if "burstable" in path else "Guaranteed"
    score = host.read("/proc/self/oom_score_adj")
    if "KUBERNETES_SERVICE_HOST" not in host.environment or score is None:
        return None
    if int(score) in _GUARANTEED_OOM:
        return "Guaranteed"
    return "BestEffort" if int(score) == 1000 else "Burstable" if 2 <= int(score) <= 999 else None
