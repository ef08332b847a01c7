"""Warm processes: forked from one that has done the imports, which take 3 s of CPU time in a normal ``stt run``.

For tests that start, stop, interrupt and kill many processes. Everything except the imports happens in the new process; what the
imports do is covered by tests that run the command normally.
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

_PRELOADED_MODULES = ["ctranslate2", "faster_whisper", "stt_orchestration.cli.app", "stt_orchestration.definitions"]
_PRELOADED_MODULES += [
    "pytest",
    "stt_orchestration.instance",
    "stt_orchestration.cli.batch_runner",
    "recordings.steps.enriched",
    "speech.asr.engine",
]


@dataclass(frozen=True)
class Running:
    """A running process; its standard output and standard error go to files."""

    process: ForkServerProcess
    out: Path
    err: Path

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or minus the number of the signal that ended it; None while it runs."""
        return self.process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Wait until it ends, and return its standard output and standard error."""
        self.process.join(timeout)
        assert self.returncode is not None, f"still running after {timeout} s"
        return self.out.read_text(), self.err.read_text()


def start(work: Callable[..., None], *arguments: Any, output_dir: Path, environment: Mapping[str, str]) -> Running:
    """Run a module-level function in a new process.

    Args:
        work: The function; it raises ``SystemExit`` to set the exit code.
        arguments: Arguments of the function.
        output_dir: Folder for the files with its output; made if it is missing.
        environment: The complete environment of the process.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED_MODULES)
    output_dir.mkdir(parents=True, exist_ok=True)
    out, err = output_dir / "out", output_dir / "err"
    for path in (out, err):
        path.write_text("")  # can be read before the process has started
    process = context.Process(target=_run_redirected, args=(work, arguments, out, err, dict(environment)), daemon=True)
    process.start()
    return Running(process, out, err)


def _run_redirected(
    work: Callable[..., None], arguments: tuple[Any, ...], out: Path, err: Path, environment: dict[str, str]
) -> None:
    for path, descriptor in ((out, 1), (err, 2)):
        with path.open("w", encoding="utf-8") as file:
            os.dup2(file.fileno(), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    work(*arguments)
