"""How many CPUs and how much memory this process has: the one place that the number of threads follows.

Memory is two figures: the limit, which stays, and what is free of it now, which decides how much work is begun at once.

A library counts the cores of the node. In a container with a limit that is too many: the threads use up the quota of a period in
a moment, and the kernel stops all of them until the next one.
"""

from __future__ import annotations

from dataclasses import dataclass

from speech.machine.cgroups import read_cpu_limit, read_memory_left, read_memory_limit
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


_USABLE_SHARE, _RESERVED_BYTES = 0.9, 64 * 2**20
"""Share of the free memory that is planned with, and what is left out of that. The rest is for what no estimate sees: the heap's
gaps, events of the run, tables of the kernel. Without it ``tiny.en`` is killed in a control group of 700 MiB (measured)."""


@dataclass(frozen=True, slots=True)
class FreeMemory:
    """What is free for work that this process begins now.

    Attributes:
        total_bytes: The limit of the control group, or the memory of the machine.
        free_bytes: What nobody uses of it. What this process uses already is not free.
        source: What sets the limit, for a sentence.
    """

    total_bytes: int
    free_bytes: int
    source: str

    @property
    def usable_bytes(self) -> int:
        """What may be planned with."""
        return max(0, int(self.free_bytes * _USABLE_SHARE) - _RESERVED_BYTES)

    @property
    def sentence(self) -> str:
        """For a log."""
        return f"{format_size(self.free_bytes)} of {format_size(self.total_bytes)} of memory are free ({self.source})."


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


def measure_free_memory(host: Host | None = None) -> FreeMemory:
    """How much memory is free now: below the tightest limit of a control group, or on the machine if that is less.

    Where the system does not say what is free on the machine (macOS), all of it counts as free.

    Args:
        host: The machine; None: this one.
    """
    host = host or Host.here()
    found = FreeMemory(host.memory_bytes, _read_available(host), "all of the machine")
    left = read_memory_left(host)
    if left is not None and left[1] < host.memory_bytes and left[0] <= found.free_bytes:
        found = FreeMemory(left[1], left[0], "the limit of the cgroup")
    return found


def _read_available(host: Host) -> int:
    for line in (host.read("/proc/meminfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable" and value.split()[:1] and value.split()[0].isdigit():
            return min(host.memory_bytes, int(value.split()[0]) * 1024)
    return host.memory_bytes


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


def format_size(size: int) -> str:
    """A size of memory for a sentence: MiB below 1 GiB, else GiB."""
    return f"{size / 2**20:.0f} MiB" if size < 2**30 else _format_gib(size)


def _format_gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
