"""Channels stay separate if they hold different sound, and only then."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from speech.audio.channels import ChannelStatistics

SECONDS = 12
Sound = NDArray[np.float64]


def make_speech(seed: int, turns: tuple[int, ...] | None = None) -> Sound:
    """Noise in bursts of half a second, only in the given seconds (default: all of them)."""
    count = SECONDS * 16_000
    time = np.arange(count) / 16_000
    sound = np.random.default_rng(seed).standard_normal(count) * 0.1 * (time % 0.6 < 0.5)
    return sound if turns is None else sound * np.isin(time.astype(int), turns)


def make_hiss(seed: int, dbfs: float) -> Sound:
    return np.random.default_rng(seed).standard_normal(SECONDS * 16_000) * 10 ** (dbfs / 20)


AGENT = make_speech(1, (0, 1, 2, 5, 6, 7, 10))
CALLER = make_speech(2, (3, 4, 8, 9, 11))


def plan_channels(*channels: Sound, keep_channels: bool = True, block: int = 16_000) -> list[tuple[int, ...]]:
    audio = (np.stack(channels, axis=1) * 32_767).clip(-32_768, 32_767).astype(np.int16)
    statistics = ChannelStatistics(len(channels))
    for start in range(0, len(audio), block):
        statistics.add_block(audio[start : start + block])
    return [output.source_channels for output in statistics.plan_output_channels(keep_channels=keep_channels)]


@pytest.mark.parametrize("level", [1.0, 0.03], ids=["usual", "30 dB quieter"])
def test_two_sides_of_a_call_stay_apart_at_any_level(level: float) -> None:
    assert plan_channels(AGENT * level, CALLER * level) == [(0,), (1,)]


def test_line_noise_and_crosstalk_do_not_join_two_speakers() -> None:
    left = AGENT + 0.1 * CALLER + make_hiss(3, -50)
    right = CALLER + 0.1 * AGENT + make_hiss(4, -50)
    assert plan_channels(left, right) == [(0,), (1,)]


def test_one_word_in_a_long_call_is_a_separate_speaker() -> None:
    assert plan_channels(make_speech(1, tuple(range(11))), make_speech(2, (11,))) == [(0,), (1,)]


def test_the_same_sound_on_two_channels_becomes_one() -> None:
    assert plan_channels(AGENT, AGENT) == [(0, 1)]


def test_a_much_quieter_copy_is_not_a_second_speaker() -> None:
    """A leaking cable: the channels differ by 26 dB, but hold one sound."""
    assert plan_channels(AGENT, 0.05 * AGENT) == [(0, 1)]


def test_an_echo_is_not_a_second_speaker() -> None:
    """20 dB quieter and 10 ms late: after every burst there is a moment with the echo alone."""
    assert plan_channels(make_speech(1), 0.1 * np.roll(make_speech(1), 160)) == [(0, 1)]


def test_long_pauses_with_line_noise_do_not_join_two_speakers() -> None:
    assert plan_channels(make_speech(1, (0, 1)) + make_hiss(3, -58), make_speech(2, (6, 7)) + make_hiss(4, -58)) == [
        (0,),
        (1,),
    ]


def test_a_short_difference_does_not_split_a_common_sound() -> None:
    """Left and right agree for ten seconds of twelve: that is one room, not two speakers."""
    common = make_speech(3, tuple(range(2, 12)))
    assert plan_channels(common + make_speech(1, (0,)), common + make_speech(2, (1,))) == [(0, 1)]


def test_panned_speakers_of_a_stereo_mix_become_one_channel() -> None:
    assert plan_channels(0.8 * AGENT + 0.35 * CALLER, 0.35 * AGENT + 0.8 * CALLER) == [(0, 1)]


def test_a_silent_channel_is_dropped_even_with_an_offset_or_hiss() -> None:
    assert plan_channels(0 * AGENT, AGENT) == [(1,)]
    assert plan_channels(AGENT, 0 * AGENT + 0.3) == [(0,)]
    assert plan_channels(AGENT, make_hiss(3, -70)) == [(0,)]


def test_eight_channels_with_two_sounds_give_two_channels_in_order() -> None:
    assert plan_channels(AGENT, CALLER, AGENT, CALLER, 0 * AGENT, AGENT, AGENT, CALLER) == [(0, 2, 5, 6), (1, 3, 7)]


def test_everything_becomes_one_channel_when_channels_are_to_be_mixed() -> None:
    assert plan_channels(AGENT, CALLER, 0 * AGENT, keep_channels=False) == [(0, 1)]


def test_silence_everywhere_is_one_channel() -> None:
    assert plan_channels(0 * AGENT, 0 * AGENT) == [(0, 1)]


def test_the_result_does_not_depend_on_the_size_of_blocks() -> None:
    left, right = AGENT + 0.3 * CALLER, CALLER
    assert plan_channels(left, right, block=777) == plan_channels(left, right, block=1 << 20)
