"""Decides which channels are transcribed separately: two people on a telephone line are, left and right of a song are not.

Statistics are collected in 20 ms frames while the audio is read, as histograms over levels in 1 dB steps. Memory therefore does not
depend on the length, nor the result on the loudness. We chose the constants: 12 dB is a factor of four in amplitude, more than for
a panned voice or two microphones in one room, and less than for the two ends of a telephone call.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speech.audio.downmix import FRAME_SAMPLES, OutputChannel

DOMINANT_DB = 12
"""If one of two channels is louder by at least this many dB, it dominates the frame."""

MIN_DIFFERENT_SHARE = 0.5
"""Two channels differ if at least this share of the frames in which either is active is dominated by one of them."""

MIN_DOMINANT_SHARE = 0.05
"""Each of the two must also dominate at least this share of its own active frames; otherwise it is a copy or an echo."""

MIN_DOMINANT_FRAMES = 10
"""Each of the two must also dominate at least this many frames (0.2 s, the shortest word); fewer are a click."""

SILENT_DBFS = -60
"""A frame below this level contains at most line noise."""

ACTIVE_RANGE_DB = 35
"""A frame is active if its level is at most this many dB below the loudest 1 % of frames: the range of speech, above the noise of
an ordinary line."""

_LEVELS = 97  # 0 dBFS down to -96 dBFS, the smallest step of 16 bits


class ChannelStatistics:
    """Level histograms of each channel and of each pair of channels, updated block by block.

    Args:
        channels: Channels of every block.
    """

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self._remainder = np.zeros((0, channels), dtype=np.int16)  # the last n < 320 samples, shape (n, channels)
        # Frames counted by level; for pairs, by the level of the louder channel. Last axis: dB below full scale, 0 to 96. Of a pair
        # in ``_active_counts`` only [i, j] with i > j is used.
        self._active_counts = np.zeros((channels, channels, _LEVELS), dtype=np.int64)
        self._dominant_counts = np.zeros(
            (channels, channels, _LEVELS), dtype=np.int64
        )  # [i, j]: frames in which i dominates j
        self._level_counts = np.zeros((channels, _LEVELS), dtype=np.int64)  # by the channel's own level
        self._loudest_counts = np.zeros(_LEVELS, dtype=np.int64)  # by the level of the loudest channel

    def add_block(self, block: NDArray[np.int16]) -> None:
        """Add the next int16 block of shape (samples, channels) at 16 kHz.

        The last samples are ignored if they are fewer than 320.
        """
        joined = np.concatenate((self._remainder, block)) if len(self._remainder) else block
        count = len(joined) // FRAME_SAMPLES
        self._remainder = joined[count * FRAME_SAMPLES :].copy()
        if not count:
            return
        frames = joined[: count * FRAME_SAMPLES].reshape(count, FRAME_SAMPLES, self.channels).astype(
            np.float32
        ) / np.float32(32_768)
        # Remove the DC offset, which would correlate with any other offset.
        frames -= frames.mean(axis=1, keepdims=True)
        power = np.einsum("fsc,fsc->fc", frames, frames) / FRAME_SAMPLES
        decibels = 10 * np.log10(np.maximum(power, 1e-12))
        level = np.clip(np.rint(-decibels), 0, _LEVELS - 1).astype(np.int64)
        self._loudest_counts += np.bincount(level.min(axis=1), minlength=_LEVELS)
        for channel in range(self.channels):
            self._level_counts[channel] += np.bincount(level[:, channel], minlength=_LEVELS)
            for other in range(channel):
                louder = np.minimum(level[:, channel], level[:, other])
                ahead = decibels[:, channel] - decibels[:, other]
                self._active_counts[channel, other] += np.bincount(louder, minlength=_LEVELS)
                self._dominant_counts[channel, other] += np.bincount(louder[ahead >= DOMINANT_DB], minlength=_LEVELS)
                self._dominant_counts[other, channel] += np.bincount(louder[ahead <= -DOMINANT_DB], minlength=_LEVELS)

    def plan_output_channels(self, *, keep_channels: bool) -> tuple[OutputChannel, ...]:
        """Decide the output channels: one for each source channel with sound of its own, in source order.

        A silent channel is dropped; a channel that does not differ from an earlier one joins it. With ``keep_channels`` false, or
        when nothing differs, there is one output channel.
        """
        audible = self.find_audible_channels()
        groups: list[list[int]] = []
        for channel in audible or range(self.channels):
            if not audible or not keep_channels:
                same = groups[0] if groups else None
            else:
                same = next((group for group in groups if not self.are_different(channel, group[0])), None)
            if same is None:
                groups.append([channel])
            else:
                same.append(channel)
        return tuple(OutputChannel(tuple(group)) for group in groups)

    def find_audible_channels(self) -> list[int]:
        """Channels with at least 0.2 s of sound above line noise."""
        return [
            c for c in range(self.channels) if self._level_counts[c, : -SILENT_DBFS + 1].sum() >= MIN_DOMINANT_FRAMES
        ]

    def are_different(self, first: int, second: int) -> bool:
        """Whether each of two channels holds sound that the other does not."""
        active = slice(0, self._find_activity_floor_db() + 1)
        frames_of_either = self._active_counts[max(first, second), min(first, second), active].sum()
        dominant_frames = [
            int(self._dominant_counts[a, b, active].sum()) for a, b in ((first, second), (second, first))
        ]
        active_frames = [int(self._level_counts[channel, active].sum()) for channel in (first, second)]
        has_own = all(
            dominant >= max(MIN_DOMINANT_FRAMES, MIN_DOMINANT_SHARE * frames)
            for dominant, frames in zip(dominant_frames, active_frames, strict=True)
        )
        return has_own and sum(dominant_frames) >= MIN_DIFFERENT_SHARE * frames_of_either

    def _find_activity_floor_db(self) -> int:
        """Decibels below full scale down to which a frame is active."""
        counts = np.cumsum(self._loudest_counts[: -SILENT_DBFS + 1])
        loud = int(np.searchsorted(counts, 0.01 * counts[-1], side="right"))
        return min(loud + ACTIVE_RANGE_DB, -SILENT_DBFS)
