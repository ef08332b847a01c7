"""What the overlays render to, held against what Kubernetes, Dagster and this project take. No cluster is needed, kubectl is."""

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
def rendered(overlay: str) -> tuple[Manifest, ...]:
    command = ["kubectl", "kustomize", str(PROJECT / "deploy" / "overlays" / overlay)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return tuple(yaml.safe_load_all(found.stdout))


def of_kind(overlay: str, *kinds: str) -> list[Manifest]:
    return [manifest for manifest in rendered(overlay) if manifest["kind"] in kinds]


def named(overlay: str, kind: str, name: str) -> Manifest:
    return next(m for m in of_kind(overlay, kind) if m["metadata"]["name"] == name)


def pods(overlay: str) -> Iterator[tuple[str, Manifest]]:
    for manifest in of_kind(overlay, "Deployment", "StatefulSet"):
        yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def instance(overlay: str) -> Manifest:
    return dict(yaml.safe_load(named(overlay, "ConfigMap", "stt-dagster")["data"]["dagster.yaml"]))


def settings(overlay: str) -> dict[str, str]:
    return dict(named(overlay, "ConfigMap", "stt-settings")["data"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_long_lived_pod_meets_the_restricted_standard_and_runs_on_a_read_only_root(overlay: str) -> None:
    found = list(pods(overlay))
    assert len(found) == 4
    for name, pod in found:
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in containers(pod):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, container["name"]
            assert context["readOnlyRootFilesystem"] is True, container["name"]
            assert context["capabilities"] == {"drop": ["ALL"]}, container["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_namespace_enforces_that_standard(overlay: str) -> None:
    labels = named(overlay, "Namespace", "stt")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_containers_ask_for_memory_and_are_probed(overlay: str) -> None:
    for _, pod in pods(overlay):
        for container in containers(pod):
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}, container["name"]
            assert "memory" in container["resources"]["limits"], container["name"]
        for container in pod["containers"]:
            assert {"livenessProbe", "readinessProbe"} & container.keys(), container["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_runs_and_steps_use_the_image_of_the_code_location(overlay: str) -> None:
    code = named(overlay, "Deployment", "stt-code")["spec"]["template"]["spec"]["containers"][0]
    image = next(variable["value"] for variable in code["env"] if variable["name"] == "DAGSTER_CURRENT_IMAGE")
    assert image == code["image"]
    assert image != "stt"
    assert not image.endswith(":latest")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_whatever_a_pod_names_is_there_or_made_by_the_operator(overlay: str) -> None:
    made = {(m["kind"], m["metadata"]["name"]) for m in rendered(overlay)}
    made |= {("Secret", name) for name in ("stt-database", "hf-token", "stt-s3")}
    for name, pod in pods(overlay):
        assert ("ServiceAccount", pod["serviceAccountName"]) in made, name
        assert ("PriorityClass", pod["priorityClassName"]) in made, name
        for volume in pod.get("volumes", []):
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in made, name
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in made, name
        for container in containers(pod):
            for source in container.get("envFrom", []):
                for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                    assert key not in source or (kind, source[key]["name"]) in made, container["name"]
            for variable in container.get("env", []):
                secret = variable.get("valueFrom", {}).get("secretKeyRef")
                assert secret is None or ("Secret", secret["name"]) in made, container["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_services_become_no_variables_that_look_like_settings(overlay: str) -> None:
    """A Service stt-x gives every pod beside it STT_X_PORT and more, unless the pod says no."""
    for name, pod in pods(overlay):
        assert pod["enableServiceLinks"] is False, name
    assert (
        instance(overlay)["run_launcher"]["config"]["run_k8s_config"]["pod_spec_config"]["enable_service_links"]
        is False
    )


def test_access_to_the_bucket_reaches_every_pod_that_opens_the_store() -> None:
    optional = {"secretRef": {"name": "stt-s3", "optional": True}}
    for name, pod in pods("s3"):
        for container in containers(pod):
            assert optional in container.get("envFrom", [optional]), (name, container["name"])
    launched = instance("s3")["run_launcher"]["config"]["run_k8s_config"]["container_config"]
    assert launched["env_from"] == [{"secret_ref": optional["secretRef"]}]
    assert settings("s3")["STT_STORE_URL"].startswith("s3://")


def test_no_overlay_carries_a_secret() -> None:
    for overlay in OVERLAYS:
        assert not of_kind(overlay, "Secret")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_setting_is_one_that_the_project_reads(overlay: str) -> None:
    assert set(settings(overlay)) - set(list_environment_names()) <= {"HF_HOME"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_dagster_takes_the_instance_file_and_so_do_the_classes_it_names(overlay: str, tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(named(overlay, "ConfigMap", "stt-dagster")["data"]["dagster.yaml"])
    reference = InstanceRef.from_dir(str(tmp_path))
    for data in (
        reference.run_launcher_data,
        reference.run_coordinator_data,
        reference.compute_logs_data,
        reference.scheduler_data,
    ):
        assert data is not None
        made_by = class_from_code_pointer(data.module_name, data.class_name)
        found = process_config(resolve_to_config_type(made_by.config_type()), yaml.safe_load(data.config_yaml))  # type: ignore[attr-defined]
        assert found.success, [error.message for error in found.errors or []]


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
    """So the profiles of test_step_profiles are those of the overlay."""
    assert instance(overlay)["run_launcher"] == yaml.safe_load((PROJECT / "deploy" / file).read_text())["run_launcher"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_a_run_mounts_and_reads_is_there(overlay: str) -> None:
    config = instance(overlay)["run_launcher"]["config"]
    made = {(m["kind"], m["metadata"]["name"]) for m in rendered(overlay)}
    assert ("ServiceAccount", config["service_account_name"]) in made
    assert {("ConfigMap", name) for name in [config["instance_config_map"], *config["env_config_maps"]]} <= made
    claims = [v["persistentVolumeClaim"]["claimName"] for v in config["volumes"] if "persistentVolumeClaim" in v]
    assert {("PersistentVolumeClaim", claim) for claim in claims} <= made
    pod = config["run_k8s_config"]["pod_spec_config"]
    assert ("PriorityClass", pod["priority_class_name"]) in made
    assert {mount["name"] for mount in config["volume_mounts"]} == {volume["name"] for volume in config["volumes"]}


def test_the_local_instance_differs_from_the_others_only_where_it_must() -> None:
    local, base = instance("local"), instance("gpu")
    assert local.pop("concurrency") != base.pop("concurrency")
    for key in ("resources", "step_profiles"):
        local["run_launcher"]["config"].pop(key, None)
        base["run_launcher"]["config"].pop(key, None)
    assert local == base


def test_a_node_without_a_gpu_computes_on_its_cpu_only_because_the_overlay_says_so() -> None:
    assert settings("gpu")["WHISPER_DEVICE"] == "cuda"
    assert settings("local")["WHISPER_DEVICE"] == "cpu"


@pytest.mark.parametrize("overlay", ["gpu", "s3"])
def test_the_quota_is_the_one_asked_for(overlay: str) -> None:
    hard = named(overlay, "ResourceQuota", "stt")["spec"]["hard"]
    assert hard["requests.nvidia.com/gpu"] == "2"
    assert hard["requests.cpu"] == "16"
    assert hard["requests.memory"] == "64Gi"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_network_policies_speak_of_pods_that_exist(overlay: str) -> None:
    """Runs and steps have Dagster's own component labels; the others have ours."""
    known = {"run_worker", "step_worker"}
    for manifest in of_kind(overlay, "Deployment", "StatefulSet"):
        known.add(manifest["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"])
    policies = of_kind(overlay, "NetworkPolicy")
    assert any(
        policy["spec"]["podSelector"] == {} and set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        for policy in policies
    )
    for policy in policies:
        assert components(policy) <= known, policy["metadata"]["name"]


def components(node: Any) -> set[str]:
    """Every component that a policy selects."""
    found: set[str] = set()
    if isinstance(node, list):
        found = {value for child in node for value in components(child)}
    elif isinstance(node, dict):
        if node.get("key") == "app.kubernetes.io/component":
            found |= set(node["values"])
        if "app.kubernetes.io/component" in node.get("matchLabels", {}):
            found.add(node["matchLabels"]["app.kubernetes.io/component"])
        found |= {value for child in node.values() for value in components(child)}
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_who_launches_or_terminates_jobs_has_rights_and_a_token(overlay: str) -> None:
    entitled = {subject["name"] for binding in of_kind(overlay, "RoleBinding") for subject in binding["subjects"]}
    assert entitled == {"stt-webserver", "stt-daemon", "stt-run"}
    assert not of_kind(overlay, "ClusterRoleBinding")
    for role in of_kind(overlay, "Role"):
        for rule in role["rules"]:
            assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
    for name, pod in pods(overlay):
        assert pod["automountServiceAccountToken"] is (pod["serviceAccountName"] in entitled), name


@pytest.mark.parametrize("overlay", ["gpu", "s3"])
def test_transcript_asks_for_a_gpu_and_no_other_step_does(overlay: str) -> None:
    asked = {step: resources(overlay, step) for step in STEPS}
    assert asked["transcript"]["limits"]["nvidia.com/gpu"] == "1"
    assert asked["transcript"]["requests"] == {"cpu": "4", "memory": "16Gi"}
    assert not [step for step in STEPS if step != "transcript" and "nvidia.com/gpu" in asked[step]["limits"]]


def test_no_step_of_the_local_overlay_asks_for_a_gpu_or_for_more_than_two_cores() -> None:
    for step in STEPS:
        asked = resources("local", step)
        assert "nvidia.com/gpu" not in asked["limits"], step
        assert float(parse_k8s_quantity(asked["limits"]["cpu"])) <= 2, step


def resources(overlay: str, step: str) -> Manifest:
    """What a step's container asks for under the launcher of an overlay."""
    profiles = read_profiles(instance(overlay)["run_launcher"]["config"].get("step_profiles"))
    return dict(profiles[step].resources())
