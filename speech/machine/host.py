"""Where facts about a machine are read from: this one, or a recorded one.

Everything that looks at a platform takes a ``Host``, so that Linux on ARM or a Mac can be looked at anywhere, from what was
recorded there. Nothing here interprets what it reads.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePath
from typing import Self


def _read_no_sysctl(_: str) -> str | None:
    return None


@dataclass(frozen=True)
class Host:
    """A machine, or a container on one.

    Attributes:
        system: ``Linux`` or ``Darwin``, as ``uname`` says.
        machine: ``x86_64``, ``aarch64``, ``arm64``: the architecture's name for itself.
        release: Of the kernel.
        cores: Online on the machine, whoever may use them.
        affinity: Cores that this process may use; None where the system has no affinity (macOS).
        memory_bytes: Of the machine.
        root: The file system to read ``proc``, ``sys`` and ``etc`` below.
        environment: The process's.
        sysctl: macOS's named kernel values; None for a name that is not there.
    """

    system: str
    machine: str
    release: str
    cores: int
    affinity: frozenset[int] | None
    memory_bytes: int
    root: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    sysctl: Callable[[str], str | None] = _read_no_sysctl

    @classmethod
    def here(cls) -> Self:
        """This machine, now."""
        # Of the main thread: the engine may pin others.
        affinity = frozenset(os.sched_getaffinity(os.getpid())) if hasattr(os, "sched_getaffinity") else None
        return cls(
            system=platform.system(),
            machine=platform.machine(),
            release=platform.release(),
            cores=os.cpu_count() or 1,
            affinity=affinity,
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            root=Path("/"),
            environment=os.environ,
            sysctl=_sysctl if platform.system() == "Darwin" else _read_no_sysctl,
        )

    def read(self, path: str | PurePath) -> str | None:
        """The text of a file, given by its absolute path; None where there is none, or it may not be read."""
        try:
            return self.resolve_path(path).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
        except OSError:
            return None

    def resolve_path(self, path: str | PurePath) -> Path:
        """Where a path of that machine lies on this one."""
        return self.root / str(path).lstrip("/")


@cache
def _sysctl(name: str) -> str | None:
    try:
        process = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return process.stdout.strip() or None
