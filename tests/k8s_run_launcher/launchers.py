"""A launcher as Dagster constructs it from its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dagster._config import process_config

from k8s_run_launcher.launcher import ProfiledK8sRunLauncher
from tests.k8s_run_launcher.api_server import write_kubeconfig


def state_launcher(folder: Path, url: str) -> dict[str, Any]:
    """What ``dagster.yaml`` states of a launcher, with the API server at this address."""
    return {
        "service_account_name": "runs",
        "instance_config_map": "none",
        "load_incluster_config": False,
        "kubeconfig_file": str(write_kubeconfig(folder, url)),
    }


def make_launcher(stated: dict[str, Any]) -> ProfiledK8sRunLauncher:
    checked = process_config(ProfiledK8sRunLauncher.config_type(), stated)
    assert checked.success, checked.errors
    made = ProfiledK8sRunLauncher.from_config_value(None, checked.value)
    assert isinstance(made, ProfiledK8sRunLauncher)
    return made
