"""The Job that the API server gets for a profile, built as the launcher builds it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import UserDefinedDagsterK8sConfig, construct_dagster_k8s_job

from k8s_run_launcher.profiles import StepProfile
from k8s_run_launcher.retry import RetryAdjustments

LAUNCHER = K8sContainerContext(
    service_account_name="runs",
    volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    volume_mounts=[{"name": "data", "mountPath": "/data"}],
    resources={"requests": {"cpu": "50m"}, "limits": {"cpu": "500m", "memory": "1Gi"}},
    run_k8s_config=UserDefinedDagsterK8sConfig(
        pod_spec_config={"nodeSelector": {"pool": "cpu"}, "securityContext": {"runAsNonRoot": True}},
        job_spec_config={"ttlSecondsAfterFinished": 60},
    ),
)


def build_job(profile: StepProfile, adjustments: RetryAdjustments | None = None) -> dict[str, Any]:
    """The manifest of a step's Job, as plain JSON.

    Args:
        profile: Profile of the step.
        adjustments: Changes for a retry.
    """
    context = LAUNCHER
    adjustments = adjustments or RetryAdjustments()
    layers = (
        profile.build_shallow_config(100),
        profile.build_deep_config(),
        adjustments.memory_config(),
        adjustments.placement_config(),
    )
    for layer in layers:
        context = context.merge(K8sContainerContext(run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(layer)))
    launcher = SimpleNamespace(dagster_home=None, instance_config_map=None, postgres_password_secret=None)
    config = context.get_k8s_job_config("localhost/stt:dev", launcher)
    job = construct_dagster_k8s_job(config, ["x"], "step", user_defined_k8s_config=context.run_k8s_config)
    from kubernetes import client

    manifest: dict[str, Any] = json.loads(json.dumps(client.ApiClient().sanitize_for_serialization(job)))
    return manifest


def get_pod_spec(job: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = job["spec"]["template"]["spec"]
    return spec
