"""How many CPUs and how much memory this process has: the one place that the number of threads follows.

A library counts the cores of the node. In a container with a limit that is too many: the threads use up the quota of a period in
a moment, and the kernel stops all of them until the next one.
"""

from __future__ import annotations

from dataclasses import dataclass

from speech.machine.cgroups import read_cpu_limit, read_memory_limit
from speech.machine.host import Host

CPU_REQUEST_ENV_VAR = "POD_CPU_REQUEST_MILLICORES"
"""What the container requests, in thousandths of a CPU. ``k8s_run_launcher.profiles`` has the kubelet set it in each step's pod,
because inside a container nothing else tells it."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What this process may use.

    Attributes:
        cpus: Whole CPUs, at least 1: as many threads may compute at the same time.
        memory_bytes: The limit of the control group, or the memory of the machine.
        sentence: Both, with what decided them, for a log.
    """

    cpus: int
    memory_bytes: int
    sentence: str


def detect_resources(host: Host | None = None) -> Resources:
    """What this process may use now: the least of affinity, quota and, where no quota is set, the pod's CPU request.

    Part of a CPU is left out, because one more thread would use up the quota before the period ends: 2.5 CPUs are two threads.
    Below one CPU it is one.

    Args:
        host: The machine; None: this one.
    """
    host = host or Host.here()
    cpus, reason = _detect_cpus(host)
    limit = read_memory_limit(host)
    memory, whose = host.memory_bytes, "all of the machine"
    if limit is not None and limit < memory:
        memory, whose = limit, f"the limit of the cgroup; {_format_gib(host.memory_bytes)} on the node"
    named = "1 CPU" if cpus == 1 else f"{cpus} CPUs"
    return Resources(cpus, memory, f"{named}: {reason}. {_format_gib(memory)} of memory: {whose}.")


def _detect_cpus(host: Host) -> tuple[int, str]:
    usable = len(host.affinity) if host.affinity is not None else host.cores
    limit, request = read_cpu_limit(host), _read_cpu_request(host)
    share, reason = (
        (limit.cpus, "the quota of the cgroup")
        if limit
        else (request, "the CPU request of the pod, which has no quota")
    )
    if share is not None and share < usable:
        cpus = max(1, int(share))
        exact = "" if cpus == share else f", {share:g}"
        return cpus, f"{reason}{exact}; {host.cores} on the node"
    if usable < host.cores:
        return usable, f"the affinity of the process; {host.cores} on the node"
    return usable, "all of the machine"


def _read_cpu_request(host: Host) -> float | None:
    text = host.environment.get(CPU_REQUEST_ENV_VAR, "")
    return int(text) / 1000 if text.isdecimal() and int(text) else None  # 0: the pod requests none


def _format_gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
