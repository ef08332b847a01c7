"""A temporary project in which the real command runs, in its own process or in this one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from recordings.ledger.ledger import Ledger
from recordings.ledger.rows import Member
from speech.models.registry import Weights

PROJECT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Project:
    """A temporary folder with a project.

    Attributes:
        root: Holds ``workdir``, where commands run, and ``own``, where the project keeps its files.
        environment: The environment of every command.
    """

    root: Path
    environment: dict[str, str]

    @property
    def workdir(self) -> Path:
        return self.root / "workdir"

    @property
    def data(self) -> Path:
        return self.root / "own/data"

    @property
    def raw(self) -> Path:
        return self.data / "raw_audio"

    @property
    def ledger(self) -> Path:
        return self.root / "own/ledger.db"

    @property
    def home(self) -> Path:
        return self.root / "own/dagster"

    def start(
        self, *arguments: str | bytes, limit: Callable[[], None] | None = None, stderr: int = subprocess.STDOUT
    ) -> subprocess.Popen[str]:
        """Start ``stt`` with these arguments. ``limit`` is called first in the new process."""
        return subprocess.Popen(
            [sys.executable, "-m", "stt_orchestration.cli", *arguments],
            cwd=self.workdir,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=stderr,
            preexec_fn=limit,  # noqa: PLW1509 - given only where no thread runs
        )

    def run_process(self, *arguments: str | bytes, limit: Callable[[], None] | None = None) -> tuple[int, str]:
        """Run ``stt`` in its own process, as a user does. Returns its exit code and everything it printed."""
        process = self.start(*arguments, limit=limit)
        output, _ = process.communicate(timeout=240)
        return process.returncode, output

    def invoke(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run ``stt`` in this process. In its own process the imports alone take 3 s, and 8 s for a command that runs a batch.

        Args:
            arguments: Arguments of ``stt``.
            variables: Environment variables for this command only.

        Raises:
            Exception: Whatever the command does not turn into an exit code.
        """
        from stt_orchestration.cli.app import app  # slow to import, and the fixtures of all tests import this module

        with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
            for name in set(os.environ) - set(self.environment):
                patch.delenv(name)
            for name, value in {**self.environment, **variables}.items():
                patch.setenv(name, value)
            patch.chdir(self.workdir)
            # Files: progress is written to a copy of the file descriptor.
            out, err = (
                stack.enter_context((self.root / "own" / name).open("w+", encoding="utf-8")) for name in ("out", "err")
            )
            with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as exit_info:
                app(arguments)
            outputs = [Path(stream.name).read_text() for stream in (out, err)]
            return subprocess.CompletedProcess(arguments, int(exit_info.value.code or 0), *outputs)

    def stt(self, *arguments: str, **variables: str) -> tuple[int, str]:
        """Like ``invoke``, but returns the exit code and everything that was printed."""
        result = self.invoke(*arguments, **variables)
        return result.returncode, result.stdout + result.stderr

    def read_states(self) -> dict[str, int]:
        """State -> number of inputs, from ``stt status --json``; states without inputs are left out."""
        code, output = self.stt("status", "--json")
        assert code == 0, output
        status = json.loads(output)
        assert status["inputs"] == sum(status["states"].values())
        return {state: count for state, count in status["states"].items() if count}

    def read_members(self) -> dict[str, Member]:
        """Name -> its newest delivery in the ledger."""
        ledger = Ledger.open(f"sqlite:///{self.ledger}")
        members = {member.delivery.name: member for member in reversed(ledger.list_newest(10_000))}
        ledger.close()
        return members


def make_project(root: Path, weights: Weights) -> Project:
    """Make an empty project. Our own variables of the test run's environment are not passed on to it."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("STT_", "WHISPER_", "ENABLE_"))}
    project = Project(
        root,
        environment
        | {
            "STT_DATA_DIR": str(root / "own/data"),
            "STT_LEDGER_URL": f"sqlite:///{root / 'own/ledger.db'}",
            "DAGSTER_HOME": str(root / "own/dagster"),
            "STT_MODEL_DIR": str(weights.path),
            "STT_LANGUAGE": "en",
            "TMPDIR": str(root / "own/dagster"),  # so that left-over temporary files can be found
        },
    )
    for folder in (project.workdir, project.raw, project.home):
        folder.mkdir(parents=True)
    shutil.copyfile(PROJECT / "dagster.yaml", project.home / "dagster.yaml")
    return project
