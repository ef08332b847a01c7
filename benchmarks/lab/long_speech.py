"""How much memory transcribing takes, however long the recording: ten hours of speech in a process of its own.

Decoding ten hours takes most of an hour here, and only memory is measured. So the checkpoint, from which a stopped run goes on, is
filled with repeated results of the same speech up to the last chunks; detecting speech in ten hours, planning chunks, decoding the
rest, and assembling and writing the transcript of ten hours are real.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.platform.memory import peak_memory_mb
from speech.asr.checkpoint import Checkpoint
from speech.asr.engine import Engine, RecordingIdentity
from speech.asr.hypothesis import ChunkResult
from speech.asr.model_pool import EngineConfig
from speech.audio.normalize import SAMPLE_RATE, normalize
from speech.audio.wav import WavReader
from speech.models.registry import get_default_cache_dir, resolve
from speech.transcript import TranscribeOptions

_SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "austen.m4a"
_KEY = "ten hours"
_DUMMY_SHA256 = "0" * 64
_DECODED = 0.03
"""Share of the recording that is decoded, after what the checkpoint holds."""


@dataclass(frozen=True)
class LongSpeech:
    """Peak memory in MB, seconds of work and audio, chunks in all and decoded, words."""

    peak_mb: float
    seconds: float
    audio_s: float
    chunks: int
    decoded: int
    words: int

    def table(self) -> str:
        """For a terminal."""
        return (
            f"{self.audio_s / 3600:.1f} h of speech, {self.chunks} chunks, {self.words} words: peak memory {self.peak_mb:.0f} MB; "
            f"the last {self.decoded} chunks decoded, the others from the journal, {self.seconds:.0f} s in all"
        )


def measure(hours: float = 10.0) -> LongSpeech:
    """Make the recording and the checkpoint, transcribe, read the process's memory."""
    with tempfile.TemporaryDirectory() as place:
        wav, short = Path(place, "long.wav"), Path(place, "short.wav")
        normalize(_SAMPLE, short)
        speech, rate = soundfile.read(short, dtype="int16")
        speech = np.tile(speech, 6)  # long enough for a checkpoint
        soundfile.write(short, speech, rate)
        with soundfile.SoundFile(wav, "w", rate, 1, format="RF64") as file:
            for _ in range(round(hours * 3600 * SAMPLE_RATE / len(speech))):
                file.write(speech)
        command = [sys.executable, "-m", "benchmarks.lab.long_speech", str(short), str(wav)]
        figures = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    peak_mb, seconds, audio_s, chunks, filled, words = (float(value) for value in figures)
    return LongSpeech(peak_mb, seconds, audio_s, int(chunks), int(chunks - filled), int(words))


class _PrefilledCheckpoint(Checkpoint):
    """A checkpoint that begins with the results of other chunks."""

    results: list[ChunkResult]

    def read(self) -> list[ChunkResult]:
        super().read()
        return self.results


def _child(short: Path, long: Path) -> None:
    weights = resolve("base", model_dir=None, cache_dir=get_default_cache_dir())
    options = TranscribeOptions(language="en")
    with Engine(weights, EngineConfig(workers=2)) as engine:
        with Checkpoint(short.with_suffix(".jsonl"), _KEY) as journal:
            period = engine.transcribe(
                short, RecordingIdentity("short.wav", _DUMMY_SHA256), options, open_checkpoint=lambda: journal
            ).meta.audio_duration_sec
        with Checkpoint(short.with_suffix(".jsonl"), _KEY) as journal:
            sample = journal.read()
        with WavReader(long) as wav:
            rounds = int(wav.duration_s / period * (1 - _DECODED))
        filled = _PrefilledCheckpoint(long.with_suffix(".jsonl"), _KEY)
        filled.results = [_shift_result(result, n * period) for n in range(rounds) for result in sample]
        began = time.monotonic()
        transcript = engine.transcribe(
            long, RecordingIdentity("long.wav", _DUMMY_SHA256), options, open_checkpoint=lambda: filled
        )
        long.with_suffix(".json").write_text(transcript.to_json(), encoding="utf-8")
        seconds = time.monotonic() - began
    chunks = transcript.meta.decoding.chunks if transcript.meta.decoding else 0
    words = sum(len(segment.words) for segment in transcript.segments)
    print(peak_memory_mb(), seconds, transcript.meta.audio_duration_sec, chunks, rounds * len(sample), words)


def _shift_result(result: ChunkResult, seconds: float) -> ChunkResult:
    """The result as it would stand so much later in the recording."""
    return replace(
        result,
        kept=tuple(
            replace(
                segment,
                chunk=replace(segment.chunk, pieces=tuple((s + seconds, e + seconds) for s, e in segment.chunk.pieces)),
            )
            for segment in result.kept
        ),
    )


if __name__ == "__main__":
    _child(Path(sys.argv[1]), Path(sys.argv[2]))
