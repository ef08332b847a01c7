"""The model in batches: a chunk gives the same text and times as alone; and devices that are not available."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import soundfile

from speech.asr.encoder_window import SHORT, compute_context_s
from speech.asr.engine import Engine
from speech.asr.hypothesis import SegmentHypothesis
from speech.asr.model_pool import EngineConfig
from speech.asr.whisper import DecodeOptions, DeviceUnavailableError, Samples, WhisperDecoder
from speech.audio.normalize import SAMPLE_RATE
from speech.models.registry import Weights
from tests.speech.asr.helpers import transcribe

BEAM = 5  # the default
SHORT_S, LONG_S = (1.0, 3.0), (9.5, 11.0)
"""Lengths of chunks with the same context: 8 s, where a batch is encoded at once, and 14 s, where it is encoded in parts."""


@pytest.fixture(scope="module")
def decoder(base_weights: Weights) -> WhisperDecoder:
    return WhisperDecoder(base_weights, "cpu", "int8", workers=2)


@pytest.fixture(scope="module")
def speech(audio_dir: Path) -> list[Samples]:
    """Different voices and microphones, and noise, for which the model finds no words."""
    names = ("jfk.opus", "austen.m4a", "lj-printing.mp3", "two-speakers.flac", "silence.wav")
    return [soundfile.read(audio_dir / name, dtype="float32", always_2d=True)[0][:, 0] for name in names]


def cut_chunks(speech: Sequence[Samples], lengths_s: tuple[float, float], count: int) -> tuple[list[Samples], int]:
    """Cut chunks at random positions. Returns them and their common context in seconds."""
    generator = random.Random(7)  # noqa: S311
    chunks: list[Samples] = []
    while len(chunks) < count:
        samples = generator.choice(speech)
        length = round(generator.uniform(*lengths_s) * SAMPLE_RATE)
        start = generator.randrange(max(1, len(samples) - length))
        if len(chunk := samples[start : start + length]) >= lengths_s[0] * SAMPLE_RATE:
            chunks.append(chunk)
    (context,) = {compute_context_s(len(chunk) / SAMPLE_RATE, SHORT) for chunk in chunks}
    return chunks, context


def draw_batches(count: int, max_size: int, chunks: int) -> Iterator[list[int]]:
    """Draw batches as lists of chunk numbers; a chunk may be in a batch twice."""
    generator = random.Random(11)  # noqa: S311
    for _ in range(count):
        yield generator.choices(range(chunks), k=generator.randint(2, max_size))


@pytest.mark.parametrize(
    ("lengths_s", "beam", "pool_size", "count"), [(SHORT_S, 2, 10, 24), (LONG_S, BEAM, 3, 2)], ids=["short", "long"]
)
def test_the_text_of_a_chunk_does_not_depend_on_its_batch(
    lengths_s: tuple[float, float],
    beam: int,
    pool_size: int,
    count: int,
    decoder: WhisperDecoder,
    speech: list[Samples],
) -> None:
    """One recording alone and two hundred together must give identical transcripts, with the times of words."""
    pool, context = cut_chunks(speech, lengths_s, pool_size)

    def decode(batch: Sequence[Samples]) -> list[SegmentHypothesis]:
        return decoder.decode_batch(batch, context, [DecodeOptions("en", beam_size=beam)] * len(batch))

    alone = [decode([chunk])[0] for chunk in pool]
    assert len({segment.text for segment in alone}) > pool_size // 2
    assert len({len(segment.words) for segment in alone}) > 1, "texts of different lengths, so that some are padded"
    for batch in draw_batches(count, 4, pool_size):
        assert decode([pool[i] for i in batch]) == [alone[i] for i in batch], batch


def test_the_language_of_a_chunk_does_not_depend_on_its_batch(decoder: WhisperDecoder, speech: list[Samples]) -> None:
    """Nor does its text, whether the other chunks have a wanted language or not."""
    pool, context = cut_chunks(speech, SHORT_S, 4)

    def detect_and_decode(batch: Sequence[Samples]) -> list[tuple[Mapping[str, float], SegmentHypothesis | None]]:
        options = [DecodeOptions("any", beam_size=BEAM)] * len(batch)
        return decoder.detect_language_and_decode(batch, context, options, [{"en"}] * len(batch))

    alone = [detect_and_decode([chunk])[0] for chunk in pool]
    assert {segment is None for _, segment in alone} == {True, False}
    for batch in draw_batches(4, 3, len(pool)):
        assert detect_and_decode([pool[i] for i in batch]) == [alone[i] for i in batch], batch


def test_a_missing_gpu_is_an_error_and_never_replaced_by_the_cpu(base_weights: Weights, audio_dir: Path) -> None:
    import ctranslate2

    if ctranslate2.get_cuda_device_count() > 0:
        pytest.skip("this machine has a GPU")
    with (
        Engine(base_weights, EngineConfig(device="cuda", compute_type="float16")) as engine,
        pytest.raises(
            DeviceUnavailableError, match=r"none is visible here.*nvidia-smi, or set STT_DEVICE=cpu"
        ) as caught,
    ):
        transcribe(engine, audio_dir / "jfk.opus")
    assert "STT_DEVICE=cuda" in str(caught.value)


def test_an_unsupported_compute_type_is_refused_with_the_supported_ones(base_weights: Weights, audio_dir: Path) -> None:
    with (
        Engine(base_weights, EngineConfig(compute_type="int7")) as engine,
        pytest.raises(DeviceUnavailableError, match=r"cpu cannot compute in 'int7'.*float32.*Set STT_COMPUTE_TYPE"),
    ):
        transcribe(engine, audio_dir / "jfk.opus")
