"""What orchestration costs a recording: a batch of silent recordings, so that no model is ever called.

``stt run`` works through them as a user's would. From each step's time per recording we subtract the cost of audio processing
(opening, reading, voice activity), measured separately in the same minute; the rest is the overhead of orchestration: ledger,
files, pages, Dagster.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from speech.asr.vad import VoiceActivityDetector
from speech.audio.normalize import SAMPLE_RATE, normalize, probe
from speech.audio.wav import WavReader

PROJECT = Path(__file__).resolve().parents[2]

_STEP_SECONDS = """
import json, dagster as dg
with dg.DagsterInstance.get() as instance:
    seconds = {}
    for step in ("raw", "normalized", "transcript", "enriched"):
        event = instance.get_latest_materialization_event(dg.AssetKey(step))
        seconds[step] = event.asset_materialization.metadata["seconds"].value
print(json.dumps(seconds))
"""


@dataclass(frozen=True)
class Overhead:
    """Milliseconds per recording.

    Attributes:
        steps: Step -> all of its time.
        sound: Step -> what reading the audio and voice activity alone cost it.
        run: The whole command, imports and Dagster's own events included.
    """

    recordings: int
    steps: dict[str, float]
    sound: dict[str, float]
    run: float

    def table(self) -> str:
        """For a terminal."""
        lines = [
            f"{'step':12}{'in all':>10}{'the sound':>12}{'above it':>12}   ms per recording, {self.recordings} recordings"
        ]
        for step, total_ms in self.steps.items():
            sound_ms = self.sound.get(step, 0.0)
            lines.append(f"{step:12}{total_ms:10.2f}{sound_ms:12.2f}{total_ms - sound_ms:12.2f}")
        lines.append(
            f"{'command':12}{self.run:10.2f}{'':12}{self.run - sum(self.steps.values()):12.2f}   above the steps: start, Dagster"
        )
        return "\n".join(lines)


def measure(recordings: int = 1000) -> Overhead:
    """Make the recordings, run them on one core, and take the figures from the run's materializations.

    On one core a step works on one recording at a time, so that the cost of audio processing can simply be subtracted.
    """
    with tempfile.TemporaryDirectory() as place, _one_core():
        data, dagster_home = Path(place, "data"), Path(place, "dagster")
        dagster_home.mkdir()
        (dagster_home / "dagster.yaml").write_bytes((PROJECT / "dagster.yaml").read_bytes())
        paths = _silent_recordings(data / "raw_audio", recordings)
        environment = {
            **os.environ,
            "STT_DATA_DIR": str(data),
            "DAGSTER_HOME": str(dagster_home),
            "STT_BATCH_RECORDINGS": str(recordings),
        }
        sound = _sound_alone(paths[: min(200, recordings)], Path(place, "alone.wav"))
        command = [sys.executable, "-m", "stt_orchestration.cli", "run"]
        began = time.monotonic()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        wall = time.monotonic() - began
        process = subprocess.run(
            [sys.executable, "-c", _STEP_SECONDS], env=environment, check=True, capture_output=True, text=True
        )
    steps = {step: seconds / recordings * 1000 for step, seconds in json.loads(process.stdout).items()}
    return Overhead(recordings, steps, sound, wall / recordings * 1000)


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep this process and those it starts on one core, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(usable)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usable)


def _silent_recordings(folder: Path, count: int) -> list[Path]:
    """One second each of dither one bit high: no speech, and no two alike, so that none is a duplicate."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0)
    paths = [folder / f"{i:05}.wav" for i in range(count)]
    for path in paths:
        soundfile.write(path, noise.integers(-1, 2, SAMPLE_RATE).astype(np.int16), SAMPLE_RATE)
    return paths


def _sound_alone(paths: list[Path], target: Path) -> dict[str, float]:
    """Milliseconds that opening, reading and voice activity cost a recording, with nothing else around them and one thread."""
    detector_ready = VoiceActivityDetector()
    del detector_ready  # the first one loads the detector, which a batch does once

    def detect_speech(path: Path) -> None:
        with WavReader(path) as wav:
            VoiceActivityDetector().probabilities(wav.read(0, wav.frames)[0])

    return {
        "raw": _time_each(paths, probe),
        "normalized": _time_each(paths, lambda path: normalize(path, target)),
        "transcript": _time_each(paths, detect_speech),
    }


def _time_each(paths: list[Path], work: Callable[[Path], object]) -> float:
    began = time.monotonic()
    for path in paths:
        work(path)
    return (time.monotonic() - began) / len(paths) * 1000
