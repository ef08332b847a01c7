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
    if not is_ours(address):
        pytest.skip("the cluster's node is not this machine, so a server here is not beside it")
    with s3_server(tmp_path_factory.mktemp("bucket"), address, BUCKET) as server:
        access = {**KEYS, "AWS_DEFAULT_REGION": KEYS["AWS_REGION"], "AWS_ENDPOINT_URL_S3": server.url}
        literals = [f"--from-literal={name}={value}" for name, value in access.items()]
        stt.kubectl("create", "secret", "generic", "stt-s3", *literals)
        try:
            move(stt, "local-s3")
            stt.wait_ready()
            yield server
        finally:
            # As it was; whoever comes next waits until it is ready.
            stt.kubectl("delete", "secret", "stt-s3")
            move(stt, "local")


def is_ours(address: str) -> bool:
    """Whether this machine has the address."""
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def move(stt: Deployment, overlay: str) -> None:
    """As deploy/README.md says it: apply, and restart what lives long."""
    stt.apply(overlay)
    stt.kubectl("rollout", "restart", "deployment")


def test_from_an_upload_to_the_bucket_to_transcripts_in_it(stt: Deployment, bucket: S3Server) -> None:
    before = stt.status()
    assert sum(before["states"].values()) == before["inputs"]
    folder = f"test-{uuid.uuid4().hex[:8]}"
    for sample in ("two-speakers.flac", "silence.wav"):
        content = (PROJECT / "samples" / sample).read_bytes()
        bucket.client.put_object(Bucket=BUCKET, Key=f"raw_audio/{folder}/{sample}", Body=content)

    def find_batch() -> str:
        named = f"name LIKE '{folder}/%' AND batch_key IS NOT NULL"
        return stt.sql("ledger", f"SELECT DISTINCT batch_key FROM deliveries WHERE {named}")  # noqa: S608

    batch = wait_until(120, "a batch of the upload", find_batch)
    run = wait_until(120, "a run of the batch", lambda: stt.runs(batch))[0]

    def ended() -> dict[str, Any] | None:
        current = next(r for r in stt.runs(batch) if r["runId"] == run["runId"])
        return current if current["status"] in ("SUCCESS", "FAILURE", "CANCELED") else None

    assert wait_until(300, "the run's end", ended)["status"] == "SUCCESS"
    jobs = stt.get("jobs", f"--selector=dagster/run-id={run['runId']},app.kubernetes.io/component=step_worker")["items"]
    assert {job["metadata"]["labels"]["dagster/op"] for job in jobs} == STEPS

    objects = bucket.client.list_objects_v2(Bucket=BUCKET)["Contents"]
    keys = {entry["Key"].replace(folder, "FOLDER") for entry in objects if folder in entry["Key"]}
    assert {"input_audio/FOLDER/two-speakers.flac.wav", "whisper_json/FOLDER/two-speakers.flac.json"} <= keys
    assert {f"transcripts/FOLDER/two-speakers.flac.{kind}" for kind in ("txt", "srt", "vtt", "html")} <= keys
    assert "transcripts/FOLDER/silence.wav.json" in keys
    text = bucket.client.get_object(Bucket=BUCKET, Key=f"transcripts/{folder}/two-speakers.flac.txt")["Body"].read()
    assert len(text.split()) > 20
    after = stt.status()
    assert after["inputs"] == before["inputs"] + 2
    assert sum(after["states"].values()) == after["inputs"]
    assert folder not in stt.in_code("find", "/data"), "the volume holds nothing of it"


def test_preflight_tries_the_bucket(stt: Deployment, bucket: S3Server) -> None:
    command = [str(PROJECT / "deploy" / "preflight")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert f"s3://{BUCKET}/ can be listed, read and written" in result.stdout, result.stdout + result.stderr
