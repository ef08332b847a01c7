"""Recordings and outputs in a bucket: the overlay ``local-s3`` over ``local``, and an S3 server beside the cluster."""

from __future__ import annotations

import ipaddress
import socket
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.conftest import PROJECT, Deployment, wait_until
from tests.servers import KEYS, S3Server, s3_server

pytestmark = pytest.mark.timeout(600)

BUCKET = "stt"
STEPS = {"raw", "normalized", "transcript", "enriched"}


@pytest.fixture(scope="module")
def bucket(stt: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The deployment moved to a bucket for this module's tests."""
    addresses = stt.get("nodes")["items"][0]["status"]["addresses"]
    address = next(entry["address"] for entry in addresses if entry["type"] == "InternalIP")
    if not is_local(address):
        pytest.skip("the cluster's node is not this machine, so a server here is not beside it")
    with s3_server(tmp_path_factory.mktemp("bucket"), address, BUCKET) as server:
        access = {**KEYS, "AWS_DEFAULT_REGION": KEYS["AWS_REGION"], "AWS_ENDPOINT_URL_S3": server.url}
        literals = [f"--from-literal={name}={value}" for name, value in access.items()]
        stt.kubectl("create", "secret", "generic", "stt-s3", *literals)
        try:
            switch_overlay(stt, "local-s3")
            stt.wait_ready()
            yield server
        finally:
            # Back to the first overlay; later tests wait until it is ready.
            stt.kubectl("delete", "secret", "stt-s3")
            switch_overlay(stt, "local")


def is_local(address: str) -> bool:
    """Whether this machine has the address."""
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def switch_overlay(stt: Deployment, overlay: str) -> None:
    """Apply the overlay and restart the Deployments, as docs/operations/buckets.md describes it."""
    stt.apply(overlay)
    stt.kubectl("rollout", "restart", "deployment")


def test_an_upload_to_the_bucket_becomes_transcripts_in_it(stt: Deployment, bucket: S3Server) -> None:
    status_before = stt.status()
    assert sum(status_before["states"].values()) == status_before["inputs"]
    folder = f"test-{uuid.uuid4().hex[:8]}"
    for sample in ("two-speakers.flac", "silence.wav"):
        content = (PROJECT / "samples" / sample).read_bytes()
        bucket.client.put_object(Bucket=BUCKET, Key=f"raw_audio/{folder}/{sample}", Body=content)

    def find_batch() -> str:
        condition = f"name LIKE '{folder}/%' AND batch_key IS NOT NULL"
        return stt.sql("ledger", f"SELECT DISTINCT batch_key FROM deliveries WHERE {condition}")  # noqa: S608

    batch = wait_until(120, "a batch of the upload", find_batch)
    run = wait_until(120, "a run of the batch", lambda: stt.runs(batch))[0]

    def find_ended_run() -> dict[str, Any] | None:
        current = next(r for r in stt.runs(batch) if r["runId"] == run["runId"])
        return current if current["status"] in ("SUCCESS", "FAILURE", "CANCELED") else None

    assert wait_until(300, "the run's end", find_ended_run)["status"] == "SUCCESS"
    jobs = stt.get("jobs", f"--selector=dagster/run-id={run['runId']},app.kubernetes.io/component=step_worker")["items"]
    assert {job["metadata"]["labels"]["dagster/op"] for job in jobs} == STEPS

    objects = bucket.client.list_objects_v2(Bucket=BUCKET)["Contents"]
    keys = {entry["Key"].replace(folder, "FOLDER") for entry in objects if folder in entry["Key"]}
    assert {"input_audio/FOLDER/two-speakers.flac.wav", "whisper_json/FOLDER/two-speakers.flac.json"} <= keys
    assert {f"transcripts/FOLDER/two-speakers.flac.{kind}" for kind in ("txt", "srt", "vtt", "html")} <= keys
    assert "transcripts/FOLDER/silence.wav.json" in keys
    text = bucket.client.get_object(Bucket=BUCKET, Key=f"transcripts/{folder}/two-speakers.flac.txt")["Body"].read()
    assert len(text.split()) > 20
    status_after = stt.status()
    assert status_after["inputs"] == status_before["inputs"] + 2
    assert sum(status_after["states"].values()) == status_after["inputs"]
    assert folder not in stt.run_in_code_pod("find", "/data"), "the volume has no file of it"


def test_preflight_lists_reads_and_writes_the_bucket(stt: Deployment, bucket: S3Server) -> None:
    command = [str(PROJECT / "deploy" / "preflight")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert f"s3://{BUCKET}/ can be listed, read and written" in result.stdout, result.stdout + result.stderr
