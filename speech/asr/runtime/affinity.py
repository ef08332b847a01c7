"""Pins each decoding thread to its own core if the process has exactly as many cores as decoding threads.

Some kernels run threads that wake each other on one core while another core is idle (seen in small virtual machines whose host
packs work onto few cores: two workers were no faster than one).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_TASKS = Path("/proc/self/task")


def get_usable_cores() -> list[int]:
    """The cores that this process may use, in order: its affinity where the system has it (Linux), else all of the machine's."""
    # Of the main thread, which is never pinned.
    return sorted(os.sched_getaffinity(os.getpid()) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


def choose_worker_cores(threads: int) -> list[int] | None:
    """The cores of this process if there are exactly as many as threads, and at least two; else None.

    With more cores than threads nothing is pinned: another process may have pinned its threads to the same cores.
    """
    if threads < 2 or not hasattr(os, "sched_getaffinity"):
        return None
    cores = get_usable_cores()
    return cores if len(cores) == threads else None


def pin_this_thread(core: int) -> None:
    """Keep the calling thread on a core."""
    os.sched_setaffinity(0, {core})


@contextmanager
def pin_started_threads(cores: Sequence[int] | None) -> Iterator[None]:
    """Pin the threads that the block starts, one to each core, if they are as many as the cores."""
    earlier_threads = _list_thread_ids()
    yield
    started = sorted(_list_thread_ids() - earlier_threads)
    if cores and len(started) == len(cores):
        for thread, core in zip(started, cores, strict=True):
            os.sched_setaffinity(thread, {core})


def _list_thread_ids() -> set[int]:
    return {int(task.name) for task in _TASKS.iterdir()} if _TASKS.is_dir() else set()
