"""Which channels of a recording are worth hearing apart: two people on a telephone line are, left and right of a song are not.

Evidence is gathered while the audio streams by, in 20 ms frames, and kept as counts over levels in 1 dB steps, so it needs the
same memory for a second and for a day and does not depend on how loud the recording is. The constants are ours: 12 dB is a factor
of four in amplitude, more than a panned voice or two microphones in one room show and less than two ends of a telephone call do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FRAME = 320
"""Samples in a frame: 20 ms, about a pitch period or two and shorter than any syllable."""

DOMINANT_DB = 12
"""From this difference on the louder of two channels owns the frame."""

DIFFERENT_SHARE = 0.5
"""Channels differ when, of the frames in which either is active, at least this share is owned by one of them."""

OWN_SHARE = 0.05
"""... and each owns at least this share of the frames in which it is active: otherwise it only copies or echoes the other."""

OWN_FRAMES = 10
"""... and at least this many, 0.2 s: the length of the shortest word; fewer is a click."""

CANCELLING_CORRELATION = -0.5
"""Below it two equally loud channels lose more than 6 dB in their mean, so only the louder one is taken."""

SILENT_DBFS = -60
"""Below it a frame holds line noise at most."""

ACTIVE_RANGE_DB = 35
"""A frame is active when it is at most so far below the loudest 1 % of frames: the span of speech, above a usual line's noise."""

_LEVELS = 97  # 0 dBFS down to -96 dBFS, the smallest step of 16 bits


@dataclass(frozen=True, slots=True)
class Voice:
    """One channel to write: the mean of these channels of the source."""

    members: tuple[int, ...]


class ChannelEvidence:
    """What was heard on each channel and how channels relate, gathered block by block.

    Args:
        channels: Channels of every block.
    """

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self._rest = np.zeros((0, channels), dtype=np.int16)
        # All counted by the level of the louder of two channels, index = decibels below full scale.
        self._either = np.zeros((channels, channels, _LEVELS), dtype=np.int64)
        self._owned = np.zeros((channels, channels, _LEVELS), dtype=np.int64)  # [i, j]: i owns the frame against j
        self._alone = np.zeros((channels, _LEVELS), dtype=np.int64)
        self._loudest = np.zeros(_LEVELS, dtype=np.int64)
        self._products = np.zeros((channels, channels), dtype=np.float64)

    def hear(self, block: NDArray[np.int16]) -> None:
        """Take in the next block of shape (samples, channels); fewer than 320 samples at the very end are not heard."""
        joined = np.concatenate((self._rest, block)) if len(self._rest) else block
        count = len(joined) // FRAME
        self._rest = joined[count * FRAME :].copy()
        if not count:
            return
        frames = joined[: count * FRAME].reshape(count, FRAME, self.channels).astype(np.float32) / np.float32(32_768)
        frames -= frames.mean(axis=1, keepdims=True)  # a constant offset is no sound, and correlates with any other
        flat = frames.reshape(-1, self.channels)
        self._products += (flat.T @ flat).astype(np.float64)
        power = np.einsum("fsc,fsc->fc", frames, frames) / FRAME
        decibels = 10 * np.log10(np.maximum(power, 1e-12))
        level = np.clip(np.rint(-decibels), 0, _LEVELS - 1).astype(np.int64)
        self._loudest += np.bincount(level.min(axis=1), minlength=_LEVELS)
        for one in range(self.channels):
            self._alone[one] += np.bincount(level[:, one], minlength=_LEVELS)
            for other in range(one):
                louder = np.minimum(level[:, one], level[:, other])
                ahead = decibels[:, one] - decibels[:, other]
                self._either[one, other] += np.bincount(louder, minlength=_LEVELS)
                self._owned[one, other] += np.bincount(louder[ahead >= DOMINANT_DB], minlength=_LEVELS)
                self._owned[other, one] += np.bincount(louder[ahead <= -DOMINANT_DB], minlength=_LEVELS)

    def voices(self, *, keep_channels: bool) -> tuple[Voice, ...]:
        """Decide what to write: one voice per channel that holds something of its own, in the order of the source.

        A silent channel is dropped; a channel that does not differ from an earlier one joins it. With ``keep_channels`` false, or
        when nothing differs, there is one voice. Channels that would cancel each other are not both members of one voice.
        """
        audible = [c for c in range(self.channels) if self._alone[c, : -SILENT_DBFS + 1].sum() >= OWN_FRAMES]
        groups: list[list[int]] = []
        for channel in audible or range(self.channels):
            if not audible or not keep_channels:
                same = groups[0] if groups else None
            else:
                same = next((group for group in groups if not self._differ(channel, group[0])), None)
            if same is None:
                groups.append([channel])
            else:
                same.append(channel)
        return tuple(Voice(self._without_cancelling(group)) for group in groups)

    def _differ(self, one: int, other: int) -> bool:
        active = slice(0, self._floor() + 1)
        either = self._either[max(one, other), min(one, other), active].sum()
        owned = [int(self._owned[a, b, active].sum()) for a, b in ((one, other), (other, one))]
        heard = [int(self._alone[channel, active].sum()) for channel in (one, other)]
        has_own = all(
            own >= max(OWN_FRAMES, OWN_SHARE * own_heard) for own, own_heard in zip(owned, heard, strict=True)
        )
        return has_own and sum(owned) >= DIFFERENT_SHARE * either

    def _floor(self) -> int:
        """Decibels below full scale down to which a frame is active."""
        counts = np.cumsum(self._loudest[: -SILENT_DBFS + 1])
        loud = int(np.searchsorted(counts, 0.01 * counts[-1], side="right"))
        return min(loud + ACTIVE_RANGE_DB, -SILENT_DBFS)

    def _correlation(self, one: int, other: int) -> float:
        energy = float(self._products[one, one] * self._products[other, other])
        return float(self._products[one, other]) / energy**0.5 if energy > 0 else 0.0

    def _without_cancelling(self, group: list[int]) -> tuple[int, ...]:
        loudest = max(group, key=lambda channel: self._products[channel, channel])
        return tuple(c for c in group if c == loudest or self._correlation(c, loudest) > CANCELLING_CORRELATION)


def mix(block: NDArray[np.int16], voices: tuple[Voice, ...]) -> NDArray[np.int16]:
    """Return the voices of a block: shape (samples, channels) in, (samples, voices) out."""
    out = np.empty((len(block), len(voices)), dtype=np.int16)
    for index, voice in enumerate(voices):
        if len(voice.members) == 1:
            out[:, index] = block[:, voice.members[0]]
        else:
            out[:, index] = np.rint(block[:, voice.members].mean(axis=1, dtype=np.float32))
    return out
