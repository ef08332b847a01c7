"""Checks manifests with kubeconform against the schemas that the running cluster serves."""

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
_STRING_OR_NUMBER = {"type": ["string", "number"]}


def run_kubeconform(manifests: str, folder: Path) -> str:
    """Check YAML documents with kubeconform: values of a wrong type, unknown keys, duplicate keys.

    Args:
        manifests: YAML documents of kinds that the cluster of KUBECONFIG knows.
        folder: Empty folder for the schemas.

    Returns:
        The output of kubeconform; empty if it accepts every document.
    """
    if shutil.which("kubeconform") is None:
        pytest.skip("kubeconform is not on this machine")
    served = subprocess.run(["kubectl", "get", "--raw", "/openapi/v2"], capture_output=True, text=True, check=True)
    definitions = {
        name: _to_json_schema(name, schema) for name, schema in json.loads(served.stdout)["definitions"].items()
    }
    kinds = {(manifest["apiVersion"], manifest["kind"]) for manifest in yaml.safe_load_all(manifests)}
    for api_version, kind in kinds:
        group, _, version = api_version.rpartition("/")
        group_version_kind = {"group": group, "version": version, "kind": kind}
        schema = next(
            s for s in definitions.values() if group_version_kind in s.get("x-kubernetes-group-version-kind", ())
        )
        # kubeconform's name for the group without a name is "v1".
        path = folder / f"{group or version}-{version}-{kind.lower()}.json"
        path.write_text(json.dumps({**schema, "definitions": definitions}), encoding="utf-8")
    command = ["kubeconform", "-strict", "-schema-location", str(folder / _FILE), "-"]
    result = subprocess.run(command, input=manifests, capture_output=True, text=True, check=False)
    output = result.stdout + result.stderr
    assert bool(output) == bool(result.returncode), output
    return output


def _to_json_schema(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Turn an OpenAPI 2 schema into JSON Schema; an object may only have the keys that the schema names."""
    if name == _QUANTITY or schema.get("format") == "int-or-string":
        return _STRING_OR_NUMBER  # the API server accepts both
    return {**schema, "additionalProperties": False} if "properties" in schema else schema
