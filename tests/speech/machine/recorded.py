"""Recorded descriptions of machines and containers, as files below a folder, for tests on any machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from speech.machine.host import Host

GIB = 2**30

XEON_CPUINFO = (
    "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz\n"
    "flags\t\t: fpu sse4_1 sse4_2 avx f16c fma avx2 avx512f avx512_vnni\n\nprocessor\t: 1\nmodel name\t: another\n"
)
APPLE_VM_CPUINFO = (
    "processor\t: 0\nBogoMIPS\t: 48.00\nFeatures\t: fp asimd aes fphp asimdhp asimddp i8mm bf16\n"
    "CPU implementer\t: 0x61\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0x000\nCPU revision\t: 0\n"
)
GRAVITON_CPUINFO = (
    "processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n\n"
    "processor\t: 1\n"
)
V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
UNLIMITED_V1 = "9223372036854771712"


def make_linux(root: Path, files: Mapping[str, str], **facts: object) -> Host:
    """A Linux machine with these files and four usable cores. Keyword arguments replace its facts."""
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    host: dict[str, object] = {
        "system": "Linux",
        "machine": "x86_64",
        "release": "6.1.0",
        "cores": 4,
        "affinity": frozenset(range(4)),
        "memory_bytes": 16 * GIB,
        "root": root,
        **facts,
    }
    return Host(**host)  # type: ignore[arg-type]


def make_cgroup_v2(group: str, limits: Mapping[str, str], *, inside: str = "/") -> dict[str, str]:
    """Files of a process in a control group of version 2: ``group`` as the process sees it, limits as relative path -> content."""
    return {
        "/proc/self/cgroup": f"0::{group}\n",
        "/proc/self/mountinfo": V2_MOUNT.replace(" / /sys", f" {inside} /sys"),
        **{f"/sys/fs/cgroup/{name}": text for name, text in limits.items()},
    }


def make_cgroup_v1(group: str, limits: Mapping[str, str], *, root_of_mount: str = "/") -> dict[str, str]:
    """The same for version 1 with its two hierarchies. The mounts show the groups below ``root_of_mount``."""
    return {
        "/proc/self/cgroup": f"4:memory:{group}\n3:cpu,cpuacct:{group}\n1:name=systemd:{group}\n0::/\n",
        "/proc/self/mountinfo": (
            f"40 31 0:30 {root_of_mount} /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
            f"41 31 0:31 {root_of_mount} /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
            "42 31 0:32 / /sys/fs/cgroup/unified ro - cgroup2 cgroup2 rw\n"
        ),
        **{f"/sys/fs/cgroup/{name}": text for name, text in limits.items()},
    }


def make_mac(root: Path, machine: str, values: Mapping[str, str]) -> Host:
    """A Mac: no files, no affinity, named kernel values."""
    return Host(
        system="Darwin",
        machine=machine,
        release="24.5.0",
        cores=10,
        affinity=None,
        memory_bytes=24 * GIB,
        root=root,
        sysctl=values.get,
    )
