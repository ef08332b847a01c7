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
    """The one that is there.

    Raises:
        ClusterError: There is none, or it works on something else.
    """
    if not kubectl("get", "deployment", "stt-code", f"--namespace={NAMESPACE}", "--ignore-not-found"):
        raise ClusterError("Ours is not deployed here: deploy/README.md, steps 1 and 2.")
    with forward_port(NAMESPACE, "service/stt-webserver") as found:
        yield found


def time_upload(namespace: Namespace, name: str) -> RunTiming:
    """Upload one short recording whose bytes were never transcribed before, and follow it to its outputs."""
    name = f"pace-{uuid.uuid4().hex[:8]}-{name}.wav"
    before = time.time()
    namespace.kubectl(
        "exec", "-i", "deployment/stt-code", "--container=code", "--", "sh", "-c", f"cat > /data/raw_audio/{name}",
        given=_recording(),
    )  # fmt: skip

    def seen() -> dict[str, Any] | None:
        found = namespace.graphql(_TICKS, selector=_SENSOR)["sensorOrError"]
        ticks = found.get("sensorState", {}).get("ticks", [])
        return next((tick for tick in ticks if tick["timestamp"] >= before and tick["runIds"]), None)

    tick = wait_until(_SEEN_S, f"a run of {name}", seen)
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
