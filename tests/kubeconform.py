"""kubeconform over manifests, with the schemas of the cluster at hand: no file of schemas has to be had or kept."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

_FILE = "{{.Group}}-{{.ResourceAPIVersion}}-{{.ResourceKind}}.json"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_TEXT_OR_NUMBER = {"type": ["string", "number"]}


def complaints(manifests: str, folder: Path) -> str:
    """What kubeconform says against YAML documents: a value of the wrong kind, a key that no schema has or that stands twice.

    Args:
        manifests: YAML documents of kinds that the cluster of KUBECONFIG knows.
        folder: An empty one, for the schemas.

    Returns:
        Its words; empty where it accepts every document.
    """
    if shutil.which("kubeconform") is None:
        pytest.skip("kubeconform is not on this machine")
    served = subprocess.run(["kubectl", "get", "--raw", "/openapi/v2"], capture_output=True, text=True, check=True)
    definitions = {name: _strict(name, schema) for name, schema in json.loads(served.stdout)["definitions"].items()}
    kinds = {(manifest["apiVersion"], manifest["kind"]) for manifest in yaml.safe_load_all(manifests)}
    for api_version, kind in kinds:
        group, _, version = api_version.rpartition("/")
        wanted = {"group": group, "version": version, "kind": kind}
        schema = next(s for s in definitions.values() if wanted in s.get("x-kubernetes-group-version-kind", ()))
        # kubeconform's name for the group without a name is "v1".
        path = folder / f"{group or version}-{version}-{kind.lower()}.json"
        path.write_text(json.dumps({**schema, "definitions": definitions}), encoding="utf-8")
    command = ["kubeconform", "-strict", "-schema-location", str(folder / _FILE), "-"]
    found = subprocess.run(command, input=manifests, capture_output=True, text=True, check=False)
    told = found.stdout + found.stderr
    assert bool(told) == bool(found.returncode), told
    return told


def _strict(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI 2's words in those of JSON Schema; an object has the keys that it names and no other."""
    if name == _QUANTITY or schema.get("format") == "int-or-string":
        return _TEXT_OR_NUMBER  # what the API server takes as well
    return {**schema, "additionalProperties": False} if "properties" in schema else schema
