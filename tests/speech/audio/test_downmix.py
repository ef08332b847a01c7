"""Channels of the same sound become one, and nothing cancels."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from speech.audio.downmix import OutputChannel, mix_channels
from tests.speech.audio.encodings import make_syllables

RATE = 16_000
Sound = NDArray[np.float64]


def mix(*channels: Sound, block: int = 1 << 20) -> Sound:
    samples = (np.stack(channels, axis=1) * 32_767).clip(-32_768, 32_767).astype(np.int16)
    outputs = (OutputChannel(tuple(range(len(channels)))),)
    blocks = [mix_channels(samples[i : i + block], outputs)[:, 0] for i in range(0, len(samples), block)]
    return np.concatenate(blocks) / 32_767


def measure_db(sound: Sound, start_s: float, end_s: float) -> float:
    part = sound[round(start_s * RATE) : round(end_s * RATE)]
    return float(10 * np.log10(np.mean(part**2) + 1e-12))


HOST, GUEST = make_syllables(12, seed=1), make_syllables(12, seed=2)
FIRST, SECOND = (np.arange(12 * RATE) < 6 * RATE).astype(float), (np.arange(12 * RATE) >= 6 * RATE).astype(float)
HUM = 0.3 * np.sin(2 * np.pi * 50 * np.arange(12 * RATE) / RATE)


def test_mixing_takes_the_mean_of_the_channels_without_overflow() -> None:
    block = np.array([[32_767, 32_767, 1], [-32_768, -32_768, 2], [10, 20, 3]], dtype=np.int16)
    mixed = mix_channels(block, (OutputChannel((0, 1)), OutputChannel((2,))))
    assert mixed.dtype == np.int16
    assert mixed.tolist() == [[32_767, 1], [-32_768, 2], [15, 3]]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (HOST, 0.8 * HOST),
        (HOST + 0.3 * GUEST, 0.3 * HOST + GUEST),
        (HOST, make_syllables(12, seed=3)),
        (HOST * FIRST, GUEST * SECOND),
    ],
    ids=["two microphones", "panned", "unlike", "in turn"],
)
def test_where_nothing_cancels_the_mean_stays_as_it_is_but_for_a_frame_by_chance(left: Sound, right: Sound) -> None:
    expected = np.rint((np.stack((left, right)) * 32_767).astype(np.int16).mean(axis=0, dtype=np.float32))
    assert np.mean(np.rint(mix(left, right) * 32_767) != expected) < 0.03


@pytest.mark.parametrize("block", [1 << 20, 820 * 320, 12_345])
@pytest.mark.parametrize(
    ("left", "right", "voice"),
    [
        (HOST, -HOST, HOST),
        (HOST, -0.7 * HOST, HOST),
        (HOST * FIRST + GUEST * SECOND, HOST * FIRST - GUEST * SECOND, HOST * FIRST + GUEST * SECOND),
        (HOST, HOST * FIRST - HOST * SECOND, HOST),
        (HOST + HUM, -HOST + HUM, HOST),
    ],
    ids=["everything", "one is quieter", "the guest alone", "the second half", "under a common hum"],
)
def test_a_voice_in_opposite_phase_is_kept(left: Sound, right: Sound, voice: Sound, block: int) -> None:
    mixed = mix(left, right, block=block)
    for start in range(12):  # differences of samples, in which hum counts little
        kept_db = measure_db(np.diff(mixed), start, start + 1) - measure_db(np.diff(voice), start, start + 1)
        assert kept_db > -3, f"second {start}: {kept_db:.1f} dB"


def test_both_ends_of_a_cancelled_part_are_free_of_clicks() -> None:
    tone = 0.2 * np.sin(2 * np.pi * 440 * np.arange(12 * RATE) / RATE)
    mixed = mix(tone, tone * FIRST - tone * SECOND)
    steps = np.abs(np.diff(mixed, n=2))
    assert steps.max() < 1.5 * np.abs(np.diff(tone, n=2)).max()


def test_a_voice_at_one_of_eight_microphones_is_not_lost() -> None:
    mixed = mix(HOST, *(0 * HOST for _ in range(7)))
    assert measure_db(mixed, 0, 12) - measure_db(HOST, 0, 12) > -3


def test_silence_and_short_blocks_are_mixed_too() -> None:
    assert not mix(0 * HOST, 0 * HOST).any()
    for count in (1, 2, 319, 321):
        assert len(mix(HOST[:count], -HOST[:count])) == count
