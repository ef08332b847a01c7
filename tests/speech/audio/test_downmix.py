"""Channels of the same sound become one, and nothing cancels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from speech.audio.downmix import OutputChannel, mix_channels
from speech.audio.normalize import read_window
from tests.speech.audio.encodings import make_syllables, normalize_beside, write

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


def test_a_change_of_the_phase_adds_no_click_of_its_own() -> None:
    tone = 0.2 * np.sin(2 * np.pi * 440 * np.arange(12 * RATE) / RATE)
    turned = tone * FIRST - tone * SECOND
    mixed = mix(tone, turned)
    assert np.abs(np.diff(mixed, n=2)).max() < 0.6 * np.abs(np.diff(turned, n=2)).max(), (
        "half of what the one channel has"
    )
    for start in np.arange(0, 12, 0.1):
        expected_db = -12 if abs(start - 6) < 0.15 else -0.5
        assert measure_db(mixed, start, start + 0.1) - measure_db(tone, start, start + 0.1) > expected_db


@pytest.mark.parametrize("channels", [3, 4, 6, 8])
def test_nobody_who_speaks_into_one_microphone_of_several_is_removed(channels: int) -> None:
    """A regression test: what one microphone heard alone was taken for cancelled, and another one's sound put in its place."""
    noise = [0.003 * make_syllables(12, seed=9 + number) for number in range(channels)]
    turn = (np.arange(12 * RATE) % (4 * RATE) < 2 * RATE).astype(float)
    voices = [HOST * turn, GUEST * (1 - turn)]
    mixed = mix(*(noise[i] + (voices[i] if i < 2 else 0) for i in range(channels)))
    plain = np.stack([noise[i] + (voices[i] if i < 2 else 0) for i in range(channels)]).mean(axis=0)
    for start in range(12):
        assert abs(measure_db(mixed, start, start + 1) - measure_db(plain, start, start + 1)) < 0.5


def test_a_third_voice_is_kept_beside_two_channels_that_cancel() -> None:
    third = make_syllables(12, seed=5)
    mixed = mix(HOST, -HOST, third)
    for start in range(12):
        sound = mixed[start * RATE : (start + 1) * RATE]
        for voice in (HOST, third):
            part = voice[start * RATE : (start + 1) * RATE]
            assert abs(np.corrcoef(sound, part)[0, 1]) > 0.3


def test_no_polarity_changes_where_a_recording_is_read_in_blocks(tmp_path: Path) -> None:
    """As a recording is normalized: 820 frames at a time, each with what lies around it."""
    tone = 0.3 * np.sin(2 * np.pi * 210 * np.arange(40 * RATE) / RATE)
    louder = 1 - 0.02 * (np.arange(40 * RATE) >= 820 * 320)
    write(tmp_path / "a.wav", np.stack((tone * louder, -tone * (1.98 - louder)), axis=1))
    normalize_beside(tmp_path / "a.wav")
    mixed = read_window(tmp_path / "target.tmp", 0, 40)[0]
    assert np.abs(np.diff(mixed)).max() < 1.1 * np.abs(np.diff(tone)).max()
    np.testing.assert_allclose(np.abs(mixed), np.abs(tone), atol=0.02)


def test_silence_and_short_blocks_are_mixed_too() -> None:
    assert not mix(0 * HOST, 0 * HOST).any()
    assert mix_channels(np.zeros((0, 2), dtype=np.int16), (OutputChannel((0, 1)),)).shape == (0, 1)
    for count in (1, 2, 319, 321, 3_000):
        assert len(mix(HOST[:count], -HOST[:count])) == count
