"""Every manifest of ours against the schemas of a real API server, key by key: what it would drop in silence is found here."""

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
def test_kubeconform_accepts_what_an_overlay_renders_to(overlay: Path, tmp_path: Path) -> None:
    rendered = subprocess.run(["kubectl", "kustomize", str(overlay)], capture_output=True, text=True, check=True).stdout
    assert run_kubeconform(rendered, tmp_path) == ""


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_kubeconform_accepts_what_sizing_patches(template: Path, tmp_path: Path) -> None:
    assert run_kubeconform(template.read_text(encoding="utf-8"), tmp_path) == ""


def test_a_key_that_no_schema_has_is_found(tmp_path: Path) -> None:
    manifest = (
        (PROJECT / "deploy" / "base" / "limits.yaml").read_text(encoding="utf-8").replace("minAvailable", "minAvailble")
    )
    assert "minAvailble" in run_kubeconform(manifest, tmp_path)
