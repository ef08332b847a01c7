"""Facts of the machine, printed above every measurement: a value without its machine cannot be interpreted."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from speech.machine.host import Host
from speech.machine.resources import detect_resources

_ARCHITECTURES = {"aarch64": "ARM64", "arm64": "ARM64", "amd64": "x86_64", "x86_64": "x86_64"}

_X86_SETS = (
    "sse4_1",
    "avx",
    "f16c",
    "fma",
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_bf16",
    "amx_int8",
)
_ARM_SETS = ("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme")
_MAC_SETS = {
    "hw.optional.AdvSIMD": "asimd",
    "hw.optional.arm.FEAT_FP16": "asimdhp",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_SME": "sme",
    "hw.optional.sse4_1": "sse4_1",
    "hw.optional.avx1_0": "avx",
    "hw.optional.f16c": "f16c",
    "hw.optional.fma": "fma",
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
}
"""Instruction sets that matrix products depend on, under Linux's names."""

_ARM_PARTS = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x48", "0xd01"): "Kunpeng-920",
    ("0xc0", "0xac3"): "Ampere-1",
}
"""Implementer and part of ARM's MIDR register, all that Linux says of an ARM processor; from the manufacturers' manuals."""

_APPLE = "0x61"

_IN_CONTAINERS = ("/.dockerenv", "/run/.containerenv")
"""Docker and Podman leave one of these in every container."""


class Machine(BaseModel):
    """A platform: what a latency depends on, and what tells two machines of one type apart."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture: str = Field(min_length=1, description="ARM64, x86_64, or the machine's own name for another.")
    cpu_model: str = Field(min_length=1)
    cores: int = Field(ge=1, description="Online on the machine, whoever may use them.")
    memory_mb: float = Field(gt=0, description="MiB, of the machine.")
    system: str
    instruction_sets: tuple[str, ...] = Field(description="Of those that matrix products use.")
    ids: tuple[str, ...] = Field(
        description="Hashes of the identifiers of the system and of this boot of it; empty where none can be read. "
        "Machines that share one are one machine."
    )


def describe_machine(host: Host) -> Machine:
    """The platform's facts."""
    return Machine(
        architecture=_ARCHITECTURES.get(host.machine.lower(), host.machine),
        cpu_model=read_cpu_model(host),
        cores=host.cores,
        memory_mb=round(host.memory_bytes / 2**20, 1),
        system=f"{host.system} {host.release}",
        instruction_sets=_instruction_sets(host),
        ids=_ids(host),
    )


def read_cpu_model(host: Host) -> str:
    """The processor's name as well as the system tells it."""
    if host.system == "Darwin":
        name = host.sysctl("machdep.cpu.brand_string") or "unknown Apple processor"
        return f"{name} (x86_64 translated by Rosetta)" if host.sysctl("sysctl.proc_translated") == "1" else name
    cpuinfo = _cpuinfo(host)
    if "model name" in cpuinfo:
        return cpuinfo["model name"]
    implementer, part = cpuinfo.get("CPU implementer", ""), cpuinfo.get("CPU part", "")
    if (implementer, part) in _ARM_PARTS:
        return _ARM_PARTS[implementer, part]
    if implementer == _APPLE:
        return f"Apple Silicon (part {part})"  # its virtual machines do not say which
    if board := host.read("/proc/device-tree/model"):
        return board
    return f"{host.machine} processor, implementer {implementer}, part {part}" if part else f"{host.machine} processor"


def read_steal_seconds(host: Host) -> float | None:
    """Time the hypervisor took from the CPUs that this process may use, since the machine started; None where nothing counts it."""
    lines = [line.split() for line in (host.read("/proc/stat") or "").splitlines()]
    usable = {f"cpu{core}" for core in (host.affinity or range(host.cores))}
    ticks = [int(fields[8]) for fields in lines if len(fields) > 8 and fields[0] in usable]
    return sum(ticks) / os.sysconf("SC_CLK_TCK") if ticks else None


def collect_facts() -> dict[str, str]:
    """Name -> value of what a figure depends on: processor, cores and memory that the process has, load, versions, commit."""
    host = Host.here()
    resources = detect_resources(host)
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    return {
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{read_cpu_model(host)} ({host.machine})",
        "cores": str(resources.cpus),
        "memory": f"{resources.memory_bytes / 1024**3:.0f} GiB",
        "load before": load,
        "system": f"{host.system} {host.release}, Python {platform.python_version()}",
        "versions": ", ".join(f"{name} {version(name)}" for name in ("dagster", "faster-whisper", "ctranslate2", "av")),
        "commit": _commit(),
    }


def format_header() -> str:
    """The facts, a line each."""
    return "\n".join(f"{name:12} {value}" for name, value in collect_facts().items())


def _cpuinfo(host: Host) -> dict[str, str]:
    """What Linux says of its first processor."""
    first_processor = (host.read("/proc/cpuinfo") or "").split("\n\n")[0]
    pairs = (line.partition(":") for line in first_processor.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _instruction_sets(host: Host) -> tuple[str, ...]:
    if host.system == "Darwin":
        return tuple(name for key, name in _MAC_SETS.items() if host.sysctl(key) == "1")
    cpuinfo = _cpuinfo(host)
    flags = set(cpuinfo.get("flags", cpuinfo.get("Features", "")).split())
    return tuple(name for name in (*_X86_SETS, *_ARM_SETS) if name in flags)


def _ids(host: Host) -> tuple[str, ...]:
    # In a container machine-id can come from the image and be the same everywhere; the boot id is the one of the host.
    is_container = "KUBERNETES_SERVICE_HOST" in host.environment or any(
        host.resolve_path(path).exists() for path in _IN_CONTAINERS
    )
    identifiers = (
        ("machine", None if is_container else host.read("/etc/machine-id")),
        ("boot", host.read("/proc/sys/kernel/random/boot_id") or host.sysctl("kern.bootsessionuuid")),
    )
    return tuple(hashlib.sha256(f"{kind} {value}".encode()).hexdigest()[:16] for kind, value in identifiers if value)


def _commit() -> str:
    try:
        process = subprocess.run(
            ["git", "describe", "--always", "--dirty"],  # noqa: S607 - whichever git the user has
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return process.stdout.strip()
