"""Patches the result of a sizing into a Deployment and an autoscaler; all other fields are unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from benchmarks.files import RefusedError, read_yaml
from benchmarks.sizing.service import Fleet

DEPLOYMENT = Path(__file__).with_name("templates") / "deployment.yaml"
HPA = Path(__file__).with_name("templates") / "hpa.yaml"

Manifest = dict[str, Any]


def read_manifest(path: Path, kind: str) -> Manifest:
    """Read one manifest.

    Raises:
        RefusedError: It is missing, no YAML, or of another kind.
    """
    manifest = read_yaml(path)
    if not isinstance(manifest, dict) or manifest.get("kind") != kind:
        raise RefusedError(f"{path} is no {kind}.")
    return manifest


def patch_deployment(base: Mapping[str, Any], fleet: Fleet) -> Manifest:
    """The Deployment with replicas, requests equal to limits (Guaranteed), and threads.

    Raises:
        RefusedError: It has no container.
    """
    manifest: Manifest = deepcopy(dict(base))
    try:
        container = manifest["spec"]["template"]["spec"]["containers"][0]
    except (KeyError, IndexError, TypeError):
        raise RefusedError("The Deployment has no container at spec.template.spec.containers.") from None
    # The autoscaler owns the number once it runs; this is where it begins.
    manifest["spec"]["replicas"] = fleet.pods
    size = {"cpu": str(fleet.cpus), "memory": f"{fleet.memory_mib}Mi"}
    container["resources"] = {**container.get("resources", {}), "requests": dict(size), "limits": dict(size)}
    # A second thread inside one decode makes it slower (speech/asr/whisper.py): a worker per core, each with one thread.
    threads = {"STT_WORKERS": str(fleet.cpus), "OMP_NUM_THREADS": "1"}
    other_variables = [entry for entry in container.get("env", []) if entry.get("name") not in threads]
    container["env"] = [*other_variables, *({"name": name, "value": value} for name, value in threads.items())]
    return manifest


def patch_hpa(base: Mapping[str, Any], fleet: Fleet) -> Manifest:
    """The HorizontalPodAutoscaler with its range and its CPU target; metrics of other kinds stay."""
    manifest: Manifest = deepcopy(dict(base))
    spec = manifest.setdefault("spec", {})
    spec["minReplicas"], spec["maxReplicas"] = fleet.least, fleet.most
    cpu = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": fleet.hpa_percent}},
    }
    other_metrics = [metric for metric in spec.get("metrics", []) if metric.get("resource", {}).get("name") != "cpu"]
    spec["metrics"] = [cpu, *other_metrics]
    return manifest


def as_yaml(manifest: Mapping[str, Any]) -> str:
    """The manifest as YAML, for kubectl."""
    import yaml

    text: str = yaml.safe_dump(dict(manifest), sort_keys=False, width=120)
    return text
