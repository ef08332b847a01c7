"""A launcher as Dagster constructs it from its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dagster._config import process_config

from k8s_run_launcher.launcher import ProfiledK8sRunLauncher
from tests.k8s_run_launcher.api_server import write_kubeconfig


def make_launcher_config(folder: Path, url: str) -> dict[str, Any]:
    """Configuration of a launcher, as in ``dagster.yaml``, for the API server at this address."""
    return {
        "service_account_name": "runs",
        "instance_config_map": "none",
        "load_incluster_config": False,
        "kubeconfig_file": str(write_kubeconfig(folder, url)),
    }


def make_launcher(config: dict[str, Any]) -> ProfiledK8sRunLauncher:
    checked = process_config(ProfiledK8sRunLauncher.config_type(), config)
    assert checked.success, checked.errors
    launcher = ProfiledK8sRunLauncher.from_config_value(None, checked.value)
    assert isinstance(launcher, ProfiledK8sRunLauncher)
    return launcher
