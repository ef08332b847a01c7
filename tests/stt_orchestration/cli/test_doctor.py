"""``stt doctor``: what it reports about a healthy project and about a damaged one."""

from __future__ import annotations

import platform
import pwd
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest

from benchmarks.platform.machine import read_cpu_model
from speech.machine.host import Host
from speech.machine.resources import detect_resources
from tests.project import Project
from tests.stt_orchestration.cli.conftest import PROJECT, SPEECH, check_refusal


def test_problems_are_named_with_their_remedies(bare_project: Project) -> None:
    healthy = bare_project.invoke("doctor")
    assert healthy.returncode == 0, healthy.stdout
    assert "checksums right" in healthy.stdout
    assert "ok     detector: silero-vad-v6 in " in healthy.stdout
    assert "(installed package), checksums right" in " ".join(healthy.stdout.split())
    assert read_cpu_model(Host.here()) in healthy.stdout
    assert f"resources: {detect_resources().sentence}" in " ".join(healthy.stdout.split())
    for name in ("ctranslate2", "onnxruntime", "numpy", "av", "faster-whisper"):
        assert f"{name} {version(name)}" in healthy.stdout
    assert f"python {platform.python_version()}" in healthy.stdout
    shutil.rmtree(bare_project.data)
    bare_project.data.write_text("a file where the folder should be")
    damaged = bare_project.invoke("doctor", STT_MODLE="x", ENABLE_EMOTION="true")
    assert damaged.returncode == 1
    for message in ("broken store", "STT_DATA_DIR", "Did you mean STT_MODEL?", "no model for them"):
        assert message in damaged.stdout, damaged.stdout


def test_commands_work_for_a_user_without_a_home(bare_project: Project, tmp_path: Path) -> None:
    """A file in the place of the home stands for the home that a container's user cannot write to. Root could write to ``/``."""
    (tmp_path / "file").touch()
    bare_project.environment["HOME"] = str(tmp_path / "file")
    bare_project.environment.pop("XDG_CACHE_HOME", None)
    (bare_project.home / "dagster.yaml").unlink()  # Dagster's own defaults write to the home
    code, output = bare_project.run_process("run", str(SPEECH))
    assert code == 0, output
    code, output = bare_project.run_process("doctor")
    assert code == 0, output
    said = " ".join(output.split())
    assert "note cache: This user has no home folder that can be written" in said
    assert "Set STT_CACHE_DIR" in said


def test_a_home_in_a_path_is_refused_where_there_is_none(
    bare_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    bare_project.environment.pop("HOME", None)
    bare_project.environment.pop("XDG_CACHE_HOME", None)
    assert bare_project.invoke("status").returncode == 0
    check_refusal(bare_project, ["status"], {"STT_DATA_DIR": "~/data"}, 2, "this user has none: write the whole path")


def test_the_dagster_home_of_the_deployment_need_not_be_writable(bare_project: Project, tmp_path: Path) -> None:
    """On a cluster it is part of a read-only file system."""
    for deployed in ("base/dagster.yaml", "overlays/local/dagster.yaml"):
        shutil.copyfile(PROJECT / "deploy" / deployed, tmp_path / "dagster.yaml")
        assert "keeps storage in PostgreSQL" in bare_project.invoke("doctor", DAGSTER_HOME=str(tmp_path)).stdout
