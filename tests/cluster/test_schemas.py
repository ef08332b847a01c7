"""Every manifest of the project against the schemas of a real API server, which would silently drop unknown keys."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.kubeconform import run_kubeconform

PROJECT = Path(__file__).resolve().parents[2]
OVERLAYS = [PROJECT / "deploy" / "helm", *sorted((PROJECT / "deploy" / "overlays").iterdir())]
TEMPLATES = sorted((PROJECT / "benchmarks" / "sizing" / "templates").glob("*.yaml"))

pytestmark = pytest.mark.skipif(
    not os.environ.get("KUBECONFIG") or shutil.which("kubectl") is None, reason="needs a cluster: set KUBECONFIG"
)


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_kubeconform_accepts_every_overlay(overlay: Path, tmp_path: Path) -> None:
    manifests = subprocess.run(
        ["kubectl", "kustomize", str(overlay)], capture_output=True, text=True, check=True
    ).stdout
    assert run_kubeconform(manifests, tmp_path) == ""


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_kubeconform_accepts_every_template_of_sizing(template: Path, tmp_path: Path) -> None:
    assert run_kubeconform(template.read_text(encoding="utf-8"), tmp_path) == ""


def test_kubeconform_finds_an_unknown_key(tmp_path: Path) -> None:
    manifest = (
        (PROJECT / "deploy" / "base" / "limits.yaml").read_text(encoding="utf-8").replace("minAvailable", "minAvailble")
    )
    assert "minAvailble" in run_kubeconform(manifest, tmp_path)
