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
    """While it is open, the memory peak of this process is kept in the termination message. Elsewhere it does nothing."""
    if not is_in_step_pod() or not os.access(termination_log, os.W_OK):
        yield
        return
    over = threading.Event()
    noting = threading.Thread(target=_record_until, args=(termination_log, over), name="memory-peak", daemon=True)
    noting.start()
    try:
        yield
    finally:
        over.set()
        noting.join()


def _record_until(termination_log: Path, stop_event: threading.Event) -> None:
    noted = 0
    while not stop_event.wait(_POLL_INTERVAL_S):
        peak = read_memory_peak_bytes()
        if peak > noted:
            termination_log.write_text(f"{MEMORY_PEAK_PREFIX}{peak}", encoding="ascii")
            noted = peak


def read_memory_peak_bytes() -> int:
    """The most resident memory that this process ever had, in bytes."""
    line = next(line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
