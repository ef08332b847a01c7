"""Control groups of the kernel with a limit, for tests that prove what a process in them finds."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def control_group(cpus: float) -> Iterator[Path]:
    """Make a control group with a CPU quota; skips where this process may not."""
    quota, period = str(int(cpus * 100_000)), "100000"
    with _make_group("cpu", {"cpu.cfs_quota_us": quota}, {"cpu.max": f"{quota} {period}"}) as group:
        yield group


@contextmanager
def memory_group(size: int) -> Iterator[Path]:
    """Make a control group with a limit of memory, bytes; skips where this process may not."""
    with _make_group("memory", {"memory.limit_in_bytes": str(size)}, {"memory.max": str(size)}) as group:
        yield group


@contextmanager
def _make_group(controller: str, old_limits: Mapping[str, str], new_limits: Mapping[str, str]) -> Iterator[Path]:
    old, new = Path("/sys/fs/cgroup", controller), Path("/sys/fs/cgroup")
    parent = old if (old / "cgroup.procs").exists() else new
    if parent == new and not (new / "cgroup.controllers").exists():
        pytest.skip("needs control groups; this system has none")
    group = parent / f"stt-test-{secrets.token_hex(4)}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"needs the right to make a control group: {error}")
    try:
        try:
            for name, text in (old_limits if parent == old else new_limits).items():
                (group / name).write_text(text)
        except OSError as error:
            pytest.skip(f"needs the {controller} controller for new control groups: {error}")
        yield group
    finally:
        group.rmdir()


def run_in(group: Path, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command, all threads of it in a control group, and return what it printed."""
    return subprocess.run(
        # The group must contain the whole process, so its number is written before the program begins.
        ["/bin/sh", "-c", f'echo $$ > "{group}/cgroup.procs" && exec "$@"', "sh", *command],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
