"""The model asked for batches: what it hears in a chunk, and when, is what it hears in that chunk alone."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import soundfile

from speech.asr.encoder_window import SHORT, compute_context_s
from speech.asr.hypothesis import SegmentHypothesis
from speech.asr.whisper import Samples, WhisperDecoder
from speech.audio.normalize import SAMPLE_RATE, normalize
from speech.models.registry import Weights

SAMPLES = Path(__file__).resolve().parents[3] / "samples"
BEAM = 5  # the default
SHORT_S, LONG_S = (1.0, 3.0), (9.5, 11.0)
"""Lengths of chunks that share a context: of 8 s, where a batch is encoded at once, and of 14 s, where it is encoded in parts."""


@pytest.fixture(scope="module")
def decoder(base_weights: Weights) -> WhisperDecoder:
    return WhisperDecoder(base_weights, "cpu", "int8", workers=2)


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> list[Samples]:
    """Voices, microphones and decades that differ; and noise, for which the model finds no words."""
    made = tmp_path_factory.mktemp("normalized") / "sound.wav"
    found = []
    for name in ("jfk.opus", "austen.m4a", "lj-printing.mp3", "two-speakers.flac", "silence.wav"):
        normalize(SAMPLES / name, made)
        found.append(soundfile.read(made, dtype="float32", always_2d=True)[0][:, 0])
    return found


def chunks(speech: Sequence[Samples], lengths_s: tuple[float, float], count: int) -> tuple[list[Samples], int]:
    """Chunks from anywhere, cut without regard to words, and the context that they share."""
    rolls = random.Random(7)  # noqa: S311
    found = []
    while len(found) < count:
        sound = rolls.choice(speech)
        wanted = round(rolls.uniform(*lengths_s) * SAMPLE_RATE)
        start = rolls.randrange(max(1, len(sound) - wanted))
        if len(chunk := sound[start : start + wanted]) >= lengths_s[0] * SAMPLE_RATE:
            found.append(chunk)
    (context,) = {compute_context_s(len(chunk) / SAMPLE_RATE, SHORT) for chunk in found}
    return found, context


def batches(count: int, most: int, of: int) -> Iterator[list[int]]:
    """Which chunks are asked for together; a chunk may meet itself."""
    rolls = random.Random(11)  # noqa: S311
    for _ in range(count):
        yield rolls.choices(range(of), k=rolls.randint(2, most))


@pytest.mark.parametrize(
    ("lengths_s", "beam", "of", "count"), [(SHORT_S, 2, 10, 24), (LONG_S, BEAM, 3, 2)], ids=["short", "long"]
)
def test_what_is_heard_in_a_chunk_does_not_depend_on_its_companions(
    lengths_s: tuple[float, float], beam: int, of: int, count: int, decoder: WhisperDecoder, speech: list[Samples]
) -> None:
    """A batch of one recording and one of two hundred must give the same transcript, bit for bit, words' times included."""
    pool, context = chunks(speech, lengths_s, of)

    def hear(batch: Sequence[Samples]) -> list[SegmentHypothesis]:
        return decoder.decode_batch(batch, context, "en", beam, word_timestamps=True)

    alone = [hear([chunk])[0] for chunk in pool]
    assert len({segment.text for segment in alone}) > of // 2
    assert len({len(segment.words) for segment in alone}) > 1, "texts of unlike lengths, so that some are padded"
    for batch in batches(count, 4, of):
        assert hear([pool[i] for i in batch]) == [alone[i] for i in batch], batch


def test_a_chunks_language_does_not_depend_on_its_companions(decoder: WhisperDecoder, speech: list[Samples]) -> None:
    """Nor do its words, whether its companions are written in the same language or in none that is wanted."""
    pool, context = chunks(speech, SHORT_S, 4)
    alone = [
        decoder.detect_language_and_decode([chunk], context, BEAM, {"en"}, word_timestamps=True)[0] for chunk in pool
    ]
    assert {segment is None for _, segment in alone} == {True, False}
    for batch in batches(4, 3, len(pool)):
        found = decoder.detect_language_and_decode(
            [pool[i] for i in batch], context, BEAM, {"en"}, word_timestamps=True
        )
        assert found == [alone[i] for i in batch], batch
