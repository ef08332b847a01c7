"""The rendered overlays, checked against Kubernetes, Dagster and this project. They need kubectl, but no cluster."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance.ref import InstanceRef
from dagster._serdes.config_class import class_from_code_pointer

from k8s_run_launcher.cluster import parse_k8s_quantity
from k8s_run_launcher.profiles import read_profiles
from stt_orchestration.settings import list_environment_names

PROJECT = Path(__file__).resolve().parents[2]
OVERLAYS = ("local", "gpu", "s3", "local-s3")
STEPS = ("raw", "normalized", "transcript", "enriched")

pytestmark = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl is not on this machine; it renders the overlays"
)

Manifest = dict[str, Any]


@cache
def render(overlay: str) -> tuple[Manifest, ...]:
    command = ["kubectl", "kustomize", str(PROJECT / "deploy" / "overlays" / overlay)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return tuple(yaml.safe_load_all(process.stdout))


def list_of_kind(overlay: str, *kinds: str) -> list[Manifest]:
    return [manifest for manifest in render(overlay) if manifest["kind"] in kinds]


def get_manifest(overlay: str, kind: str, name: str) -> Manifest:
    return next(m for m in list_of_kind(overlay, kind) if m["metadata"]["name"] == name)


def list_pods(overlay: str) -> Iterator[tuple[str, Manifest]]:
    for manifest in list_of_kind(overlay, "Deployment", "StatefulSet"):
        yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]


def list_containers(pod: Manifest) -> list[Manifest]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def read_instance(overlay: str) -> Manifest:
    return dict(yaml.safe_load(get_manifest(overlay, "ConfigMap", "stt-dagster")["data"]["dagster.yaml"]))


def read_settings(overlay: str) -> dict[str, str]:
    return dict(get_manifest(overlay, "ConfigMap", "stt-settings")["data"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_long_lived_pod_meets_the_restricted_standard_and_runs_on_a_read_only_root(overlay: str) -> None:
    pods = list(list_pods(overlay))
    assert len(pods) == 4
    for name, pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in list_containers(pod):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, container["name"]
            assert context["readOnlyRootFilesystem"] is True, container["name"]
            assert context["capabilities"] == {"drop": ["ALL"]}, container["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_namespace_enforces_the_restricted_standard(overlay: str) -> None:
    labels = get_manifest(overlay, "Namespace", "stt")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_containers_have_requests_a_memory_limit_and_probes(overlay: str) -> None:
    for _, pod in list_pods(overlay):
        for container in list_containers(pod):
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}, container["name"]
            assert "memory" in container["resources"]["limits"], container["name"]
        for container in pod["containers"]:
            assert {"livenessProbe", "readinessProbe"} & container.keys(), container["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_runs_and_steps_use_the_image_of_the_code_location(overlay: str) -> None:
    code = get_manifest(overlay, "Deployment", "stt-code")["spec"]["template"]["spec"]["containers"][0]
    image = next(variable["value"] for variable in code["env"] if variable["name"] == "DAGSTER_CURRENT_IMAGE")
    assert image == code["image"]
    assert image != "stt"
    assert not image.endswith(":latest")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_that_a_pod_refers_to_exists_or_is_made_by_the_operator(overlay: str) -> None:
    existing = {(m["kind"], m["metadata"]["name"]) for m in render(overlay)}
    existing |= {("Secret", name) for name in ("stt-database", "hf-token", "stt-s3")}
    for name, pod in list_pods(overlay):
        assert ("ServiceAccount", pod["serviceAccountName"]) in existing, name
        assert ("PriorityClass", pod["priorityClassName"]) in existing, name
        for volume in pod.get("volumes", []):
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in existing, name
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in existing, name
        for container in list_containers(pod):
            for source in container.get("envFrom", []):
                for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                    assert key not in source or (kind, source[key]["name"]) in existing, container["name"]
            for variable in container.get("env", []):
                secret = variable.get("valueFrom", {}).get("secretKeyRef")
                assert secret is None or ("Secret", secret["name"]) in existing, container["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_services_do_not_become_environment_variables(overlay: str) -> None:
    """A Service stt-x gives pods in its namespace STT_X_PORT and more, which look like settings."""
    for name, pod in list_pods(overlay):
        assert pod["enableServiceLinks"] is False, name
    assert (
        read_instance(overlay)["run_launcher"]["config"]["run_k8s_config"]["pod_spec_config"]["enable_service_links"]
        is False
    )


def test_access_to_the_bucket_reaches_every_pod_that_opens_the_store() -> None:
    optional = {"secretRef": {"name": "stt-s3", "optional": True}}
    for name, pod in list_pods("s3"):
        for container in list_containers(pod):
            assert optional in container.get("envFrom", [optional]), (name, container["name"])
    container_config = read_instance("s3")["run_launcher"]["config"]["run_k8s_config"]["container_config"]
    assert container_config["env_from"] == [{"secret_ref": optional["secretRef"]}]
    assert read_settings("s3")["STT_STORE_URL"].startswith("s3://")


def test_no_overlay_carries_a_secret() -> None:
    for overlay in OVERLAYS:
        assert not list_of_kind(overlay, "Secret")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_setting_is_one_that_the_project_reads(overlay: str) -> None:
    assert set(read_settings(overlay)) - set(list_environment_names()) <= {"HF_HOME"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_instance_file_is_accepted_by_dagster_and_by_the_classes_it_names(overlay: str, tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(get_manifest(overlay, "ConfigMap", "stt-dagster")["data"]["dagster.yaml"])
    reference = InstanceRef.from_dir(str(tmp_path))
    for data in (
        reference.run_launcher_data,
        reference.run_coordinator_data,
        reference.compute_logs_data,
        reference.scheduler_data,
    ):
        assert data is not None
        configured_class = class_from_code_pointer(data.module_name, data.class_name)
        schema = resolve_to_config_type(configured_class.config_type())  # type: ignore[attr-defined]
        result = process_config(schema, yaml.safe_load(data.config_yaml))
        assert result.success, [error.message for error in result.errors or []]


@pytest.mark.parametrize(
    ("overlay", "file"),
    [
        ("gpu", "base/dagster.yaml"),
        ("s3", "base/dagster.yaml"),
        ("local", "overlays/local/dagster.yaml"),
        ("local-s3", "overlays/local/dagster.yaml"),
    ],
)
def test_an_overlay_launches_as_its_instance_file_says(overlay: str, file: str) -> None:
    """So the profiles that test_step_profiles checks are those of the overlay."""
    assert (
        read_instance(overlay)["run_launcher"]
        == yaml.safe_load((PROJECT / "deploy" / file).read_text())["run_launcher"]
    )


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_that_a_run_refers_to_exists(overlay: str) -> None:
    config = read_instance(overlay)["run_launcher"]["config"]
    existing = {(m["kind"], m["metadata"]["name"]) for m in render(overlay)}
    assert ("ServiceAccount", config["service_account_name"]) in existing
    assert {("ConfigMap", name) for name in [config["instance_config_map"], *config["env_config_maps"]]} <= existing
    claims = [v["persistentVolumeClaim"]["claimName"] for v in config["volumes"] if "persistentVolumeClaim" in v]
    assert {("PersistentVolumeClaim", claim) for claim in claims} <= existing
    pod = config["run_k8s_config"]["pod_spec_config"]
    assert ("PriorityClass", pod["priority_class_name"]) in existing
    assert {mount["name"] for mount in config["volume_mounts"]} == {volume["name"] for volume in config["volumes"]}


def test_the_local_instance_differs_only_in_concurrency_resources_and_profiles() -> None:
    local, base = read_instance("local"), read_instance("gpu")
    assert local.pop("concurrency") != base.pop("concurrency")
    for key in ("resources", "step_profiles"):
        local["run_launcher"]["config"].pop(key, None)
        base["run_launcher"]["config"].pop(key, None)
    assert local == base


def test_the_device_is_set_by_the_overlay() -> None:
    assert read_settings("gpu")["WHISPER_DEVICE"] == "cuda"
    assert read_settings("local")["WHISPER_DEVICE"] == "cpu"


@pytest.mark.parametrize("overlay", ["gpu", "s3"])
def test_the_quota_has_the_required_values(overlay: str) -> None:
    hard = get_manifest(overlay, "ResourceQuota", "stt")["spec"]["hard"]
    assert hard["requests.nvidia.com/gpu"] == "2"
    assert hard["requests.cpu"] == "16"
    assert hard["requests.memory"] == "64Gi"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_network_policies_select_only_existing_components(overlay: str) -> None:
    """Pods of runs and steps have component labels from Dagster; the others have those of the manifests."""
    known = {"run_worker", "step_worker"}
    for manifest in list_of_kind(overlay, "Deployment", "StatefulSet"):
        known.add(manifest["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"])
    policies = list_of_kind(overlay, "NetworkPolicy")
    assert any(
        policy["spec"]["podSelector"] == {} and set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        for policy in policies
    )
    for policy in policies:
        assert find_components(policy) <= known, policy["metadata"]["name"]


def find_components(node: Any) -> set[str]:
    """All components that a policy selects."""
    selected: set[str] = set()
    if isinstance(node, list):
        selected = {value for child in node for value in find_components(child)}
    elif isinstance(node, dict):
        if node.get("key") == "app.kubernetes.io/component":
            selected |= set(node["values"])
        if "app.kubernetes.io/component" in node.get("matchLabels", {}):
            selected.add(node["matchLabels"]["app.kubernetes.io/component"])
        selected |= {value for child in node.values() for value in find_components(child)}
    return selected


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_accounts_that_launch_or_terminate_jobs_have_permissions_and_a_token(overlay: str) -> None:
    entitled = {subject["name"] for binding in list_of_kind(overlay, "RoleBinding") for subject in binding["subjects"]}
    assert entitled == {"stt-webserver", "stt-daemon", "stt-run"}
    assert not list_of_kind(overlay, "ClusterRoleBinding")
    for role in list_of_kind(overlay, "Role"):
        for rule in role["rules"]:
            assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
    for name, pod in list_pods(overlay):
        assert pod["automountServiceAccountToken"] is (pod["serviceAccountName"] in entitled), name


@pytest.mark.parametrize("overlay", ["gpu", "s3"])
def test_only_transcript_requests_a_gpu(overlay: str) -> None:
    resources = {step: compute_resources(overlay, step) for step in STEPS}
    assert resources["transcript"]["limits"]["nvidia.com/gpu"] == "1"
    assert resources["transcript"]["requests"] == {"cpu": "4", "memory": "16Gi"}
    assert not [step for step in STEPS if step != "transcript" and "nvidia.com/gpu" in resources[step]["limits"]]


def test_no_step_of_the_local_overlay_requests_a_gpu_or_more_than_two_cores() -> None:
    for step in STEPS:
        resources = compute_resources("local", step)
        assert "nvidia.com/gpu" not in resources["limits"], step
        assert float(parse_k8s_quantity(resources["limits"]["cpu"])) <= 2, step


def compute_resources(overlay: str, step: str) -> Manifest:
    """Requests and limits of a step's container under the launcher of an overlay."""
    profiles = read_profiles(read_instance(overlay)["run_launcher"]["config"].get("step_profiles"))
    return dict(profiles[step].resources())
