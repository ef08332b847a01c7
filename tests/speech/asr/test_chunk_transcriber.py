"""Chunks of real speech with a real model: what looks wrong is flagged, and what was said is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech.asr.chunk_transcriber import ChunkTranscriber
from speech.asr.chunks import Chunk
from speech.asr.engine import Engine
from speech.asr.hypothesis import ChunkResult, SegmentHypothesis
from speech.asr.requests import DecodeChunk, DecodeSequential, Work
from speech.asr.whisper import DecodeOptions
from speech.models.registry import Weights
from speech.transcript import TranscribeOptions, Transcript
from tests.speech.asr.helpers import (
    ENGLISH,
    SAMPLES,
    Samples,
    extract_words,
    list_unflagged,
    make_silence,
    read_samples,
    transcribe,
    write,
)

CAREFUL = TranscribeOptions(language="en", careful=True)


def test_the_careful_path_gives_the_same_text(engine: Engine, audio_dir: Path, jfk: Transcript) -> None:
    transcript = transcribe(engine, audio_dir / "jfk.opus", CAREFUL)
    assert transcript.meta.decoding.path == "careful"
    assert {segment.decoded for segment in transcript.segments} == {"sequential"}
    assert extract_words(transcript.text) == extract_words(jfk.text)


@pytest.mark.parametrize("sample", ["jfk.opus", "austen.m4a"])
def test_text_from_backwards_speech_is_always_flagged(
    engine: Engine, audio_dir: Path, tmp_path: Path, sample: str
) -> None:
    """Speech played backwards passes every detector, and the model writes fluent sentences for it."""
    path = write(tmp_path / "backwards.wav", read_samples(audio_dir / sample)[::-1])
    transcript = transcribe(engine, path, ENGLISH)
    assert transcript.meta.decoding
    assert transcript.meta.decoding.suspects == transcript.meta.decoding.chunks
    assert list_unflagged(transcript) == []


def add_noise(samples: Samples) -> Samples:
    """Add noise at 60 dB below full scale, which nobody hears."""
    noise = np.random.default_rng(7).standard_normal(len(samples)) * 32768 * 10 ** (-60 / 20)
    return np.clip(np.rint(samples + noise), -32768, 32767).astype(np.int16)


def delay(samples: Samples) -> Samples:
    """Delay by 60 ms, so that the detector's frames of 32 ms lie elsewhere in the speech."""
    return np.concatenate([make_silence(0.06), samples])


CHANGES = {"noise": add_noise, "later": delay}
"""Changes that move the model's figures about as much as another processor does."""
READ_SAMPLES = ("jfk.opus", "austen.m4a", "lj-printing.mp3")


@pytest.mark.parametrize(("sample", "change"), [("austen.m4a", "noise"), ("jfk.opus", "later")])
def test_text_from_slightly_changed_backwards_speech_is_flagged(
    engine: Engine, audio_dir: Path, tmp_path: Path, sample: str, change: str
) -> None:
    path = write(tmp_path / "backwards.wav", CHANGES[change](read_samples(audio_dir / sample)[::-1]))
    assert list_unflagged(transcribe(engine, path, ENGLISH)) == []


def test_text_from_backwards_speech_is_flagged_on_the_careful_path(
    engine: Engine, audio_dir: Path, tmp_path: Path
) -> None:
    """Here there is only one result, and no second one to compare it with."""
    path = write(tmp_path / "backwards.wav", read_samples(audio_dir / "jfk.opus")[::-1])
    assert list_unflagged(transcribe(engine, path, CAREFUL)) == []


@pytest.mark.parametrize("change", CHANGES)
def test_text_from_slightly_changed_speech_has_no_flag(
    engine: Engine, audio_dir: Path, tmp_path: Path, change: str
) -> None:
    for sample in READ_SAMPLES:
        transcript = transcribe(
            engine, write(tmp_path / "read.wav", CHANGES[change](read_samples(audio_dir / sample))), ENGLISH
        )
        assert len(list_unflagged(transcript)) == len(transcript.segments) > 0, sample


TRANSCRIBE_SCRIPT = """
import json, sys
from pathlib import Path
from speech.asr.engine import Engine, RecordingIdentity
from speech.asr.model_pool import EngineConfig
from speech.transcript import TranscribeOptions
from speech.models.registry import Weights

path, name, sha256, compute_type, *recordings = sys.argv[1:]
options, identity = TranscribeOptions(language="en"), RecordingIdentity("x", "5" * 64)
with Engine(Weights(name, Path(path), sha256, None, "local cache"), EngineConfig(compute_type=compute_type)) as engine:
    transcripts = [engine.transcribe(Path(recording), identity, options) for recording in recordings]
print(json.dumps([[segment.flags for segment in transcript.segments] for transcript in transcripts]))
"""


@pytest.mark.parametrize(
    ("compute_type", "environment", "backwards", "read"),
    [
        ("float32", {}, ("austen.m4a", 0.0), READ_SAMPLES[:1]),  # three times as slow
        ("int8", {"CT2_FORCE_CPU_ISA": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}, ("jfk.opus", 5.5), READ_SAMPLES),
    ],
)
def test_with_another_compute_type_or_instruction_set_only_backwards_speech_is_flagged(
    base_weights: Weights,
    audio_dir: Path,
    tmp_path: Path,
    compute_type: str,
    environment: dict[str, str],
    backwards: tuple[str, float],
    read: tuple[str, ...],
) -> None:
    """Results are rounded as on another processor, which can only be set before a process starts."""
    sample, start = backwards
    weights = (str(base_weights.path), base_weights.name, base_weights.sha256)
    reversed_speech = write(tmp_path / "backwards.wav", read_samples(audio_dir / sample, start)[::-1])
    recordings = [reversed_speech, *(audio_dir / name for name in read)]
    result = subprocess.run(
        [sys.executable, "-c", TRANSCRIBE_SCRIPT, *weights, compute_type, *map(str, recordings)],
        cwd=SAMPLES.parent,
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    invented, *read_flags = json.loads(result.stdout)
    assert all(invented)
    assert len(read_flags) == len(read)
    assert all(segments and not any(segments) for segments in read_flags)


PROMPT = "A talk about Kubernetes, Dagster and BullMQ."
PROMPTED = DecodeOptions("en", word_timestamps=False, initial_prompt=PROMPT, hotwords="Ada Lovelace")


def make_hypothesis(text: str) -> SegmentHypothesis:
    return SegmentHypothesis(text, 0.0, 4.0, (), len(text.split()), -0.2, 1.2, 0.01)


def run_work(work: Work[ChunkResult], texts: dict[bool, str]) -> tuple[str, list[bool]]:
    """Answer each request with the text for "has a prompt". Returns the text of the result, and which requests had one."""
    prompted: list[bool] = []
    answer: Any = None
    while True:
        try:
            request = work.send(answer)
        except StopIteration as stop:
            return " ".join(segment.hypothesis.text for segment in stop.value.kept), prompted
        assert isinstance(request, DecodeChunk | DecodeSequential)
        has_prompt = request.options.initial_prompt is not None or request.options.hotwords is not None
        prompted.append(has_prompt)
        hypothesis = make_hypothesis(texts[has_prompt])
        answer = [hypothesis] if isinstance(request, DecodeSequential) else hypothesis


@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize(
    ("with_prompt", "without", "kept", "requests"),
    [
        ("He went home at last.", "not asked for", "He went home at last.", [True]),
        (PROMPT, "And that was all he said.", "And that was all he said.", [True, False]),
        ("Ada Lovelace", "Aida Loveless", "Ada Lovelace", [True, False]),
        ("Ada Lovelace. Ada Lovelace.", "", "", [True, False]),
    ],
    ids=["nothing of the prompt", "an echo", "hotwords that were said", "hotwords in noise"],
)
def test_an_echo_of_the_prompt_is_replaced_by_what_is_heard_without_it(
    careful: bool, with_prompt: str, without: str, kept: str, requests: list[bool]
) -> None:
    transcriber = ChunkTranscriber(lambda _: np.zeros(64_000, np.float32), PROMPTED, (((0.0, 4.0),),))
    begin = transcriber.transcribe_careful if careful else transcriber.transcribe_fast
    text, prompted = run_work(begin(Chunk(0, ((0.0, 4.0),))), {True: with_prompt, False: without})
    assert text == kept
    assert prompted[: len(requests)] == requests
