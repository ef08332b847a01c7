"""A pod's worker: the real engine in a process of its own on one core, a recording at a time, told by lines on its input.

``python -m benchmarks.lab.queueing_check.worker WEIGHTS CORE`` says ``ready``, then answers each path with when it began and ended
(monotonic clock, seconds) and the seconds of processor time.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from speech.asr.engine import Engine, RecordingIdentity
from speech.models.registry import resolve


def main(weights: str, core: int) -> None:
    """Serve until the input ends."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    resolved = resolve(weights, model_dir=None, cache_dir=Path(weights))
    with Engine(resolved) as engine:
        engine.load()
        print("ready", flush=True)
        for line in sys.stdin:
            path = Path(line.rstrip("\n"))
            began, worked = time.monotonic(), time.process_time()
            engine.transcribe(path, RecordingIdentity(path.name, path.stem))
            took = {"began": began, "ended": time.monotonic(), "cpu": time.process_time() - worked}
            print(json.dumps(took), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
