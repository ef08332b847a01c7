"""The engine on real speech with real weights: text, language, evidence, silence, and the same bytes every time."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks.lab.nonspeech import generate_clips
from speech.asr.checkpoint import Checkpoint
from speech.asr.engine import Engine, RecordingIdentity
from speech.asr.model_pool import EngineConfig
from speech.asr.vad import VAD_MODEL, VoiceActivityDetector
from speech.asr.whisper import WhisperDecoder
from speech.audio.normalize import SAMPLE_RATE
from speech.evaluation.wer import count_word_errors
from speech.machine.resources import Resources
from speech.models.registry import Weights, resolve
from speech.transcript import TranscribeOptions, Transcript
from tests.speech.asr.helpers import (
    ENGLISH,
    SAMPLES,
    extract_words,
    read_samples,
    transcribe,
    write,
    write_long,
)


def test_speech_is_transcribed_and_its_language_is_detected(jfk: Transcript) -> None:
    assert extract_words(jfk.text) == extract_words((SAMPLES / "jfk.opus.ref.txt").read_text())
    assert jfk.language == "en"
    assert jfk.meta.language_probability is not None
    assert jfk.meta.language_probability > 0.85
    assert len(jfk.meta.language_alternatives) == 3
    assert jfk.meta.flags == {}
    assert 9 < jfk.meta.speech_seconds <= jfk.meta.audio_duration_sec == 11.0
    assert [segment.channel for segment in jfk.segments] == [None], "one channel has no number"


def test_the_evidence_for_a_segment_is_kept(jfk: Transcript) -> None:
    (segment,) = jfk.segments
    assert -1 < segment.avg_logprob < 0
    assert 0.5 < segment.compression_ratio < 2.4
    assert segment.no_speech_prob < 0.5
    assert (segment.temperature, segment.decoded) == (0.0, "batched")
    assert jfk.meta.decoding.path == "ample", "an old recording without treble"
    assert all(0 < word.probability <= 1 for word in segment.words)


@pytest.mark.parametrize("kind", ["converter noise", "nothing", "two channels"])
def test_silence_gives_an_empty_transcript_with_a_reason_and_loads_no_model(
    kind: str, base_weights: Weights, audio_dir: Path, tmp_path: Path
) -> None:
    """Silent calls must neither load a model nor get invented phrases, also if the configured GPU is missing."""
    if kind == "converter noise":
        path = audio_dir / "silence.wav"
    else:
        path = write(tmp_path / "quiet.wav", np.zeros((0 if kind == "nothing" else SAMPLE_RATE, 2), np.int16))
    with Engine(base_weights, EngineConfig(device="cuda", compute_type="float16")) as engine:
        transcript = transcribe(engine, path)
        assert not engine.is_loaded
    assert (transcript.language, transcript.segments, transcript.text) == (None, (), "")
    assert transcript.meta.flags == {"no_speech": "The voice-activity detector heard no speech in the whole recording."}
    assert (transcript.meta.speech, transcript.meta.speech_seconds) == ((), 0.0)
    assert transcript.meta.language_probability is None


def test_a_recording_gives_the_same_bytes_with_other_workers_and_beside_other_recordings(
    base_weights: Weights, audio_dir: Path, tmp_path: Path, conversation: Transcript
) -> None:
    """The number of workers, other recordings at the same time, and a newly loaded model must not change the result."""
    words_only = write(tmp_path / "words.wav", read_samples(audio_dir / "jfk.opus", 7.5))
    paths = [words_only, audio_dir / "two-speakers.flac", audio_dir / "silence.wav"]
    with Engine(base_weights) as other, ThreadPoolExecutor(3) as pool:
        transcripts = list(pool.map(lambda path: transcribe(other, path, ENGLISH), paths))
    assert transcripts[1].to_json() == conversation.to_json()
    assert extract_words(transcripts[0].text)[-3:] == ["for", "your", "country"]
    assert transcripts[2].segments == ()


def test_an_engine_listens_with_the_detector_that_it_is_given(
    engine: Engine, base_weights: Weights, audio_dir: Path, tmp_path: Path
) -> None:
    silence = audio_dir / "silence.wav"
    detector = resolve(VAD_MODEL, kind="vad", model_dir=None, cache_dir=tmp_path, allow_download=False)
    with Engine(base_weights, vad_weights=detector) as given:
        assert transcribe(given, silence).to_json() == transcribe(engine, silence).to_json()
    (tmp_path / detector.file.name).write_bytes(b"no model")
    with (
        Engine(base_weights, vad_weights=replace(detector, path=tmp_path)) as broken,
        pytest.raises(Exception, match=re.escape(str(tmp_path))),
    ):
        transcribe(broken, silence)


def test_no_more_calls_run_the_detector_at_once_than_there_are_cpus(
    engine: Engine, audio_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call has a thread of its own, and 64 calls may be open."""
    running: list[int] = []
    most: list[int] = []
    compute = VoiceActivityDetector.probabilities

    def count(detector: VoiceActivityDetector, samples: np.ndarray) -> np.ndarray:
        running.append(1)
        most.append(len(running))
        time.sleep(0.02)
        probabilities = compute(detector, samples)
        running.pop()
        return probabilities

    monkeypatch.setattr(VoiceActivityDetector, "probabilities", count)
    monkeypatch.setattr("speech.asr.engine.detect_resources", lambda: Resources(2, 2**30, "2 CPUs"))
    with Engine(engine.weights) as two_cpus, ThreadPoolExecutor(8) as pool:
        list(pool.map(partial(transcribe, two_cpus), [audio_dir / "silence.wav"] * 8))
    assert max(most) == 2


def test_an_engine_gives_the_same_result_twice(engine: Engine, audio_dir: Path, jfk: Transcript) -> None:
    """Earlier recordings leave no state in the model."""
    shares: list[float] = []
    assert transcribe(engine, audio_dir / "jfk.opus", on_progress=shares.append).to_json() == jfk.to_json()
    assert shares == [0.0, 1.0]
    assert engine.is_loaded
    assert Transcript.model_validate_json(jfk.to_json()) == jfk, "the JSON can be read again"


def test_a_forced_language_is_used_and_recorded(engine: Engine, audio_dir: Path, tmp_path: Path) -> None:
    """A forced language has no probability, and the model writes in it."""
    path = write(tmp_path / "words.wav", read_samples(audio_dir / "jfk.opus", 7.5))
    transcript = transcribe(engine, path, TranscribeOptions(language="es"))
    assert (transcript.language, transcript.meta.options.language) == ("es", "es")
    assert (transcript.meta.language_probability, transcript.meta.language_alternatives) == (None, ())
    assert transcript.meta.decoding.path == "careful"
    assert "improbable" in transcript.meta.decoding.why, "it is not the language that is spoken"
    assert "country" not in transcript.text


def test_a_speed_that_is_asked_for_is_used_and_recorded(engine: Engine, audio_dir: Path, jfk: Transcript) -> None:
    options = TranscribeOptions(language="en", speed="accurate")
    transcript = transcribe(engine, audio_dir / "jfk.opus", options)
    assert transcript.meta.options.speed == "accurate"
    assert (transcript.meta.decoding.path, transcript.meta.decoding.why[:17]) == ("ample", "The most accurate")
    assert extract_words(transcript.text) == extract_words(jfk.text)
    assert '"speed"' not in jfk.to_json(), "what was not asked for changes no transcript"


@pytest.mark.parametrize(("step", "path"), [(-1, "careful"), (1, "ample")])
def test_a_recording_that_is_doubted_in_most_places_is_decoded_carefully(
    engine: Engine, audio_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, path: str
) -> None:
    """Speech played backwards gives text without any meaning, and the guard doubts it."""
    monkeypatch.setattr("speech.asr.engine.FAST_CHUNK_S", 3.0)
    decoded: list[object] = []
    decode_batch = WhisperDecoder.decode_batch
    monkeypatch.setattr(
        WhisperDecoder,
        "decode_batch",
        lambda model, batch, *rest: decoded.extend(batch) or decode_batch(model, batch, *rest),
    )
    transcript = transcribe(engine, write(tmp_path / "x.wav", read_samples(audio_dir / "jfk.opus")[::step]), ENGLISH)
    decoding = transcript.meta.decoding
    assert decoding.path == path
    if path == "careful":
        assert decoding.chunks == 1, "in chunks of that path"
        assert "of the first" in decoding.why
    else:
        assert len(decoded) == decoding.chunks >= 4, "what was decoded to see is not decoded again"
    assert transcript.segments


def test_wide_band_english_takes_the_fast_path_and_records_it(engine: Engine, audio_dir: Path) -> None:
    transcript = transcribe(engine, audio_dir / "austen.m4a", ENGLISH)
    assert count_word_errors((SAMPLES / "austen.m4a.ref.txt").read_text(), transcript.text, "en").errors <= 2
    stats = transcript.meta.decoding
    assert stats is not None
    assert (stats.path, stats.chunks, stats.suspects, stats.dropped) == ("fast", 1, 0, 0)
    assert {segment.decoded for segment in transcript.segments} == {"batched"}


class KilledError(Exception):
    """Stands for a kill of the process."""


def test_a_long_recording_continues_where_it_was_stopped(engine: Engine, audio_dir: Path, tmp_path: Path) -> None:
    """A kill near the end of a long recording must not lose the chunks that are finished."""
    path, identity = write_long(audio_dir, tmp_path, 75), RecordingIdentity("long.wav", "5" * 64)
    shares: list[float] = []
    open_checkpoint = partial(Checkpoint, tmp_path / "checkpoint", "key")

    def stop(share: float) -> None:
        if share >= 0.5:
            raise KilledError

    with pytest.raises(KilledError):
        engine.transcribe(path, identity, ENGLISH, on_progress=stop, open_checkpoint=open_checkpoint)
    resumed = engine.transcribe(path, identity, ENGLISH, on_progress=shares.append, open_checkpoint=open_checkpoint)
    assert min(share for share in shares if share) > 0.5, "the first half was in the checkpoint"
    assert shares[-1] == 1.0
    assert resumed.to_json() == engine.transcribe(path, identity, ENGLISH).to_json()


def test_no_words_are_invented_for_sounds_without_speech(engine: Engine, tmp_path: Path) -> None:
    """Thirty of the hundred generated sounds of the comparison with peers, two of each kind."""
    for name, samples in generate_clips(30):
        path = write(tmp_path / "clip.wav", (samples * 32767).astype(np.int16))
        transcript = transcribe(engine, path)
        assert (transcript.text, list(transcript.meta.flags)) == ("", ["no_speech"]), name
