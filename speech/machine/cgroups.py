"""Control groups, versions 1 and 2: the limits in force on this process, and the kernel's counters of how often one stopped it.

A limit applies to all groups below it, so the process's group and all visible parent groups are read. In a container only the
container's own group is visible.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from speech.machine.host import Host

THROTTLED_SHARE = 0.25
"""Of the periods, from which on we call it throttled: the share at which Kubernetes' monitoring mixin warns (CPUThrottlingHigh).
One decoding thread under a quota of one CPU is stopped now and then too, when a helper thread wakes beside it: in 11 % of the
periods; with two it is 91 % (our measurement: base, two x86 cores)."""

_UNLIMITED = 2**60
"""Version 1 writes "no limit" of memory as the largest number of whole pages, a little below 2^63."""


class CpuCounters(BaseModel):
    """What the kernel counted of a CPU limit; see ``cpu.stat`` in the kernel's documentation of the bandwidth controller."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    periods: int = Field(ge=0, description="Enforcement periods in which the group ran (nr_periods).")
    throttled: int = Field(ge=0, description="Of these, how many used the quota up and were stopped (nr_throttled).")
    throttled_s: float = Field(ge=0, description="How long that lasted, summed over CPUs, in seconds.")

    @property
    def share(self) -> float:
        """Share of the periods that were throttled; 0 if none ran."""
        return self.throttled / self.periods if self.periods else 0.0

    def since(self, before: CpuCounters) -> CpuCounters:
        """What was counted after ``before``."""
        return CpuCounters(
            periods=max(0, self.periods - before.periods),
            throttled=max(0, self.throttled - before.throttled),
            throttled_s=max(0.0, round(self.throttled_s - before.throttled_s, 6)),
        )


@dataclass(frozen=True, slots=True)
class CpuLimit:
    """The tightest quota in force: CPUs' worth of time, the version that sets it, and the group that holds it."""

    cpus: float
    version: Literal[1, 2]
    group: PurePosixPath


@dataclass(frozen=True, slots=True)
class _Mount:
    version: Literal[1, 2]
    controllers: frozenset[str]
    root: PurePosixPath  # which group the mount point shows
    point: PurePosixPath


def detect_cgroup_version(host: Host) -> Literal[1, 2] | None:
    """Which version governs CPUs here; None where there are no control groups."""
    hierarchy = _groups(host, "cpu")
    return hierarchy[0] if hierarchy else None


def read_cpu_limit(host: Host) -> CpuLimit | None:
    """The tightest CPU quota on this process; None without one."""
    hierarchy = _groups(host, "cpu")
    if hierarchy is None:
        return None
    version, groups = hierarchy
    quotas = [(quota, i) for i, group in enumerate(groups) if (quota := _quota(host, version, group)) is not None]
    if not quotas:
        return None
    cpus, i = min(quotas)  # of equal ones the nearest
    return CpuLimit(cpus, version, groups[i])


def read_cpu_counters(host: Host) -> CpuCounters | None:
    """The counters of the tightest quota until now, all processes of its group together; None without a quota."""
    limit = read_cpu_limit(host)
    text = host.read(limit.group / "cpu.stat") if limit else None
    if text is None:
        return None
    values = dict(line.split() for line in text.splitlines() if len(line.split()) == 2)
    try:
        # Nanoseconds in version 1, microseconds in version 2.
        seconds = (
            int(values["throttled_time"]) / 1e9 if "throttled_time" in values else int(values["throttled_usec"]) / 1e6
        )
        return CpuCounters(
            periods=int(values["nr_periods"]), throttled=int(values["nr_throttled"]), throttled_s=round(seconds, 6)
        )
    except (KeyError, ValueError):
        return None


def read_memory_limit(host: Host) -> int | None:
    """The tightest limit of memory on this process, bytes; None without one."""
    hierarchy = _groups(host, "memory")
    if hierarchy is None:
        return None
    version, groups = hierarchy
    name = "memory.limit_in_bytes" if version == 1 else "memory.max"
    texts = (host.read(group / name) for group in groups)
    limits = [int(text) for text in texts if text and text.isdigit() and int(text) < _UNLIMITED]
    return min(limits, default=None)


def read_memory_left(host: Host) -> tuple[int, int] | None:
    """Of the group with the least left below its limit: (bytes left, its limit in bytes); None without a limit.

    What the group keeps of files does not count as used: the kernel drops it before it kills. Files that are mapped do count,
    because libraries and programs lie in them.
    """
    hierarchy = _groups(host, "memory")
    if hierarchy is None:
        return None
    version, groups = hierarchy
    limit_name, usage_name = (
        ("memory.limit_in_bytes", "memory.usage_in_bytes") if version == 1 else ("memory.max", "memory.current")
    )
    lefts = []
    for group in groups:
        limit, usage = (host.read(group / name) or "" for name in (limit_name, usage_name))
        if limit.isdigit() and usage.isdigit() and int(limit) < _UNLIMITED:
            used = int(usage) - _read_droppable(host, version, group)
            lefts.append((max(0, int(limit) - used), int(limit)))
    return min(lefts, default=None)


def own_paths(host: Host) -> tuple[str, ...]:
    """The process's groups as the kernel names them, one for each hierarchy."""
    return tuple(path for _, _, path in _memberships(host))


def _quota(host: Host, version: int, group: PurePosixPath) -> float | None:
    if version == 1:
        quota, period = host.read(group / "cpu.cfs_quota_us"), host.read(group / "cpu.cfs_period_us")
    else:
        quota, _, period = (host.read(group / "cpu.max") or "").partition(" ")
    if not quota or not period or not quota.isdigit() or not period.isdigit() or not int(period):
        return None  # "max", -1, or no such file: the root of version 2 has none
    return int(quota) / int(period)


def _read_droppable(host: Host, version: int, group: PurePosixPath) -> int:
    text = host.read(group / "memory.stat") or ""
    values = {
        name: int(value) for name, _, value in (line.partition(" ") for line in text.splitlines()) if value.isdigit()
    }
    prefix, mapped = ("total_", "total_mapped_file") if version == 1 else ("", "file_mapped")
    files = values.get(f"{prefix}inactive_file", 0) + values.get(f"{prefix}active_file", 0)
    return max(0, files - values.get(mapped, 0))


def _groups(host: Host, controller: str) -> tuple[Literal[1, 2], list[PurePosixPath]] | None:
    """Folders of the process's group and those above it, the own first, in the hierarchy that has a controller."""
    mounts = list(_mounts(host))
    for number, controllers, path in sorted(_memberships(host), reverse=True):
        version: Literal[1, 2] = 2 if number == 0 else 1  # hierarchy 0 is version 2; version 1 wins where both are
        if version == 1 and controller not in controllers:
            continue
        for mount in mounts:
            if mount.version == version and (version == 2 or controller in mount.controllers):
                return version, list(_upwards(host, mount, path))
    return None


def _memberships(host: Host) -> list[tuple[int, frozenset[str], str]]:
    memberships = []
    for line in (host.read("/proc/self/cgroup") or "").splitlines():
        number, _, remainder = line.partition(":")
        controllers, _, path = remainder.partition(":")
        if number.isdigit():
            memberships.append((int(number), frozenset(controllers.split(",")), path))
    return memberships


def _mounts(host: Host) -> Iterator[_Mount]:
    for line in (host.read("/proc/self/mountinfo") or "").splitlines():
        mount_part, _, filesystem_part = line.partition(" - ")
        fields, filesystem = mount_part.split(" "), filesystem_part.split(" ")
        if len(fields) < 5 or len(filesystem) < 3 or filesystem[0] not in ("cgroup", "cgroup2"):
            continue
        root, point = (PurePosixPath(_unescaped(field)) for field in fields[3:5])
        yield _Mount(1 if filesystem[0] == "cgroup" else 2, frozenset(filesystem[2].split(",")), root, point)


def _upwards(host: Host, mount: _Mount, path: str) -> Iterator[PurePosixPath]:
    # A container without a namespace of its own sees its full path here, and a mount that shows only the end of it.
    group_path = PurePosixPath(path)
    is_below = group_path.is_relative_to(mount.root) and ".." not in group_path.parts
    below = group_path.relative_to(mount.root) if is_below else PurePosixPath()
    group = mount.point / below
    while True:
        if host.resolve_path(group).is_dir():
            yield group
        if group == mount.point:
            return
        group = group.parent


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
