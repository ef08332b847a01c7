"""Channels are kept apart when they hold different sound, and only then."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from speech.audio.channels import ChannelStatistics, OutputChannel, mix_channels

SECONDS = 12
Sound = NDArray[np.float64]


def talk(seed: int, turns: tuple[int, ...] | None = None) -> Sound:
    """Noise in syllables of half a second, speaking only in the given seconds (all of them by default)."""
    count = SECONDS * 16_000
    time = np.arange(count) / 16_000
    sound = np.random.default_rng(seed).standard_normal(count) * 0.1 * (time % 0.6 < 0.5)
    return sound if turns is None else sound * np.isin(time.astype(int), turns)


def hiss(seed: int, dbfs: float) -> Sound:
    return np.random.default_rng(seed).standard_normal(SECONDS * 16_000) * 10 ** (dbfs / 20)


AGENT = talk(1, (0, 1, 2, 5, 6, 7, 10))
CALLER = talk(2, (3, 4, 8, 9, 11))


def voices(*channels: Sound, keep_channels: bool = True, block: int = 16_000) -> list[tuple[int, ...]]:
    audio = (np.stack(channels, axis=1) * 32_767).clip(-32_768, 32_767).astype(np.int16)
    evidence = ChannelStatistics(len(channels))
    for start in range(0, len(audio), block):
        evidence.add_block(audio[start : start + block])
    return [voice.source_channels for voice in evidence.plan_output_channels(keep_channels=keep_channels)]


@pytest.mark.parametrize("level", [1.0, 0.03], ids=["usual", "30 dB quieter"])
def test_two_ends_of_a_call_stay_apart_however_loud(level: float) -> None:
    assert voices(AGENT * level, CALLER * level) == [(0,), (1,)]


def test_line_noise_and_crosstalk_do_not_join_two_speakers() -> None:
    left = AGENT + 0.1 * CALLER + hiss(3, -50)
    right = CALLER + 0.1 * AGENT + hiss(4, -50)
    assert voices(left, right) == [(0,), (1,)]


def test_one_word_in_a_long_call_is_a_speaker_of_its_own() -> None:
    assert voices(talk(1, tuple(range(11))), talk(2, (11,))) == [(0,), (1,)]


def test_one_sound_on_two_channels_becomes_one_voice() -> None:
    assert voices(AGENT, AGENT) == [(0, 1)]


def test_a_much_quieter_copy_is_no_second_speaker() -> None:
    """A leaking cable: 26 dB between the channels, and yet one sound."""
    assert voices(AGENT, 0.05 * AGENT) == [(0, 1)]


def test_an_echo_is_no_second_speaker() -> None:
    """20 dB down and 10 ms late: after every syllable the echo alone is heard, for a moment."""
    assert voices(talk(1), 0.1 * np.roll(talk(1), 160)) == [(0, 1)]


def test_long_pauses_with_line_noise_do_not_join_two_speakers() -> None:
    assert voices(talk(1, (0, 1)) + hiss(3, -58), talk(2, (6, 7)) + hiss(4, -58)) == [(0,), (1,)]


def test_a_moment_on_one_side_does_not_part_a_common_sound() -> None:
    """Left and right of a room agree for ten seconds of twelve: that is one recording, not two speakers."""
    both = talk(3, tuple(range(2, 12)))
    assert voices(both + talk(1, (0,)), both + talk(2, (1,))) == [(0, 1)]


def test_panned_speakers_of_a_stereo_mix_become_one_voice() -> None:
    assert voices(0.8 * AGENT + 0.35 * CALLER, 0.35 * AGENT + 0.8 * CALLER) == [(0, 1)]


def test_a_silent_channel_is_dropped_and_its_offset_is_no_sound() -> None:
    assert voices(0 * AGENT, AGENT) == [(1,)]
    assert voices(AGENT, 0 * AGENT + 0.3) == [(0,)]
    assert voices(AGENT, hiss(3, -70)) == [(0,)]


def test_channels_that_would_cancel_are_not_mixed() -> None:
    """The louder one is taken alone: the mean of a signal and its inversion is silence."""
    assert voices(0.9 * AGENT, -AGENT) == [(1,)]


def test_eight_channels_with_two_sounds_give_two_voices_in_order() -> None:
    assert voices(AGENT, CALLER, AGENT, CALLER, 0 * AGENT, AGENT, AGENT, CALLER) == [(0, 2, 5, 6), (1, 3, 7)]


def test_everything_is_one_voice_when_channels_are_not_wanted_apart() -> None:
    assert voices(AGENT, CALLER, 0 * AGENT, keep_channels=False) == [(0, 1)]


def test_silence_everywhere_is_still_one_voice() -> None:
    assert voices(0 * AGENT, 0 * AGENT) == [(0, 1)]


def test_the_verdict_does_not_depend_on_how_the_stream_is_cut() -> None:
    left, right = AGENT + 0.3 * CALLER, CALLER
    assert voices(left, right, block=777) == voices(left, right, block=1 << 20)


def test_mixing_takes_the_mean_of_the_members_without_overflow() -> None:
    block = np.array([[32_767, 32_767, 1], [-32_768, -32_768, 2], [10, 20, 3]], dtype=np.int16)
    mixed = mix_channels(block, (OutputChannel((0, 1)), OutputChannel((2,))))
    assert mixed.dtype == np.int16
    assert mixed.tolist() == [[32_767, 1], [-32_768, 2], [15, 3]]
