"""Peak memory of this process. This module imports nothing large, so that it does not change what it measures."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path


def peak_memory_mb() -> float:
    """Peak resident memory of this process, MiB."""
    # getrusage counts the parent's memory from before exec as ours; the kernel's own high-water mark begins at exec.
    status = Path("/proc/self/status")
    if status.exists() and (match := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return round(int(match[1]) / 1024, 1)
    max_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, KiB elsewhere
    return round(max_rss / 2**20 if sys.platform == "darwin" else max_rss / 1024, 1)
