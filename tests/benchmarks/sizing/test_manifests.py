"""The manifests of a sizing: fields that Kubernetes knows, and fields of others that are kept."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster_k8s.models import k8s_model_from_dict, k8s_snake_case_dict

from benchmarks.sizing.basis import Basis
from benchmarks.sizing.manifests import patch_deployment, patch_hpa
from benchmarks.sizing.plan import make_plan
from benchmarks.sizing.prices import Prices
from benchmarks.sizing.service import (
    Target,
    compute_memory_mib,
    size_fleet,
)
from benchmarks.sizing.write import SizingOutput, write_sizing


@pytest.fixture
def manifests(basis: Basis, prices: Prices, tmp_path: Path) -> Path:
    write_sizing(
        make_plan(basis, prices, prices.cpu_node(None, 0.19), target=Target(5.0, p95_s=9.0)),
        SizingOutput.from_folder(tmp_path),
    )
    return tmp_path


def to_model(kind: type[Any], manifest: dict[str, Any]) -> Any:
    """The manifest as a model of the Kubernetes client; an unknown field is an error."""
    return k8s_model_from_dict(kind, k8s_snake_case_dict(kind, manifest))


def test_manifests_have_only_fields_that_kubernetes_knows(manifests: Path) -> None:
    import kubernetes.client as k8s

    deployment = yaml.safe_load((manifests / "deployment.yaml").read_text())
    hpa = yaml.safe_load((manifests / "hpa.yaml").read_text())
    container = to_model(k8s.V1Deployment, deployment).spec.template.spec.containers[0]
    assert container.resources.requests == container.resources.limits
    scaler = to_model(k8s.V2HorizontalPodAutoscaler, hpa).spec
    assert scaler.scale_target_ref.name == deployment["metadata"]["name"]
    assert scaler.min_replicas <= deployment["spec"]["replicas"] <= scaler.max_replicas


def test_other_fields_of_the_manifests_are_kept(basis: Basis) -> None:
    size = size_fleet(basis, Target(5.0), 2)
    manifest = {
        "kind": "Deployment",
        "spec": {
            "template": {
                "spec": {
                    "nodeSelector": {"a": "b"},
                    "containers": [
                        {"name": "c", "env": [{"name": "X", "value": "1"}, {"name": "STT_WORKERS", "value": "9"}]}
                    ],
                }
            }
        },
    }
    patched = patch_deployment(manifest, size)
    pod = patched["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"a": "b"}
    assert {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]} == {
        "X": "1",
        "STT_WORKERS": "2",
        "OMP_NUM_THREADS": "1",
    }
    assert pod["containers"][0]["resources"]["limits"] == {"cpu": "2", "memory": f"{compute_memory_mib(500, 2)}Mi"}
    queue = {"type": "External", "external": {"metric": {"name": "redis_queue_depth"}}}
    scaler = patch_hpa({"kind": "HorizontalPodAutoscaler", "spec": {"metrics": [queue]}}, size)
    assert queue in scaler["spec"]["metrics"]
    assert "replicas" not in manifest["spec"]  # the given manifest is not changed


@pytest.mark.skipif("KUBECONFIG" not in os.environ, reason="needs a cluster: KUBECONFIG")
def test_the_api_server_accepts_the_manifests(manifests: Path) -> None:
    kubectl = shutil.which("kubectl") or pytest.fail("KUBECONFIG is set, but there is no kubectl on the PATH")
    for name in ("deployment.yaml", "hpa.yaml"):
        command = [kubectl, "apply", "--dry-run=server", "--validate=strict", "-f", str(manifests / name)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
