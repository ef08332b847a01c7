"""Measures how loud a recording is while it is read, and decides the gain of one that is too quiet or beyond full scale.

The voice-activity detector was trained on speech of ordinary level, and hears nothing in a faint recording. Sixteen bits keep
little of it. Floats beyond full scale would be clipped. Such a recording is decoded a second time, with the gain found here. An
ordinary one is read once and not changed: once every channel has been loud for half a second, its level is known well enough.

Levels are those of 20 ms frames without their mean and slope, in decibels relative to full scale (dBFS; a square wave has 0).
Memory does not depend on the length.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech.audio.downmix import FRAME_SAMPLES

QUIET_DBFS = -45
"""Below this level of the loudest frames a gain is used. The detector hears clean speech down to -55 dBFS, and none at -70; speech
in a noisy room fades from -40 dBFS on. The quietest recording of our corpora has -33.5 dBFS."""

TARGET_DBFS = -20
"""Level of the loudest frames after a gain. Those of ordinary recordings have -8 to -33 dBFS."""

MAX_GAIN_DB = 80
"""Most that is added. It brings speech at -100 dBFS to the target; 24 bits hold no clearer speech below that."""

MIN_STEPS_DB = 8
"""Least level of the loudest frames above one step of the source's samples. With 16 bits that is -82 dBFS. At -80 dBFS a fifth to a
half of the words is wrong, and at -85 dBFS the model writes sentences that nobody has said."""

SILENT_DBFS = -120
"""A frame below this level is digital silence, and does not count as a frame of the recording."""

LOUDEST_SHARE = 0.01
"""Share of the frames that counts as the loudest. Their level is exceeded by this share and no more, so a click does not decide."""

MIN_LOUDEST_FRAMES = 3
"""A click is shorter than three frames (0.06 s)."""

MAX_LOUDEST_FRAMES = 25
"""Half a second: a word that stands alone in an hour of noise is the level of that recording."""

HOT_DBFS = 6
"""Frames whose samples exceed full scale by more than this many decibels are beyond it. Lossy codecs overshoot too, by up to 5 dB
where the sound was driven into full scale (Opus, MP3 and AAC at 32 to 96 kbit/s). What is cut off there changes no word."""

OWN_RANGE_DB = 15
"""A quiet channel has sound of its own if it is this loud, relative to its loudest frames, while all others are silent. Its floor
lies as much below. Cross-talk falls silent with its source, and noise has no range."""

QUIET_PAUSE_DB = 25
"""Another channel pauses in frames this far below its loudest ones, or near its floor."""

PAUSE_FRAMES = 25
"""For so many frames (0.5 s) it must have paused, so that the echo of its last word is not taken for another's sound."""

CLIPPED_SAMPLE = 0.98
"""Samples from here on, of full scale 1, stand at full scale; resampling has moved them a little."""

CLIPPED_SHARE = 0.05
"""Share of such samples in the loud frames of a second, from which on it is clipped. Ordinary recordings have 0.001 at most. Four
samples of speech that were clipped harder and harder lost no word up to 0.25, and 2 to 9 % of them at 0.4."""

MIN_CLIPPED_S = 1.0
"""A shorter time that is clipped, in seconds, is a shout or a knock."""

MIN_CLIPPED_RECORDING_SHARE = 0.02
"""Share of the recording that must be clipped."""

_LOWEST, _HIGHEST = -130, 20  # dBFS, of the histogram
_LEVELS = _HIGHEST - _LOWEST + 1
_PEAKS = 401  # dB above full scale: 0 to 400
_LARGEST = np.float32(1e18)  # whose square float32 still holds
_LOUD_FRAME_DBFS = -20  # clipped sound is louder than this
_CLICK_LIMIT = 4  # times full scale
_HALF_WINDOW = FRAME_SAMPLES // 2
_SLOPE = np.arange(FRAME_SAMPLES, dtype=np.float32) - np.float32((FRAME_SAMPLES - 1) / 2)
_SLOPE /= np.sqrt((_SLOPE**2).sum())  # of a frame, with energy 1
_SCALES = {np.dtype(np.int16): 1 << 15, np.dtype(np.int32): 1 << 31}  # full scale; that of floats is 1


@dataclass(frozen=True, slots=True)
class Gain:
    """What each channel becomes louder, or quieter, before its samples are rounded to 16 bits.

    Attributes:
        decibels: For each channel; negative where it is beyond full scale.
    """

    decibels: tuple[float, ...]


class Amplifier:
    """Applies a gain block by block. A channel that becomes louder first loses its offset and its rumble.

    Both may be far louder than the speech, and would be clipped. What is taken away is the mean of the 20 ms around each sample, so
    hum and voices stay. A click counts in it no more than what is clipped anyway.
    """

    def __init__(self, gain: Gain) -> None:
        decibels = np.array(gain.decibels)
        self._factors = np.power(10.0, decibels / 20)
        self._is_louder = (decibels > 0).astype(np.float64)
        self._samples = np.zeros((0, len(decibels)))  # those that are still needed
        self._done = 0  # how many of them have been returned

    def apply(self, block: NDArray[Any]) -> NDArray[np.float64]:
        """Take the next block of shape (samples, channels), and return what is ready: 10 ms less at first, as much as came later.

        What is beyond full scale is left so.
        """
        self._samples = np.concatenate((self._samples, block))
        return self._return_until(max(len(self._samples) - _HALF_WINDOW, self._done))

    def finish(self) -> NDArray[np.float64]:
        """Return what is left, and begin anew."""
        last = self._return_until(len(self._samples))
        self._samples, self._done = self._samples[:0], 0
        return last

    def _return_until(self, end: int) -> NDArray[np.float64]:
        wanted = np.arange(self._done, end)
        sums = np.concatenate((np.zeros((1, len(self._factors))), np.cumsum(self._limit_clicks(), axis=0)))
        first, last = np.maximum(wanted - _HALF_WINDOW, 0), np.minimum(wanted + _HALF_WINDOW, len(self._samples))
        means = (sums[last] - sums[first]) / (last - first)[:, None]
        louder: NDArray[np.float64] = (self._samples[wanted] - means * self._is_louder) * self._factors
        kept = max(end - _HALF_WINDOW, 0)
        self._samples, self._done = self._samples[kept:], end - kept
        return louder

    def _limit_clicks(self) -> NDArray[np.float64]:
        """The samples that are held, each at most some times full scale from the median of its frame once it is amplified."""
        count = len(self._samples)
        padded = np.pad(self._samples, ((0, -count % FRAME_SAMPLES), (0, 0)), mode="edge") if count else self._samples
        medians = np.median(padded.reshape(-1, FRAME_SAMPLES, len(self._factors)), axis=1)
        middles = np.repeat(medians, FRAME_SAMPLES, axis=0)[:count]
        limits = _CLICK_LIMIT / self._factors
        limited: NDArray[np.float64] = np.clip(self._samples, middles - limits, middles + limits)
        return limited


class LevelMeter:
    """Levels of a recording, updated block by block."""

    def __init__(self) -> None:
        self.clipped_s = 0.0
        self._step_dbfs = 0.0
        self._is_loud = False
        self._remainder: NDArray[np.float32] | None = None
        self._frames = 0
        self._peak_counts = np.zeros(
            _PEAKS, dtype=np.int64
        )  # frames by the level of their largest sample above full scale

    def expect_bits(self, bits: int) -> None:
        """Say how many bits the source's samples have. Where this changes, the finer one counts."""
        self._step_dbfs = min(self._step_dbfs, -6.02 * (bits - 1))

    def add_block(self, block: NDArray[Any]) -> None:
        """Add the next block of shape (samples, channels) at 16 kHz: integers of their type's full scale, or floats of 1."""
        if not len(block):
            return
        scale = _SCALES.get(block.dtype, 1)
        peak = max(float(block.max()), -float(block.min())) / scale
        if peak < CLIPPED_SAMPLE and self._is_loud:
            self._frames += len(block) // FRAME_SAMPLES
            return
        samples = np.clip(block, -_LARGEST, _LARGEST).astype(np.float32) / np.float32(scale)
        if peak >= CLIPPED_SAMPLE:
            self._count_clipped(samples)
        if not self._is_loud or peak > 1:
            self._measure(samples, peak)

    def plan_gain(self) -> Gain | None:
        """Decide the gain of every channel; None for an ordinary recording, and for one in which a gain would find nothing."""
        hot_db = self._find_peak_db()
        if hot_db is not None:
            return Gain((-hot_db,) * self._channels)
        levels = self._find_levels()
        loudest = max((level for level in levels if level is not None), default=None)
        if loudest is None:
            return None
        common = 0.0
        if loudest < self._quiet_dbfs:
            if loudest < self._step_dbfs + MIN_STEPS_DB:
                return None
            common = min(TARGET_DBFS - loudest, MAX_GAIN_DB)
        decibels = [
            min(TARGET_DBFS - level, MAX_GAIN_DB)
            if level is not None and level + common < QUIET_DBFS and self._has_own_sound(channel, level)
            else common
            for channel, level in enumerate(levels)
        ]
        return Gain(tuple(decibels)) if any(decibels) else None

    def describe(self, gain: Gain | None, after: LevelMeter, seconds: float) -> dict[str, str]:
        """Flags for what a person must know: flag -> sentence.

        Args:
            gain: What ``plan_gain`` has decided, and what was done.
            after: The meter of the samples that were written; this one where nothing was done.
            seconds: Length of the recording.
        """
        flags = {}
        hot_db = self._find_peak_db()
        if hot_db is not None:
            flags["overdriven"] = (
                f"Samples reach {10 ** (hot_db / 20):,.3g} in place of 1, full scale, as when whole numbers are written as floats. "
                f"All were made {hot_db:.0f} dB quieter, and nothing was cut off. Check the format at export."
            )
        else:
            quiet = self._describe_quiet(gain)
            if quiet:
                flags["quiet"] = quiet
        if after.clipped_s >= max(MIN_CLIPPED_S, MIN_CLIPPED_RECORDING_SHARE * seconds):
            flags["clipped"] = (
                f"About {after.clipped_s:.0f} of {seconds:.0f} s are clipped: many samples stand at full scale, and words may be "
                "wrong there. Listen to them. Lower the microphone's gain, or the level at export, and deliver it again."
            )
        return flags

    def _describe_quiet(self, gain: Gain | None) -> str:
        levels = self._find_levels()
        loudest = max((level for level in levels if level is not None), default=None)
        if loudest is None or (loudest >= self._quiet_dbfs and gain is None):
            return ""
        remedy = "Check the microphone's gain, the cable and the level at export."
        if gain is None and loudest <= self._step_dbfs:
            return ""  # the noise of rounding
        if gain is None:
            return (
                f"The recording is very quiet: its loudest parts lie at {loudest} dBFS, too near the smallest step of its samples "
                f"for words to be made out. Nothing was added. {remedy} Deliver a louder one if somebody speaks."
            )
        if loudest < QUIET_DBFS:
            added = f"{max(gain.decibels):.0f} dB were added before speech was looked for"
            subject = f"The recording is very quiet: its loudest parts lie at {loudest} dBFS"
        else:
            quiet = [channel for channel, decibels in enumerate(gain.decibels) if decibels]
            names = ", ".join(str(channel + 1) for channel in quiet)
            at = ", ".join(f"{levels[channel]}" for channel in quiet)
            added = f"{max(gain.decibels):.0f} dB were added before speech was looked for"
            subject = f"Channel {names} is very quiet: its loudest parts lie at {at} dBFS, those of the loudest channel higher"
        return f"{subject}. {added}; what hardly stands out from the noise may be missing or wrong. {remedy}"

    @property
    def _quiet_dbfs(self) -> int:
        """Below this level a recording is quiet: for 8 bits already where their steps are too coarse."""
        return max(QUIET_DBFS, ceil(self._step_dbfs + MIN_STEPS_DB))

    @property
    def _channels(self) -> int:
        return self._remainder.shape[1] if self._remainder is not None else 0

    def _measure(self, samples: NDArray[np.float32], peak: float) -> None:
        if self._remainder is None:
            channels = samples.shape[1]
            self._remainder = samples[:0]
            self._counts = np.zeros((channels, _LEVELS), dtype=np.int64)
            # [c, i, j]: frames in which channel c has level i, and the loudest other one had j at most for half a second.
            self._pair_counts = np.zeros((channels, _LEVELS, _LEVELS) if channels > 1 else (0, 0, 0), dtype=np.int32)
            self._recent = np.zeros((PAUSE_FRAMES, channels), dtype=np.int64)
        joined = np.concatenate((self._remainder, samples)) if len(self._remainder) else samples
        count = len(joined) // FRAME_SAMPLES
        self._remainder = joined[count * FRAME_SAMPLES :].copy()
        if not count:
            return
        self._frames += count
        # A channel's samples side by side: sums over them are then much faster.
        frames = np.ascontiguousarray(joined[: count * FRAME_SAMPLES].T).reshape(-1, count, FRAME_SAMPLES)
        if peak > 1:
            peaks = np.abs(frames).max(axis=(0, 2))
            over = np.floor(20 * np.log10(peaks[peaks > 1])).astype(np.int64)
            self._peak_counts += np.bincount(np.minimum(over, _PEAKS - 1), minlength=_PEAKS)
        frames = frames - frames.mean(axis=2, keepdims=True)
        power = (np.einsum("cfs,cfs->fc", frames, frames) - (frames @ _SLOPE).T ** 2) / FRAME_SAMPLES
        decibels = np.rint(10 * np.log10(np.maximum(power, 1e-20))).astype(np.int64)
        levels = np.clip(decibels, _LOWEST, _HIGHEST) - _LOWEST
        for channel in range(levels.shape[1]):
            self._counts[channel] += np.bincount(levels[:, channel], minlength=_LEVELS)
        if len(self._pair_counts):
            self._count_pairs(levels)
        self._is_loud = bool((self._counts[:, self._quiet_dbfs - _LOWEST :].sum(axis=1) >= MAX_LOUDEST_FRAMES).all())

    def _count_pairs(self, levels: NDArray[np.int64]) -> None:
        """Count frames by the channel's own level and by the others' highest of the last half second."""
        joined = np.concatenate((self._recent, levels))
        self._recent = joined[-PAUSE_FRAMES:]
        windows = np.lib.stride_tricks.sliding_window_view(joined, PAUSE_FRAMES + 1, axis=0)
        highest = windows.max(axis=-1)
        for channel in range(levels.shape[1]):
            others = np.delete(highest, channel, axis=1).max(axis=1)
            np.add.at(self._pair_counts[channel], (levels[:, channel], others), 1)

    def _count_clipped(self, samples: NDArray[np.float32]) -> None:
        count = len(samples) // FRAME_SAMPLES
        if not count:
            return
        frames = np.abs(samples[: count * FRAME_SAMPLES]).reshape(count, FRAME_SAMPLES, -1)
        loud = (frames > 10 ** (_LOUD_FRAME_DBFS / 20)).any(axis=1).sum(axis=0)
        clipped = (frames >= CLIPPED_SAMPLE).sum(axis=(0, 1))
        if (clipped >= CLIPPED_SHARE * FRAME_SAMPLES * np.maximum(loud, 1)).any():
            self.clipped_s += count * FRAME_SAMPLES / 16_000

    def _find_peak_db(self) -> int | None:
        """Decibels above full scale, rounded up, that only single frames exceed; None where full scale is kept."""
        wanted = _count_loudest(self._frames)
        peak = _find_from_top(self._peak_counts, wanted)
        return None if peak is None or peak < HOT_DBFS else peak + 1

    def _find_levels(self) -> list[int | None]:
        """Level of each channel's loudest frames, dBFS; None for digital silence."""
        if self._remainder is None:
            return []
        levels: list[int | None] = []
        for counts in self._counts:
            sounding = counts[SILENT_DBFS - _LOWEST :]
            level = _find_from_top(sounding, _count_loudest(int(sounding.sum())))
            levels.append(None if level is None else level + SILENT_DBFS)
        return levels

    def _has_own_sound(self, channel: int, level: int) -> bool:
        """Whether a quiet channel is loud, for its own measure, while all others pause."""
        pairs = self._pair_counts[channel]
        if level < self._step_dbfs + MIN_STEPS_DB or not len(pairs):
            return False
        others = pairs.sum(axis=0)
        wanted = _count_loudest(int(others.sum()))
        others_loudest = _find_from_top(others, wanted) or 0
        pause = min(
            max(others_loudest - QUIET_PAUSE_DB, _find_floor(others) + 6), others_loudest - (QUIET_PAUSE_DB - 5)
        )
        alone = pairs[:, : max(pause, 0) + 1].sum(axis=1)
        own = _find_from_top(alone, MIN_LOUDEST_FRAMES * 3)
        floor = _find_floor(self._counts[channel][SILENT_DBFS - _LOWEST :]) + SILENT_DBFS
        if own is None:
            return False
        own_dbfs = own + _LOWEST
        return own_dbfs >= level - OWN_RANGE_DB and own_dbfs >= floor + OWN_RANGE_DB


def _count_loudest(frames: int) -> int:
    return min(max(ceil(LOUDEST_SHARE * frames), MIN_LOUDEST_FRAMES), MAX_LOUDEST_FRAMES)


def _find_from_top(counts: NDArray[np.integer], wanted: int) -> int | None:
    """The highest index at and above which ``wanted`` frames lie; None if there are fewer."""
    reached = np.cumsum(counts[::-1]) >= wanted
    return len(counts) - 1 - int(np.argmax(reached)) if reached.any() else None


def _find_floor(counts: NDArray[np.integer]) -> int:
    """The index below which a tenth of the frames lie."""
    total = np.cumsum(counts)
    return int(np.searchsorted(total, 0.1 * total[-1]))
