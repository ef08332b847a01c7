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


def read_values() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "helm" / "values.yaml").read_text()))


def test_every_key_is_in_the_schema_of_the_chart() -> None:
    values = read_values()
    assert values.keys() <= CHART[""]
    for section, keys in CHART.items():
        if section and section in values:
            assert values[section].keys() <= keys, section
    for deployment in values["dagster-user-deployments"]["deployments"]:
        assert deployment.keys() <= DEPLOYMENT
    assert values["runLauncher"]["type"] == "CustomRunLauncher"
    assert values["runLauncher"]["config"].keys() == {"customRunLauncher"}
    assert values["runLauncher"]["config"]["customRunLauncher"].keys() == {"module", "class", "config"}


def test_the_launcher_is_configured_as_in_the_base() -> None:
    base = yaml.safe_load((DEPLOY / "base" / "dagster.yaml").read_text())
    launcher = read_values()["runLauncher"]["config"]["customRunLauncher"]
    assert (launcher["module"], launcher["class"]) == (base["run_launcher"]["module"], base["run_launcher"]["class"])
    chart_config, base_config = dict(launcher["config"]), dict(base["run_launcher"]["config"])
    # ConfigMap and password Secret have the chart's names.
    assert chart_config.pop("postgres_password_secret") == read_values()["global"]["postgresqlSecretName"]
    assert chart_config.pop("instance_config_map") != base_config.pop("instance_config_map")
    assert chart_config == base_config
    for key in ("run_monitoring", "run_retries", "nux"):
        assert read_values()["additionalInstanceConfig"][key] == base[key]
