"""Our project as it is deployed: a recording is uploaded, the sensor sees it, four steps run."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import soundfile

from benchmarks.lab.cluster.kubectl import ClusterError, Namespace, forward_port, kubectl, wait_until
from benchmarks.lab.cluster.steps import RunTiming, parse_run
from speech.audio.normalize import SAMPLE_RATE, normalize

NAMESPACE = "stt"
SAMPLE = Path(__file__).resolve().parents[3] / "samples" / "jfk.opus"
"""Eleven seconds of English."""

_TICKS = """query ($selector: SensorSelector!) { sensorOrError(sensorSelector: $selector) { ... on Sensor {
  sensorState { ticks(limit: 20) { timestamp runIds } } } } }"""
_SENSOR = {"repositoryLocationName": "stt", "repositoryName": "__repository__", "sensorName": "audio_directory"}
_SEEN_S = 120.0
"""Seconds: the sensor ticks every 15 s and takes files that two ticks found unchanged, and another run may be queued before
ours."""


@contextmanager
def open_deployment() -> Iterator[Namespace]:
    """Open the existing deployment of our project.

    Raises:
        ClusterError: There is none, or its webserver cannot be reached.
    """
    if not kubectl("get", "deployment", "stt-code", f"--namespace={NAMESPACE}", "--ignore-not-found"):
        raise ClusterError("Ours is not deployed here: docs/operations/kubernetes.md, steps 1 and 2.")
    with forward_port(NAMESPACE, "service/stt-webserver") as namespace:
        yield namespace


def time_upload(namespace: Namespace, name: str) -> RunTiming:
    """Upload one short recording whose bytes were never transcribed before, and follow it to its outputs."""
    name = f"pace-{uuid.uuid4().hex[:8]}-{name}.wav"
    uploaded_at = time.time()
    namespace.kubectl(
        "exec", "-i", "deployment/stt-code", "--container=code", "--", "sh", "-c", f"cat > /data/raw_audio/{name}",
        stdin=_recording(),
    )  # fmt: skip

    def find_tick() -> dict[str, Any] | None:
        sensor = namespace.graphql(_TICKS, selector=_SENSOR)["sensorOrError"]
        ticks = sensor.get("sensorState", {}).get("ticks", [])
        return next((tick for tick in ticks if tick["timestamp"] >= uploaded_at and tick["runIds"]), None)

    tick = wait_until(_SEEN_S, f"a run of {name}", find_tick)
    return parse_run(namespace.wait_for_run(tick["runIds"][0]), tick["timestamp"])


def _recording() -> bytes:
    """The sample as a WAV file with its last sample changed: bytes that were transcribed before would not be so again."""
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder, "sample.wav")
        normalize(SAMPLE, wav)
        sound, _ = soundfile.read(wav, dtype="int16", always_2d=True)
        sound[-4:, 0] = [byte - 128 for byte in uuid.uuid4().bytes[:4]]  # far below what anybody hears
        soundfile.write(wav, sound, SAMPLE_RATE)
        return wav.read_bytes()
