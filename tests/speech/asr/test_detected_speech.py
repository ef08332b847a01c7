"""How sure the detector is, and up to which pause a part of a chunk reaches."""

from __future__ import annotations

import numpy as np
import pytest

from speech.asr.chunks import Chunk
from speech.asr.detected_speech import DetectedSpeech
from speech.asr.vad import VAD_FRAME_S


def make_detected(*frames: float) -> DetectedSpeech:
    seconds = len(frames) * VAD_FRAME_S
    return DetectedSpeech(seconds, (((0.0, seconds),),), (np.array(frames, np.float32),), (), ((),), ())


@pytest.mark.parametrize(
    ("frames", "is_sure"),
    [
        ([0.1, 0.9, 0.9, 0.9, 0.1], True),
        ([0.1, 0.9, 0.2, 0.9, 0.9], True),
        ([0.1, 0.9, 0.9, 0.1, 0.1], False),
        ([0.5] * 50, False),
        ([], False),
    ],
)
def test_the_detector_is_sure_where_a_word_of_it_is_surely_speech(frames: list[float], is_sure: bool) -> None:
    assert make_detected(*frames).is_sure(0, 0.0, 10.0) is is_sure


def test_only_the_time_asked_for_counts() -> None:
    detected = make_detected(*[0.9] * 10, *[0.1] * 10)
    assert detected.is_sure(0, 0.0, 0.2)
    assert not detected.is_sure(0, 10 * VAD_FRAME_S, 20 * VAD_FRAME_S)
    assert detected.measure_voiced_s(Chunk(0, ((0.0, 1.0),)), 0.0, 1.0) == pytest.approx(10 * VAD_FRAME_S)


def test_a_part_reaches_to_a_near_pause_and_never_out_of_its_chunk() -> None:
    detected = DetectedSpeech(
        60.0, (((1.0, 5.0), (5.0, 9.0), (12.0, 40.0)),), (np.zeros(0, np.float32),), (), ((),), ()
    )
    chunk = Chunk(0, ((1.0, 9.0), (12.0, 25.0)))
    assert detected.widen(chunk, (5.5, 8.5), 1.0).pieces == ((5.0, 9.0),)
    assert detected.widen(chunk, (14.0, 24.5), 1.0).pieces == ((14.0, 24.5),), "the pauses are too far away"
    assert detected.widen(chunk, (8.0, 13.0), 1.0).pieces == ((8.0, 9.0), (12.0, 13.0))


def test_silence_between_the_pieces_of_a_chunk_is_no_part_of_it() -> None:
    """Clicks in minutes of silence that were taken out are no speech of the chunk."""
    detected = make_detected(*[0.9] * 10, *[0.6, 0.1] * 100, *[0.9] * 10)
    end = detected.duration_s
    chunk = Chunk(0, ((0.0, 0.32), (end - 0.32, end)))
    assert detected.measure_voiced_s(chunk, 0.32, end - 0.32) == 0
