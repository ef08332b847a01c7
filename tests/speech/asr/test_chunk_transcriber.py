"""Chunks of real speech with a real model: what looks wrong is flagged, and what was said is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech.asr.chunk_transcriber import ChunkTranscriber
from speech.asr.chunks import Chunk
from speech.asr.detected_speech import DetectedSpeech
from speech.asr.engine import Engine
from speech.asr.hypothesis import ChunkResult, SegmentHypothesis, WordHypothesis
from speech.asr.requests import DecodeChunk, DecodeSequential, Work
from speech.asr.scripts import compute_compression_ratio
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


DETECTED = DetectedSpeech(4.0, (((0.0, 4.0),),), (np.full(125, 0.9, np.float32),), (), ((),), ())


def drive(
    work: Work[ChunkResult], decode: Callable[[DecodeChunk | DecodeSequential], list[SegmentHypothesis]]
) -> ChunkResult:
    """Answer each request with what ``decode`` makes of it, and return the result."""
    answer: Any = None
    while True:
        try:
            request = work.send(answer)
        except StopIteration as stop:
            result: ChunkResult = stop.value
            return result
        assert isinstance(request, DecodeChunk | DecodeSequential)
        segments = decode(request)
        answer = segments if isinstance(request, DecodeSequential) else segments[0]


def run_work(work: Work[ChunkResult], texts: dict[bool, str]) -> tuple[str, list[bool]]:
    """Answer each request with the text for "has a prompt". Returns the text of the result, and which requests had one."""
    prompted: list[bool] = []

    def decode(request: DecodeChunk | DecodeSequential) -> list[SegmentHypothesis]:
        prompted.append(request.options.initial_prompt is not None or request.options.hotwords is not None)
        return [make_hypothesis(texts[prompted[-1]])]

    return " ".join(segment.hypothesis.text for segment in drive(work, decode).kept), prompted


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
    transcriber = ChunkTranscriber(lambda _: np.zeros(64_000, np.float32), PROMPTED, DETECTED)
    begin = transcriber.transcribe_careful if careful else transcriber.transcribe_fast
    text, prompted = run_work(begin(Chunk(0, ((0.0, 4.0),))), {True: with_prompt, False: without})
    assert text == kept
    assert prompted[: len(requests)] == requests


LONG = Chunk(0, ((0.0, 8.0),))
LONG_DETECTED = DetectedSpeech(8.0, (((0.0, 8.0),),), (np.full(250, 0.9, np.float32),), (), ((),), ())


def make_timed(text: str, seconds: float, start: float = 0.0) -> SegmentHypothesis:
    """A segment whose words share the time evenly."""
    words = text.split()
    step = seconds / len(words)
    timed = tuple(
        WordHypothesis(f" {word}", start + step * i, start + step * (i + 1), 0.9) for i, word in enumerate(words)
    )
    return SegmentHypothesis(
        text, start, start + seconds, timed, len(words), -0.2, compute_compression_ratio(text), 0.01
    )


def run_script(
    work: Work[ChunkResult], answers: dict[str, list[list[SegmentHypothesis]]]
) -> tuple[ChunkResult, list[str]]:
    """Answer each request with the next answer of its kind. Returns the result and the kinds asked for."""
    kinds: list[str] = []

    def decode(request: DecodeChunk | DecodeSequential) -> list[SegmentHypothesis]:
        if isinstance(request, DecodeChunk):
            kinds.append("fast")
        else:
            kinds.append("no repeats" if request.no_repeat_ngram_size else "careful")
        return answers[kinds[-1]].pop(0)

    return drive(work, decode), kinds


def read_texts(result: ChunkResult) -> list[str]:
    return [segment.hypothesis.text for segment in result.kept]


SAID = "wait for me " * 7 + "wait for me"
SCRIPTED = ChunkTranscriber(lambda _: np.zeros(128_000, np.float32), DecodeOptions("en"), LONG_DETECTED)


def test_what_is_said_again_and_again_is_kept_as_it_is_and_decoded_no_further() -> None:
    result, kinds = run_script(SCRIPTED.transcribe_careful(LONG), {"careful": [[make_timed(SAID, 8.0)]]})
    assert (read_texts(result), kinds) == ([SAID], ["careful"])
    assert [segment.flags for segment in result.kept] == [()]
    assert not result.dropped


def test_where_a_loop_begins_its_copies_go_and_the_segment_is_flagged() -> None:
    written = make_timed("wait for me " * 7 + "wait for me", 8.0)
    loop = [WordHypothesis(f" {word}", 8.0, 8.0, 0.9) for word in ("wait for me " * 30).split()]
    endless = replace(written, text="wait for me " * 38, words=(*written.words, *loop), compression_ratio=9.0)
    result, kinds = run_script(SCRIPTED.transcribe_careful(LONG), {"careful": [[endless]]})
    assert (read_texts(result), kinds) == ([SAID], ["careful"])
    assert [segment.flags for segment in result.kept] == [("repetition",)]


@pytest.mark.parametrize(
    ("without_repeats", "kept"),
    [
        ("wait for me waite for mee wayt for mea", "wait for me " * 4 + "wait for me"),
        ("wait for the others they come at nine", "wait for the others they come at nine"),
    ],
    ids=["only spelt anew", "other words"],
)
def test_a_decode_without_repeats_stands_only_if_it_has_other_words(without_repeats: str, kept: str) -> None:
    """A loop in which copies with and without time alternate: other words may have been said."""
    words, end = [], 0.0
    for i, word in enumerate(("wait for me " * 40).split()):
        length = 0.0 if i // 3 % 2 else 0.13
        words.append(WordHypothesis(f" {word}", end, end + length, 0.9))
        end += length
    loop = replace(make_timed("wait for me " * 40, 8.0), words=tuple(words))
    answers = {"careful": [[loop]], "no repeats": [[make_timed(without_repeats, 8.0)]]}
    result, kinds = run_script(SCRIPTED.transcribe_careful(LONG), answers)
    assert kinds == ["careful", "no repeats"]
    (text,) = read_texts(result)
    assert text.startswith(kept)
    assert bool(result.kept[0].flags) == text.startswith("wait for me"), "a loop is flagged"


@pytest.mark.parametrize("is_heard", [True, False])
def test_speech_without_a_word_is_decoded_alone_and_dropped_with_its_reason_if_nothing_is_heard(is_heard: bool) -> None:
    ends = [make_timed("the bus stops here", 2.0), make_timed("and goes on at five", 2.5, 5.5)]
    answers = {"careful": [ends, [make_timed("every day of the week", 3.0)] if is_heard else []]}
    result, kinds = run_script(SCRIPTED.transcribe_careful(LONG), answers)
    assert kinds == ["careful", "careful"]
    expected = ["the bus stops here", "every day of the week", "and goes on at five"]
    assert read_texts(result) == (expected if is_heard else [expected[0], expected[2]])
    assert [segment.flags for segment in result.dropped] == ([] if is_heard else [("empty",)])


def test_where_the_detector_is_not_sure_of_speech_nothing_is_missed() -> None:
    unsure = DetectedSpeech(8.0, (((0.0, 8.0),),), (np.full(250, 0.55, np.float32),), (), ((),), ())
    transcriber = ChunkTranscriber(SCRIPTED.read_samples, SCRIPTED.options, unsure)
    result, kinds = run_script(
        transcriber.transcribe_careful(LONG), {"careful": [[make_timed("the bus stops here", 2.0)]]}
    )
    assert kinds == ["careful"]
    assert not result.dropped


def test_each_piece_of_speech_without_text_is_named_by_itself() -> None:
    """Between the pieces of a chunk lie minutes of silence, in which nobody speaks."""
    chunk = Chunk(0, ((0.0, 2.0), (300.0, 302.0)))
    frames = np.zeros(9500, np.float32)
    frames[2:60] = frames[9380:9430] = 0.9
    frames[500:9000:2] = 0.6  # clicks
    detected = DetectedSpeech(304.0, (chunk.pieces,), (frames,), (), ((),), ())
    transcriber = ChunkTranscriber(SCRIPTED.read_samples, SCRIPTED.options, detected)
    result, _ = run_script(transcriber.transcribe_careful(chunk), {"careful": [[], []]})
    assert [segment.chunk.pieces for segment in result.dropped] == [((0.0, 2.0),), ((300.0, 302.0),)]


def test_a_chunk_of_less_than_a_second_without_a_word_is_told_of_too() -> None:
    short = Chunk(0, ((0.0, 0.9),))
    result, _ = run_script(SCRIPTED.transcribe_careful(short), {"careful": [[]]})
    assert [(segment.chunk, segment.flags) for segment in result.dropped] == [(short, ("empty",))]
