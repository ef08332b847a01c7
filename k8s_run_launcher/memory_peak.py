"""Records a step's memory peak in the container's termination message, where it can be read after the process has ended.

An OOMKilled container cannot report anything, and Kubernetes keeps no history of memory use. So the peak is written to
``/dev/termination-log`` while the step runs; the kubelet copies that file into the pod's status when the container ends.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from k8s_run_launcher.pod_failure import MEMORY_PEAK_PREFIX

STEP_KEY_ENV_VAR = "DAGSTER_RUN_STEP_KEY"
"""dagster-k8s sets it in the pod of a step."""

_TERMINATION_LOG = Path("/dev/termination-log")
_STATUS = Path("/proc/self/status")
_POLL_INTERVAL_S = 0.5


def is_in_step_pod() -> bool:
    """Whether this process is a step in a pod of its own."""
    return STEP_KEY_ENV_VAR in os.environ


@contextmanager
def record_memory_peak(termination_log: Path = _TERMINATION_LOG) -> Iterator[None]:
    """Keep the memory peak of this process in the termination message while the block runs; does nothing outside a step's pod."""
    if not is_in_step_pod() or not os.access(termination_log, os.W_OK):
        yield
        return
    stop_event = threading.Event()
    thread = threading.Thread(target=_record_until, args=(termination_log, stop_event), name="memory-peak", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop_event.set()
        thread.join()


def _record_until(termination_log: Path, stop_event: threading.Event) -> None:
    recorded_peak = 0
    while not stop_event.wait(_POLL_INTERVAL_S):
        peak = read_memory_peak_bytes()
        if peak > recorded_peak:
            termination_log.write_text(f"{MEMORY_PEAK_PREFIX}{peak}", encoding="ascii")
            recorded_peak = peak


def read_memory_peak_bytes() -> int:
    """The most resident memory that this process ever had, in bytes."""
    line = next(line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
