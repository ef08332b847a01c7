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

from k8s_run_launcher.death import PEAK

STEP_VARIABLE = "DAGSTER_RUN_STEP_KEY"
"""dagster-k8s sets it in the pod of a step."""

_LAST_WORDS = Path("/dev/termination-log")
_STATUS = Path("/proc/self/status")
_EVERY_S = 0.5


def in_step_pod() -> bool:
    """Whether this process is a step in a pod of its own."""
    return STEP_VARIABLE in os.environ


@contextmanager
def peak_noted(last_words: Path = _LAST_WORDS) -> Iterator[None]:
    """While it is open, the memory peak of this process is kept in the termination message. Elsewhere it does nothing."""
    if not in_step_pod() or not os.access(last_words, os.W_OK):
        yield
        return
    over = threading.Event()
    noting = threading.Thread(target=_note, args=(last_words, over), name="memory-peak", daemon=True)
    noting.start()
    try:
        yield
    finally:
        over.set()
        noting.join()


def _note(last_words: Path, over: threading.Event) -> None:
    noted = 0
    while not over.wait(_EVERY_S):
        peak = peak_bytes()
        if peak > noted:
            last_words.write_text(f"{PEAK}{peak}", encoding="ascii")
            noted = peak


def peak_bytes() -> int:
    """The most resident memory that this process ever had, in bytes."""
    line = next(line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
