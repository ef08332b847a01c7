"""A control group of the kernel with a CPU quota, for tests that prove what a process in it finds."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def control_group(cpus: float) -> Iterator[Path]:
    """Make a control group with a CPU quota; skips where this process may not."""
    old, new = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
    parent = old if (old / "cpu.cfs_quota_us").exists() or (old / "cgroup.procs").exists() else new
    if parent == new and not (new / "cgroup.controllers").exists():
        pytest.skip("needs control groups; this system has none")
    group = parent / f"stt-test-{secrets.token_hex(4)}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"needs the right to make a control group: {error}")
    try:
        try:
            if parent == old:
                (group / "cpu.cfs_quota_us").write_text(str(int(cpus * 100_000)))
            else:
                (group / "cpu.max").write_text(f"{int(cpus * 100_000)} 100000")
        except OSError as error:
            pytest.skip(f"needs the CPU controller for new control groups: {error}")
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
