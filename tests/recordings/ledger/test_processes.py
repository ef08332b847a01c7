"""Whether a process still runs, decided by an identity that differs between processes with the same id."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from recordings.ledger.processes import get_process_identity, is_gone


@pytest.fixture
def other_process() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A waiting process, with the identity that it printed."""
    code = "from recordings.ledger.processes import get_process_identity; print(get_process_identity(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
        process.kill()


def test_a_killed_process_is_gone_even_before_its_parent_has_waited_for_it(
    other_process: tuple[str, subprocess.Popen[str]],
) -> None:
    identity, process = other_process
    assert not is_gone(identity)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is still in the table of processes
    assert is_gone(identity)
    process.wait()
    assert is_gone(identity)


def test_a_process_id_of_another_process_or_another_boot_counts_as_gone() -> None:
    host, pid, boot, started = get_process_identity().split(":")
    if not started:
        pytest.skip("this system has no /proc")
    assert not is_gone(f"{host}:{pid}:{boot}:{started}")
    assert is_gone(f"{host}:{pid}:{boot}:{int(started) - 1}")
    assert is_gone(f"{host}:{pid}:00000000-0000-0000-0000-000000000000:{started}")


def test_without_boot_and_start_time_the_process_id_decides(other_process: tuple[str, subprocess.Popen[str]]) -> None:
    identity, process = other_process
    host, pid, *_ = identity.split(":")
    assert not is_gone(f"{host}:{pid}")
    assert not is_gone(f"{host}:{pid}::")
    process.kill()
    process.wait()
    assert is_gone(f"{host}:{pid}")
    assert is_gone(f"{host}:{pid}::")


def test_processes_of_other_hosts_and_invalid_identities_never_count_as_gone() -> None:
    for unknown in ("another-host:1:x:1", "", "nonsense", f"{os.uname().nodename}:no number"):
        assert not is_gone(unknown)
