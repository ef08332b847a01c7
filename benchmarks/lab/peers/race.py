"""The race: all contestants over the same recordings in turn, as often as asked; wall-clock time from ``go`` to the last text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.lab.peers.corpus import CorpusItem
from speech.machine.resources import detect_resources
from speech.transcript import Speed

CORES = detect_resources().cpus


@dataclass(frozen=True, slots=True)
class Setup:
    """A contestant and how it is set up.

    Attributes:
        name: As the report calls it.
        contestant: Which of ``contestants.CONTESTANTS``.
        processes: How many run at once; they share the recordings.
        vad: Whether the plain contestant's voice activity detection is on.
        speed: The engine's option of that name.
    """

    name: str
    contestant: str
    processes: int = 1
    vad: bool = False
    speed: Speed = "balanced"

    @property
    def threads(self) -> int:
        """Threads of each process: all cores are used, none twice."""
        return max(1, CORES // self.processes)


SETUPS = (
    Setup("ours", "ours"),
    Setup("ours, fast", "ours", speed="fast"),
    Setup("ours, accurate", "ours", speed="accurate"),
    Setup("faster-whisper, as typed", "plain"),
    Setup("faster-whisper, a process per core", "plain", processes=CORES),
    Setup("faster-whisper, a process per core, voice activity on", "plain", processes=CORES, vad=True),
    Setup("faster-whisper, batched", "batched"),
    Setup("whisper-ctranslate2", "command_line"),
)


@dataclass(frozen=True, slots=True)
class Lap:
    """One pass of a setup: seconds, and the text of each file."""

    seconds: float
    texts: dict[str, str]


def run_setup(setup: Setup, items: Sequence[CorpusItem], weights: Path, *, words: bool, extra_path: str = "") -> Lap:
    """Let a setup transcribe the recordings once.

    On a single recording, several processes each get a copy of it, and the time is divided among them: that is what a core gives.

    Raises:
        RuntimeError: A contestant did not finish.
    """
    jobs = [(str(item.path), item.language) for item in sorted(items, key=lambda item: -item.seconds)]
    copies = setup.processes if len(jobs) == 1 else 1
    shares = [jobs] * copies if copies > 1 else [jobs[i :: setup.processes] for i in range(setup.processes)]
    racers = []
    for share in shares:
        task = {
            "weights": str(weights),
            "threads": setup.threads if setup.contestant != "ours" else CORES,
            "words": words,
            "vad": setup.vad,
            "speed": setup.speed,
            "jobs": share,
        }
        racer = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.lab.peers.contestants", setup.contestant],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([p for p in (extra_path, os.environ.get("PYTHONPATH")) if p]),
            },
        )
        _write(racer, json.dumps(task))
        racers.append(racer)
    for racer in racers:
        _read(racer, setup)
    began = time.monotonic()
    for racer in racers:
        _write(racer, "go")
    texts: dict[str, str] = {}
    for racer in racers:
        texts.update(json.loads(_read(racer, setup)))
    seconds = (time.monotonic() - began) / copies
    for racer in racers:
        racer.wait()
    return Lap(seconds, texts)


def _write(racer: subprocess.Popen[str], line: str) -> None:
    assert racer.stdin is not None  # noqa: S101 - it was asked for
    racer.stdin.write(line + "\n")
    racer.stdin.flush()


def _read(racer: subprocess.Popen[str], setup: Setup) -> str:
    assert racer.stdout is not None  # noqa: S101 - it was asked for
    line = racer.stdout.readline()
    if not line:
        raise RuntimeError(f"{setup.name} ended early, exit code {racer.wait()}; run it by hand to see why.")
    return line
