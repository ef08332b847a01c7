"""Processes that start warm: forked from one that has done the imports, which take a cold ``stt run`` 3 s of a whole core.

For tests that start many, freeze them, interrupt them and kill them. What such a process does, and how it ends, is its own; what
imports do at the start is proven by tests that type the command.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

_IMPORTED = ["ctranslate2", "faster_whisper", "stt_orchestration.cli.app", "stt_orchestration.definitions"]
_IMPORTED += [
    "pytest",
    "stt_orchestration.instance",
    "stt_orchestration.cli.batch_runner",
    "recordings.steps.enriched",
    "speech.asr.engine",
]


@dataclass(frozen=True)
class Running:
    """A process at work; standard output and error go to files."""

    process: ForkServerProcess
    out: Path
    err: Path

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        """As shells have it, or minus the signal; None as long as it works."""
        return self.process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Wait for the end, and return all that was written to standard output and error."""
        self.process.join(timeout)
        assert self.returncode is not None, f"still at work after {timeout} s"
        return self.out.read_text(), self.err.read_text()


def start(work: Callable[..., None], *arguments: Any, said: Path, environment: Mapping[str, str]) -> Running:
    """Start a function of a module in a process.

    Args:
        work: What to do; an exit code is what it raises as ``SystemExit``.
        arguments: Its own.
        said: Folder for what it writes, made where it is missing.
        environment: The whole environment.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    said.mkdir(parents=True, exist_ok=True)
    out, err = said / "out", said / "err"
    for path in (out, err):
        path.write_text("")  # there to be read before the process is
    process = context.Process(target=_begin, args=(work, arguments, out, err, dict(environment)), daemon=True)
    process.start()
    return Running(process, out, err)


def _begin(
    work: Callable[..., None], arguments: tuple[Any, ...], out: Path, err: Path, environment: dict[str, str]
) -> None:
    for path, descriptor in ((out, 1), (err, 2)):
        with path.open("w", encoding="utf-8") as file:
            os.dup2(file.fileno(), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    work(*arguments)
