"""The ``stt`` command as a whole: which commands it has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import typer

from stt_orchestration.cli.app import app
from tests.project import Project
from tests.stt_orchestration.cli.conftest import PROJECT, SAMPLES


def test_all_commands_are_there_in_the_order_of_the_help() -> None:
    assert list(typer.main.get_group(app).commands) == [
        "run",
        "samples",
        "status",
        "show",
        "retry",
        "doctor",
        "janitor",
        "fetch-model",
        "prepare",
        "ui",
        "pages",
        "benchmark",
        "stress",
        "ratio",
        "size",
    ]


def test_packages_of_another_project_with_our_names_are_not_imported(bare_project: Project, tmp_path: Path) -> None:
    """They stand in front of ours in PYTHONPATH. The processes that run a batch are met too."""
    for name in ("assets", "serving", "k8s_run_launcher", "benchmarks", "recordings", "speech"):
        (tmp_path / "other" / name).mkdir(parents=True)
        (tmp_path / "other" / name / "__init__.py").write_text("raise SystemExit('another project')")
    bare_project.environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path / "other"), str(PROJECT)])
    code, output = bare_project.run_process("run", str(SAMPLES / "silence.wav"))
    assert code == 0, output
    command = [sys.executable, "-c", "import stt_orchestration.definitions, recordings; print(recordings.__file__)"]
    loaded = subprocess.run(
        command, cwd=tmp_path, env=bare_project.environment, capture_output=True, text=True, check=False
    )
    assert loaded.stdout.strip() == str(PROJECT / "recordings/__init__.py"), loaded.stderr
