"""A step notes its memory peak where the kubelet reads a container's last words."""

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
words = pathlib.Path(sys.argv[1])
with record_memory_peak(words):
    eaten = os.urandom(1024) * (128 * 1024)
    while (parse_memory_peak(words.read_text()) or 0) <= len(eaten):
        time.sleep(0.05)
    os.kill(os.getpid(), 9)
"""


def test_a_step_that_is_killed_leaves_its_peak_behind(tmp_path: Path) -> None:
    words = tmp_path / "termination-log"
    words.touch()
    done = subprocess.run(
        [sys.executable, "-c", _STEP, str(words)],
        env={STEP_KEY_ENV_VAR: "x", "PYTHONPATH": ":".join(sys.path)},
        check=False,
    )
    assert done.returncode == -9
    peak = parse_memory_peak(words.read_text(encoding="ascii"))
    assert peak is not None
    assert peak > 128 * 1024**2


def test_outside_a_pod_nothing_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STEP_KEY_ENV_VAR, raising=False)
    words = tmp_path / "termination-log"
    words.touch()
    with record_memory_peak(words):
        assert "memory-peak" not in {thread.name for thread in threading.enumerate()}
    assert words.read_text(encoding="ascii") == ""
    assert read_memory_peak_bytes() > 1024**2
