"""A project of one's own in which the real command runs, in a process of its own or in this one."""

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
    """A folder with a desk, at which the commands are typed, and what belongs to the project: ``own/data``, ``own/dagster``."""

    root: Path
    environment: dict[str, str]

    @property
    def desk(self) -> Path:
        return self.root / "desk"

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
        """Type a command; ``limit`` is called in its process first."""
        return subprocess.Popen(
            [sys.executable, "-m", "stt_orchestration.cli", *arguments],
            cwd=self.desk,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=stderr,
            preexec_fn=limit,  # noqa: PLW1509 - given only where no thread runs
        )

    def typed(self, *arguments: str | bytes, limit: Callable[[], None] | None = None) -> tuple[int, str]:
        """Exit code and all that a command printed, which was started as a person starts it."""
        process = self.start(*arguments, limit=limit)
        said, _ = process.communicate(timeout=240)
        return process.returncode, said

    def called(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """The same without a process of its own, whose imports alone take 3 s, and 8 s where a batch is run.

        An error that is no orderly end of the command is raised here.
        """
        from stt_orchestration.cli.app import app  # not with this module, which the fixtures of all tests import

        with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
            for name in set(os.environ) - set(self.environment):
                patch.delenv(name)
            for name, value in {**self.environment, **more}.items():
                patch.setenv(name, value)
            patch.chdir(self.desk)
            # Files, because progress is written to a copy of the descriptor.
            out, err = (
                stack.enter_context((self.root / "own" / name).open("w+", encoding="utf-8")) for name in ("out", "err")
            )
            with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
                app(arguments)
            said = [Path(stream.name).read_text() for stream in (out, err)]
            return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), *said)

    def stt(self, *arguments: str, **more: str) -> tuple[int, str]:
        """Exit code and all that was printed."""
        ended = self.called(*arguments, **more)
        return ended.returncode, ended.stdout + ended.stderr

    def states(self) -> dict[str, int]:
        """What ``stt status --json`` says, which has to add up."""
        code, said = self.stt("status", "--json")
        assert code == 0, said
        told = json.loads(said)
        assert told["inputs"] == sum(told["states"].values())
        return {state: count for state, count in told["states"].items() if count}

    def members(self) -> dict[str, Member]:
        """Name -> its newest delivery."""
        ledger = Ledger.open(f"sqlite:///{self.ledger}")
        found = {member.delivery.name: member for member in reversed(ledger.list_newest(10_000))}
        ledger.close()
        return found


def make_project(root: Path, weights: Weights) -> Project:
    """An empty one; nothing of the environment that tests run in reaches it."""
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
            "TMPDIR": str(root / "own/dagster"),  # where a leak of temporary files would show
        },
    )
    for folder in (project.desk, project.raw, project.home):
        folder.mkdir(parents=True)
    shutil.copyfile(PROJECT / "dagster.yaml", project.home / "dagster.yaml")
    return project
