"""Whether a process still lives, told from an identity that another process with the same number does not have."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from recordings.ledger.processes import get_process_identity, is_gone


@pytest.fixture
def other() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A process that says who it is and waits."""
    told = "from recordings.ledger.processes import get_process_identity; print(get_process_identity(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", told], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
        process.kill()


def test_a_process_is_gone_once_it_was_killed_even_before_its_parent_has_noticed(
    other: tuple[str, subprocess.Popen[str]],
) -> None:
    identity, process = other
    assert not is_gone(identity)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is still in the table of processes
    assert is_gone(identity)
    process.wait()
    assert is_gone(identity)


def test_a_number_that_another_process_or_another_boot_uses_now_is_no_sign_of_life() -> None:
    host, pid, boot, started = get_process_identity().split(":")
    if not started:
        pytest.skip("this system has no /proc")
    assert not is_gone(f"{host}:{pid}:{boot}:{started}")
    assert is_gone(f"{host}:{pid}:{boot}:{int(started) - 1}")
    assert is_gone(f"{host}:{pid}:00000000-0000-0000-0000-000000000000:{started}")


def test_where_the_system_tells_no_more_the_number_alone_decides(other: tuple[str, subprocess.Popen[str]]) -> None:
    identity, process = other
    host, pid, *_ = identity.split(":")
    assert not is_gone(f"{host}:{pid}")
    assert not is_gone(f"{host}:{pid}::")
    process.kill()
    process.wait()
    assert is_gone(f"{host}:{pid}")
    assert is_gone(f"{host}:{pid}::")


def test_of_other_hosts_and_of_what_is_no_identity_nobody_here_can_say() -> None:
    for unknown in ("another-host:1:x:1", "", "nonsense", f"{os.uname().nodename}:no number"):
        assert not is_gone(unknown)
