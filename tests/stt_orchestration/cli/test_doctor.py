"""``stt doctor`` as a person meets it: what is sound, what is broken, and the remedy."""

from __future__ import annotations

import platform
import shutil
from importlib.metadata import version
from pathlib import Path

from benchmarks.platform.host import Host
from benchmarks.platform.machine import read_cpu_model
from tests.project import Project
from tests.stt_orchestration.cli.conftest import PROJECT


def test_the_doctor_says_what_is_broken_and_how_to_mend_it(own: Project) -> None:
    good = own.invoke("doctor")
    assert good.returncode == 0, good.stdout
    assert "checksums right" in good.stdout
    assert read_cpu_model(Host.here()) in good.stdout
    for name in ("ctranslate2", "onnxruntime", "numpy", "av", "faster-whisper"):
        assert f"{name} {version(name)}" in good.stdout
    assert f"python {platform.python_version()}" in good.stdout
    shutil.rmtree(own.data)
    own.data.write_text("a file where the folder should be")
    bad = own.invoke("doctor", STT_MODLE="x", ENABLE_EMOTION="true")
    assert bad.returncode == 1
    for said in ("broken store", "STT_DATA_DIR", "Did you mean STT_MODEL?", "no model for them"):
        assert said in bad.stdout, bad.stdout


def test_the_doctor_knows_that_the_homes_of_the_deployment_need_not_be_written(own: Project, tmp_path: Path) -> None:
    """On a cluster they are part of a read-only file system."""
    for deployed in ("base/dagster.yaml", "overlays/local/dagster.yaml"):
        shutil.copyfile(PROJECT / "deploy" / deployed, tmp_path / "dagster.yaml")
        assert "keeps storage in PostgreSQL" in own.invoke("doctor", DAGSTER_HOME=str(tmp_path)).stdout
