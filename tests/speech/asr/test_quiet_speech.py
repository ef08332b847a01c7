"""Stretches that are quiet beside the rest are heard a second time, and only what is new there changes anything."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from speech.asr.quiet_speech import QuietSpeech, amplify, hear_quiet_speech, subtract_spans
from speech.asr.vad import VAD_FRAME_SAMPLES, VadOptions, VoiceActivityDetector
from speech.audio.normalize import SAMPLE_RATE

Samples = npt.NDArray[np.float32]
LOUD_DBFS = -25.0


def make_noise(seconds: float, dbfs: float, seed: int = 0) -> Samples:
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal(round(seconds * SAMPLE_RATE)) * 10 ** (dbfs / 20)
    return noise.astype(np.float32)


def hear(samples: Samples) -> npt.NDArray[np.float32]:
    """A detector that takes every frame above -40 dBFS for speech, as the real one does with voices."""
    frames = np.pad(samples, (0, -len(samples) % VAD_FRAME_SAMPLES)).reshape(-1, VAD_FRAME_SAMPLES)
    return (np.sqrt((frames**2).mean(axis=1)) > 0.01).astype(np.float32)


def hear_again(*channels: Samples, channel: int = 0) -> QuietSpeech | None:
    window = np.stack(channels)
    return hear_quiet_speech(window, channel, hear(window[channel]), hear, VadOptions())


@pytest.mark.parametrize("quiet_first", [True, False])
def test_what_is_far_below_the_rest_is_heard_and_the_rest_stays(quiet_first: bool) -> None:
    parts = [make_noise(5, -65), make_noise(5, LOUD_DBFS)]
    samples = np.concatenate(parts if quiet_first else parts[::-1])
    found = hear_again(samples)
    assert found is not None
    ((start, end),) = found.spans
    assert (start, end) == pytest.approx((0, 4.4) if quiet_first else (5.6, 10), abs=0.2)
    assert found.probabilities[10 if quiet_first else 200] == 1
    louder = amplify(samples, found.gains_db, 0)
    loud, quiet = (
        (slice(88_000, None), slice(16_000, 64_000)) if quiet_first else (slice(0, 72_000), slice(96_000, 144_000))
    )
    np.testing.assert_array_equal(louder[loud], samples[loud])
    assert 20 * np.log10(louder[quiet].std()) == pytest.approx(-20, abs=1.5)


@pytest.mark.parametrize(
    "samples",
    [
        make_noise(10, LOUD_DBFS),
        make_noise(10, -44),
        np.concatenate((make_noise(5, LOUD_DBFS), make_noise(0.9, -60), make_noise(5, LOUD_DBFS))),  # a pause
        np.concatenate((make_noise(5, LOUD_DBFS), make_noise(5, -90))),  # nothing is left in 16 bits
        np.zeros(16_000, np.float32),
        np.zeros(0, np.float32),
    ],
    ids=["loud", "not quiet", "pause", "faint", "silence", "nothing"],
)
def test_nothing_new_changes_nothing(samples: Samples) -> None:
    assert hear_again(samples) is None


def test_what_the_detector_does_not_hear_changes_nothing() -> None:
    samples = np.concatenate((make_noise(5, LOUD_DBFS), make_noise(5, -65)))
    deaf = hear_quiet_speech(
        samples[None],
        0,
        hear(samples),
        lambda part: np.zeros(-(-len(part) // VAD_FRAME_SAMPLES), np.float32),
        VadOptions(),
    )
    assert deaf is None


def test_clicks_do_not_hide_quiet_speech() -> None:
    samples = make_noise(10, -65)
    samples[8_000::32_000] = 0.9
    found = hear_again(samples)
    assert found is not None
    assert sum(end - start for start, end in found.spans) > 8


def test_cross_talk_is_not_heard_again_and_a_quiet_answer_is() -> None:
    talk, pause = make_noise(5, LOUD_DBFS), make_noise(5, -90, seed=1)
    near = np.concatenate((talk, pause))
    cross_talk = np.concatenate((talk * 10 ** (-40 / 20), pause))
    assert hear_again(near, cross_talk.astype(np.float32), channel=1) is None
    answer = np.concatenate((talk * 10 ** (-40 / 20), make_noise(5, -65, seed=2)))
    found = hear_again(near, answer.astype(np.float32), channel=1)
    assert found is not None
    assert found.spans[0][0] > 5


def test_spans_are_subtracted() -> None:
    assert subtract_spans([(0, 4), (5, 9), (10, 11)], [(1, 2), (3, 5.5), (8, 12)]) == [(0, 1), (2, 3), (5.5, 8)]
    assert subtract_spans([(0, 1)], []) == [(0, 1)]
    assert subtract_spans([], [(0, 1)]) == []


def test_windows_of_a_channel_are_amplified_alike() -> None:
    samples = make_noise(4, -60)
    gains = np.linspace(0, 40, len(samples) // VAD_FRAME_SAMPLES).astype(np.float32)
    whole = amplify(samples, gains, 0)
    np.testing.assert_array_equal(amplify(samples[10_000:20_000], gains, 10_000), whole[10_000:20_000])


def test_the_real_detector_stays_silent_on_amplified_noise_and_hum() -> None:
    def hear_anew(part: Samples) -> npt.NDArray[np.float32]:
        return VoiceActivityDetector().probabilities(part)

    time = np.arange(5 * SAMPLE_RATE) / SAMPLE_RATE
    hum = sum(np.sin(2 * np.pi * 50 * k * time) / k for k in range(1, 12))
    for dbfs in (-50, -65, -80):
        for sound in (make_noise(5, dbfs), np.asarray(hum, np.float32) * np.float32(10 ** (dbfs / 20))):
            samples = np.concatenate((make_noise(5, LOUD_DBFS), sound.astype(np.float32)))
            first = VoiceActivityDetector().probabilities(samples)
            assert hear_quiet_speech(samples[None], 0, first, hear_anew, VadOptions()) is None
