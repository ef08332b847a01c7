"""From an upload to transcripts, on a real cluster: sensor, run, four steps as four Jobs, outputs, ledger, UI, rights, backup."""

from __future__ import annotations

import hashlib
import json
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.cluster.conftest import PAGES, PROJECT, UI, Deployment, wait_until

SAMPLES = PROJECT / "samples"
STEPS = {"raw", "normalized", "transcript", "enriched"}


@dataclass(frozen=True)
class Uploaded:
    """A folder of the volume that samples were uploaded to, and the run that took them."""

    folder: str
    run_id: str


@pytest.fixture(scope="module")
def uploaded(stt: Deployment) -> Uploaded:
    """Two samples, one of them silent and one with speech, seen by the sensor and run to the end."""
    earlier_runs = {run["runId"] for run in stt.runs()}
    inputs = stt.status()["inputs"]
    folder = f"test-{uuid.uuid4().hex[:8]}"
    stt.upload(SAMPLES / "jfk.opus", SAMPLES / "silence.wav", into=folder)
    run = wait_until(
        120, "a run of the upload", lambda: next((run for run in stt.runs() if run["runId"] not in earlier_runs), None)
    )

    def find_ended_run() -> dict[str, Any] | None:
        current = next(r for r in stt.runs() if r["runId"] == run["runId"])
        return current if current["status"] in ("SUCCESS", "FAILURE", "CANCELED") else None

    assert wait_until(300, "the run's end", find_ended_run)["status"] == "SUCCESS"
    assert stt.status()["inputs"] == inputs + 2
    return Uploaded(folder, run["runId"])


def test_four_steps_ran_as_four_jobs_of_their_own(stt: Deployment, uploaded: Uploaded) -> None:
    def find_ended_jobs() -> list[dict[str, Any]] | None:
        # A run is a success a moment before its pod has ended.
        jobs = stt.get("jobs", f"--selector=dagster/run-id={uploaded.run_id}")["items"]
        return jobs if all(job["status"].get("succeeded") for job in jobs) else None

    jobs = wait_until(60, "the end of all Jobs of the run", find_ended_jobs)
    by_component = {job["metadata"]["labels"]["app.kubernetes.io/component"]: job for job in jobs}
    steps = [job for job in jobs if job["metadata"]["labels"]["app.kubernetes.io/component"] == "step_worker"]
    assert {job["metadata"]["labels"]["dagster/op"] for job in steps} == STEPS
    assert len(jobs) == len(STEPS) + 1
    assert by_component["run_worker"]["status"]["succeeded"] == 1
    for job in steps:
        assert job["status"]["succeeded"] == 1
        assert job["metadata"]["ownerReferences"][0]["kind"] == "Pod"
        assert job["spec"]["backoffLimit"] == 0
        pod = job["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


def test_no_step_of_this_overlay_requests_a_gpu(stt: Deployment, uploaded: Uploaded) -> None:
    """It computes on the CPU because of its settings. The GPU request of the other overlays is tested in tests/deploy."""
    jobs = stt.get("jobs", f"--selector=dagster/run-id={uploaded.run_id},dagster/op=transcript")["items"]
    resources = jobs[0]["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert "nvidia.com/gpu" not in resources.get("limits", {})
    settings = stt.get("configmap", "stt-settings")["data"]
    assert settings["WHISPER_DEVICE"] == "cpu"


def test_outputs_are_there_and_the_ledger_adds_up(stt: Deployment, uploaded: Uploaded) -> None:
    outputs = stt.run_in_code_pod(
        "sh", "-c", f"cd /data && ls transcripts/{uploaded.folder} whisper_json/{uploaded.folder}"
    ).split()
    for name in ("jfk.opus.txt", "jfk.opus.srt", "jfk.opus.vtt", "jfk.opus.html", "jfk.opus.json", "silence.wav.json"):
        assert name in outputs
    text = stt.run_in_code_pod("cat", f"/data/transcripts/{uploaded.folder}/jfk.opus.txt").lower()
    assert "ask not what your country can do for you" in text.replace(",", "")
    status = stt.status()
    assert sum(status["states"].values()) == status["inputs"]


def test_the_ui_and_the_pages_respond_on_this_machine(stt: Deployment, uploaded: Uploaded) -> None:
    assert "Dagster" in requests.get(UI, timeout=30).text
    assert "country" in requests.get(f"{PAGES}/{uploaded.folder}/jfk.opus.html", timeout=30).text
    response = requests.get(
        f"{PAGES}/input_audio/{uploaded.folder}/jfk.opus.wav", headers={"Range": "bytes=0-3"}, timeout=30
    )
    assert (response.status_code, response.content) == (206, b"RIFF")
    data = stt.graphql("{ assetNodes { assetKey { path } assetMaterializations(limit: 1) { runId } } }")
    materialized = {node["assetKey"]["path"][0]: node["assetMaterializations"] for node in data["assetNodes"]}
    assert {name for name in STEPS if materialized[name][0]["runId"] == uploaded.run_id} == STEPS


def test_the_doctor_reports_no_misspelled_setting_in_the_pod_of_the_code_location(stt: Deployment) -> None:
    output = stt.run_in_code_pod("stt", "doctor")
    assert "sets nothing" not in output
    assert "PostgreSQL" in output


def test_what_a_step_printed_can_be_read_in_the_ui(stt: Deployment, uploaded: Uploaded) -> None:
    """The webserver reads the log files that steps wrote on the shared volume."""
    events = "... on EventConnection { events { ... on LogsCapturedEvent { fileKey stepKeys } } }"
    data = stt.graphql(f'{{ logsForRun(runId: "{uploaded.run_id}") {{ {events} }} }}')
    captured = [event for event in data["logsForRun"]["events"] if event.get("fileKey")]
    assert {key for event in captured for key in event["stepKeys"] or []} >= STEPS
    transcript = next(event for event in captured if event["stepKeys"] == ["transcript"])
    key = f'["{uploaded.run_id}", "compute_logs", "{transcript["fileKey"]}"]'
    logs = stt.graphql(f"{{ capturedLogs(logKey: {key}) {{ stderr }} }}")["capturedLogs"]
    assert "transcript" in logs["stderr"]


def test_a_step_says_that_its_limit_leaves_it_one_cpu(stt: Deployment, uploaded: Uploaded) -> None:
    """The overlay limits `enriched` to one CPU, however many the node has."""
    events = "... on EventConnection { events { ... on LogMessageEvent { message stepKey } } }"
    data = stt.graphql(f'{{ logsForRun(runId: "{uploaded.run_id}") {{ {events} }} }}')
    said = [event["message"] for event in data["logsForRun"]["events"] if event.get("stepKey") == "enriched"]
    assert any(message.startswith("1 CPU: ") for message in said), said


def test_every_service_account_has_exactly_the_permissions_it_uses(stt: Deployment) -> None:
    launches = (
        {("jobs.batch", verb) for verb in ("create", "get", "list", "delete")}
        | {("jobs.batch/status", "get"), ("pods/log", "get"), ("events", "list")}
        | {("pods", verb) for verb in ("get", "list", "delete")}
    )
    terminates = {("jobs.batch", "delete"), ("pods", "list"), ("pods", "delete")}
    expected = {"stt-daemon": launches, "stt-run": launches | {("pods", "watch")}, "stt-webserver": terminates}
    for manifest in stt.get("serviceaccounts")["items"]:
        name = manifest["metadata"]["name"]
        assert list_permissions(stt, name) == expected.get(name, set()), name


def list_permissions(stt: Deployment, account: str) -> set[tuple[str, str]]:
    """What a service account may do in the namespace beyond what every authenticated user may."""
    listed = stt.kubectl("auth", "can-i", "--list", "--no-headers", f"--as=system:serviceaccount:stt:{account}")
    allowed = set()
    for line in listed.splitlines():
        resource, _, rest = line.partition(" ")
        if (
            not resource
            or resource.startswith("[")
            or resource.endswith((".authorization.k8s.io", ".authentication.k8s.io"))
        ):
            continue
        verbs = rest.rsplit("[", 1)[1].rstrip("]").split()
        allowed |= {(resource, verb) for verb in verbs}
    return allowed


@pytest.mark.parametrize("account", ["stt-daemon", "stt-run", "stt-webserver"])
def test_service_accounts_have_no_permission_in_another_namespace(stt: Deployment, account: str) -> None:
    for verb, resource in (("list", "pods"), ("create", "jobs"), ("get", "secrets"), ("delete", "pods")):
        output = stt.kubectl(
            "auth",
            "can-i",
            verb,
            resource,
            "--namespace=default",
            f"--as=system:serviceaccount:stt:{account}",
            check=False,
        )
        assert output.strip() == "no", (verb, resource)


def test_no_service_account_may_read_secrets(stt: Deployment) -> None:
    for account in ("stt-daemon", "stt-run", "stt-webserver", "stt-code"):
        output = stt.kubectl(
            "auth", "can-i", "get", "secrets", f"--as=system:serviceaccount:stt:{account}", check=False
        )
        assert output.strip() == "no"


def test_a_pod_below_the_restricted_standard_is_refused(stt: Deployment) -> None:
    command = ["kubectl", "-n", "stt", "run", "root", "--image=localhost/none:1", "--dry-run=server"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "violates PodSecurity" in result.stderr


@pytest.fixture(scope="module")
def empty_namespace(stt: Deployment) -> Iterator[str]:
    """A namespace with the pod security labels of the deployment's, so that it refuses the same pods."""
    name = f"stt-{uuid.uuid4().hex[:8]}"
    labels = stt.get("namespace", "stt")["metadata"]["labels"]
    enforced = {key: value for key, value in labels.items() if key.startswith("pod-security")}
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": enforced}}
    stt.kubectl("create", "--filename=-", stdin=json.dumps(manifest))
    yield name
    stt.kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize("folder", ["overlays/local", "overlays/gpu", "overlays/s3", "overlays/local-s3", "helm"])
def test_the_api_server_accepts_every_overlay_without_a_warning(
    stt: Deployment, empty_namespace: str, folder: str
) -> None:
    manifests = list(yaml.safe_load_all(stt.kubectl("kustomize", str(PROJECT / "deploy" / folder))))
    for manifest in manifests:
        if manifest["metadata"].get("namespace") == "stt":
            manifest["metadata"]["namespace"] = empty_namespace
    command = ["kubectl", "apply", "--dry-run=server", "--warnings-as-errors", "--filename=-"]
    # The NodePorts are taken by the deployment that this test runs beside.
    applied = [m for m in manifests if m["kind"] != "Namespace" and m.get("spec", {}).get("type") != "NodePort"]
    result = subprocess.run(command, input=yaml.safe_dump_all(applied), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_a_backup_restores_destroyed_data(stt: Deployment, uploaded: Uploaded, tmp_path: Path) -> None:
    """Ledger and transcripts are destroyed completely; after the restore they have the same bytes."""
    status, fingerprint = stt.status(), compute_fingerprint(stt)
    backup = tmp_path / "backup"
    subprocess.run([str(PROJECT / "deploy" / "backup"), str(backup)], check=True, timeout=120)

    # Its sensor would take the touched files in, and a restore refuses while runs are at work. The restore starts it again.
    stt.kubectl("scale", "deployment/stt-daemon", "--replicas=0")
    stt.kubectl("wait", "--for=delete", "pod", "--selector=app.kubernetes.io/component=daemon", "--timeout=60s")
    stt.run_in_code_pod("sh", "-c", "rm -r /data/transcripts /data/whisper_json && touch /data/raw_audio/*/*")
    assert compute_fingerprint(stt) != fingerprint
    statement = "DROP SCHEMA public CASCADE; CREATE SCHEMA public;"
    for database in ("ledger", "dagster"):
        stt.kubectl(
            "exec",
            "stt-postgres-0",
            "--",
            "psql",
            "--host=/tmp",
            "--username=stt",
            f"--dbname={database}",
            f"--command={statement}",
        )
    assert stt.status()["inputs"] == 0

    subprocess.run([str(PROJECT / "deploy" / "restore"), str(backup)], check=True, timeout=240)
    stt.wait_ready()
    assert stt.status() == status
    assert compute_fingerprint(stt) == fingerprint
    assert uploaded.run_id in {run["runId"] for run in wait_until(60, "the UI", stt.runs)}


def compute_fingerprint(stt: Deployment) -> str:
    """One checksum over all outputs and over the modification times of deliveries."""
    commands = (
        "find transcripts whisper_json -type f -exec sha256sum {} +; find raw_audio -type f -printf '%p %s %T@\\n'"
    )
    listed = stt.run_in_code_pod("sh", "-c", f"cd /data && {{ {commands}; }}")
    return hashlib.sha256("\n".join(sorted(listed.splitlines())).encode()).hexdigest()
