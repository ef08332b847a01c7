"""``stt doctor``: what it reports about a healthy project and about a damaged one."""

from __future__ import annotations

import platform
import shutil
from importlib.metadata import version
from pathlib import Path

from benchmarks.platform.machine import read_cpu_model
from speech.machine.host import Host
from speech.machine.resources import detect_resources
from tests.project import Project
from tests.stt_orchestration.cli.conftest import PROJECT


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


def test_the_dagster_home_of_the_deployment_need_not_be_writable(bare_project: Project, tmp_path: Path) -> None:
    """On a cluster it is part of a read-only file system."""
    for deployed in ("base/dagster.yaml", "overlays/local/dagster.yaml"):
        shutil.copyfile(PROJECT / "deploy" / deployed, tmp_path / "dagster.yaml")
        assert "keeps storage in PostgreSQL" in bare_project.invoke("doctor", DAGSTER_HOME=str(tmp_path)).stdout
