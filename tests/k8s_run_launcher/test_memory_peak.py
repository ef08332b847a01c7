"""A step records its memory peak in the container's termination log."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from k8s_run_launcher.memory_peak import STEP_KEY_ENV_VAR, read_memory_peak_bytes, record_memory_peak
from k8s_run_launcher.pod_failure import parse_memory_peak

_STEP = """
import os, pathlib, sys, time
from k8s_run_launcher.pod_failure import parse_memory_peak
from k8s_run_launcher.memory_peak import record_memory_peak
log = pathlib.Path(sys.argv[1])
with record_memory_peak(log):
    data = os.urandom(1024) * (128 * 1024)
    while (parse_memory_peak(log.read_text()) or 0) <= len(data):
        time.sleep(0.05)
    os.kill(os.getpid(), 9)
"""


def test_a_killed_step_has_recorded_its_peak(tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    log.touch()
    process = subprocess.run(
        [sys.executable, "-c", _STEP, str(log)],
        env={STEP_KEY_ENV_VAR: "x", "PYTHONPATH": ":".join(sys.path)},
        check=False,
    )
    assert process.returncode == -9
    peak = parse_memory_peak(log.read_text(encoding="ascii"))
    assert peak is not None
    assert peak > 128 * 1024**2


def test_outside_a_pod_nothing_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STEP_KEY_ENV_VAR, raising=False)
    log = tmp_path / "termination-log"
    log.touch()
    with record_memory_peak(log):
        assert "memory-peak" not in {thread.name for thread in threading.enumerate()}
    assert log.read_text(encoding="ascii") == ""
    assert read_memory_peak_bytes() > 1024**2
