"""What tests of recognition share: writing audio, transcribing it, and reading transcripts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from speech.asr.calls import Call
from speech.asr.engine import Engine, RecordingIdentity
from speech.audio.normalize import SAMPLE_RATE
from speech.transcript import SpeechSpan, TranscribeOptions, Transcript, Word

SAMPLES = Path(__file__).resolve().parents[3] / "samples"
MERGED_GAP_S = 2.0
Samples = NDArray[np.int16]


ENGLISH = TranscribeOptions(language="en")


def transcribe(
    engine: Engine,
    path: Path,
    options: TranscribeOptions | None = None,
    *,
    call: Call | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Transcript:
    identity = RecordingIdentity(path.name, "5" * 64)
    return engine.transcribe(path, identity, options, call=call, on_progress=on_progress)


def read_samples(path: Path, start: float = 0.0, end: float | None = None) -> Samples:
    samples, _ = soundfile.read(path, dtype="int16")
    return np.asarray(samples[round(start * SAMPLE_RATE) : end and round(end * SAMPLE_RATE)])


def write(path: Path, *parts: Samples) -> Path:
    soundfile.write(path, np.concatenate(parts), SAMPLE_RATE, subtype="PCM_16", format="WAV")
    return path


def make_silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.int16)


def extract_words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def list_words(transcript: Transcript, channel: int | None = None) -> list[Word]:
    return [word for segment in transcript.segments if segment.channel == channel for word in segment.words]


def merge_speech(spans: tuple[SpeechSpan, ...], channel: int) -> list[tuple[float, float]]:
    """Detected speech of a channel as (start, end) in seconds; short silences between spans are bridged, as for decoding."""
    merged: list[tuple[float, float]] = []
    for span in spans:
        if span.channel == channel:
            if merged and span.start - merged[-1][1] <= MERGED_GAP_S:
                merged[-1] = (merged[-1][0], span.end)
            else:
                merged.append((span.start, span.end))
    return merged


def is_inside(start: float, end: float, spans: list[tuple[float, float]]) -> bool:
    return any(begin - 0.002 <= start <= end <= stop + 0.002 for begin, stop in spans)


def write_long(audio_dir: Path, tmp_path: Path, seconds: float) -> Path:
    """Write the sample ``austen.m4a`` repeated until it lasts for ``seconds``."""
    austen = read_samples(audio_dir / "austen.m4a")
    return write(tmp_path / "long.wav", np.tile(austen, round(seconds * SAMPLE_RATE) // len(austen) + 1))


def list_unflagged(transcript: Transcript) -> list[str]:
    return [segment.text for segment in transcript.segments if not segment.flags]
