"""The values for Dagster's Helm chart: only keys that its schema has, and the same launcher as the base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"

# values.schema.json of the chart at commit bdb8547 of dagster-io/dagster, as far as our values go.
POD = {
    "image", "env", "envConfigMaps", "envSecrets", "annotations", "nodeSelector", "affinity", "tolerations", "podSecurityContext",
    "securityContext", "resources", "livenessProbe", "readinessProbe", "startupProbe", "labels", "volumeMounts", "volumes",
    "schedulerName",
}  # fmt: skip
SERVICE = POD | {"deploymentLabels", "initContainerResources"}
CHART: dict[str, set[str]] = {
    "": {
        "dagsterWebserver", "dagster-user-deployments", "postgresql", "generatePostgresqlPasswordSecret", "imagePullSecrets",
        "computeLogManager", "scheduler", "runLauncher", "pythonLogs", "dagsterDaemon", "telemetry", "serviceAccount", "global",
        "retention", "additionalInstanceConfig", "ingress", "migrate", "busybox", "rbacEnabled",
    },
    "global": {"postgresqlSecretName", "dagsterHome", "serviceAccountName", "celeryConfigSecretName"},
    "serviceAccount": {"create", "name", "annotations"},
    "postgresql": {
        "image", "enabled", "postgresqlHost", "postgresqlUsername", "postgresqlPassword", "postgresqlDatabase",
        "postgresqlParams", "postgresqlScheme", "service",
    },
    "dagster-user-deployments": {"enabled", "enableSubchart", "imagePullSecrets", "deployments"},
    "dagsterWebserver": SERVICE | {
        "replicaCount", "nameOverride", "pathPrefix", "service", "workspace", "enableReadOnly", "dbStatementTimeout",
        "dbPoolRecycle", "logLevel",
    },
    "dagsterDaemon": SERVICE | {
        "enabled", "runCoordinator", "heartbeatTolerance", "runMonitoring", "runRetries", "sensors", "schedules",
    },
    "computeLogManager": {"type", "config"},
    "runLauncher": {"type", "config"},
    "telemetry": {"enabled"},
}  # fmt: skip
DEPLOYMENT = POD | {
    "name", "dagsterApiGrpcArgs", "codeServerArgs", "includeConfigInLaunchedRuns", "deploymentNamespace", "port", "initContainers",
    "sidecarContainers",
}  # fmt: skip


def values() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "helm" / "values.yaml").read_text()))


def test_every_key_is_one_of_the_charts() -> None:
    found = values()
    assert found.keys() <= CHART[""]
    for section, keys in CHART.items():
        if section and section in found:
            assert found[section].keys() <= keys, section
    for deployment in found["dagster-user-deployments"]["deployments"]:
        assert deployment.keys() <= DEPLOYMENT
    assert found["runLauncher"]["type"] == "CustomRunLauncher"
    assert found["runLauncher"]["config"].keys() == {"customRunLauncher"}
    assert found["runLauncher"]["config"]["customRunLauncher"].keys() == {"module", "class", "config"}


def test_it_launches_as_the_base_does() -> None:
    base = yaml.safe_load((DEPLOY / "base" / "dagster.yaml").read_text())
    launcher = values()["runLauncher"]["config"]["customRunLauncher"]
    assert (launcher["module"], launcher["class"]) == (base["run_launcher"]["module"], base["run_launcher"]["class"])
    ours, theirs = dict(launcher["config"]), dict(base["run_launcher"]["config"])
    # The chart names its own ConfigMap, and its Secret of the password.
    assert ours.pop("postgres_password_secret") == values()["global"]["postgresqlSecretName"]
    assert ours.pop("instance_config_map") != theirs.pop("instance_config_map")
    assert ours == theirs
    for key in ("run_monitoring", "run_retries", "nux"):
        assert values()["additionalInstanceConfig"][key] == base[key]
