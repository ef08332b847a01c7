"""Finds tracks that carry the same sound as others: a copy in another codec, or a mix beside the microphones it was made of.

Such a track must not be heard twice. It must not be mixed with the others either: it is often some milliseconds late, and the
mean would sound hollow. Sound is compared by correlation, in blocks of a second and with delays up to half a second.
Long recordings are compared at evenly spaced places, so that neither time nor memory grows with the length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech.audio.channels import SILENT_DBFS
from speech.audio.downmix import MIN_CORRELATION
from speech.audio.wav import SAMPLE_RATE

BLOCK_S = 1
"""Seconds that are compared at once: longer than a word and shorter than most turns."""

MAX_BLOCKS = 900
"""Most blocks that are compared: 15 minutes of sound are looked at completely, of longer ones as much, evenly spread."""

MAX_COMPARISONS = 15_000
"""Most correlations that are computed, so that many tracks do not take minutes."""

ACTIVE_RANGE_DB = 25
"""A block counts if its level is at most this many dB below the loudest blocks of its channel: speech, no pauses."""

MAX_FAINTNESS_DB = 6
"""A sound is faint in another channel if it is more than this much below its level in its own, and below the other's own sound."""

MAX_HEARD_FAINTLY = 0.05
"""A channel is no copy of one that hears it faintly in more than this share of blocks: both are microphones in one room."""

MIN_CARRIED_SHARE = 0.8
"""A block is carried by others if they explain at least this share of its energy. A voice 6 dB below it adds more."""

MIN_AUDIBLE_CORRELATION = 0.5
"""Below, what else the other track holds is so much louder that a voice is not understood there."""

MAX_OWN_SHARE = 0.005
"""A track is a copy if at most this share of its blocks is not found in others: a click, or a damaged packet."""

MOSTLY_SHARE = 0.5
"""A track is another version of the same sound if at least this share of its blocks is found in others."""

_RATE = SAMPLE_RATE // 2  # at which sound is compared: what tells voices apart is below 4 kHz
_BLOCK_SAMPLES = BLOCK_S * _RATE
_MAX_LAG_SAMPLES = _RATE // 2
"""Longest delay that is looked for: half a second, more than codecs and sound cards cause. With none, channels can be mixed."""

IDENTICAL_CORRELATION = 0.95
"""From here on two channels differ by what a codec does. Below, each may hold sounds that the other lacks."""

RELATED_CORRELATION = 0.3
"""From here on two blocks share a sound, such as a voice in two microphones of a room. Different sounds stay below 0.2."""

MIN_RELATED_SHARE = 0.2
"""Channels are related if they share a sound in at least this share of the blocks in which either is active."""

_FFT_SAMPLES = _BLOCK_SAMPLES + 2 * _MAX_LAG_SAMPLES
_MIN_ENERGY_SHARE = 1e-4
_PRE_EMPHASIS = np.float32(0.97)

ReadWindow = Callable[[int, int], NDArray[np.float32]]
"""Gives float32 (channels, n) of ``n`` samples from a position on; n is smaller at the end."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A track that is not to be heard, because others carry its sound.

    Attributes:
        copied: The tracks that carry it.
        own_s: Approximate seconds that no other track carries; 0 for a copy.
    """

    copied: tuple[int, ...]
    own_s: float


class SoundComparison:
    """Correlations between channels of different tracks, block by block.

    Args:
        track_of: For each channel the index of its track.
    """

    def __init__(self, track_of: Sequence[int]) -> None:
        self._track_of = np.asarray(track_of)
        channels = len(track_of)
        self._pairs = [(i, c) for i in range(channels) for c in range(channels) if track_of[i] != track_of[c]]
        self._block_s: float = BLOCK_S
        # Of block b and channels i, c: how well c's block is found in i, how loud in i compared with c (dB), and at which delay.
        self._levels = np.zeros((0, channels), dtype=np.float32)
        self._matches = np.zeros((0, channels, channels), dtype=np.float32)
        self._gains_db = np.zeros_like(self._matches)
        self._lags = np.zeros_like(self._matches)

    def compare(self, read: ReadWindow, frames: int) -> None:
        """Compare the recording, or as many of its blocks as the limits allow.

        Args:
            read: Reads all channels.
            frames: Length in samples.
        """
        starts = np.arange(0, frames, BLOCK_S * SAMPLE_RATE)
        most = max(1, min(MAX_BLOCKS, MAX_COMPARISONS // len(self._pairs)))
        if len(starts) > most:
            starts = starts[np.linspace(0, len(starts) - 1, most).round().astype(int)]
            self._block_s = frames / SAMPLE_RATE / most
        channels = len(self._track_of)
        self._levels = np.zeros((len(starts), channels), dtype=np.float32)
        self._matches = np.zeros((len(starts), channels, channels), dtype=np.float32)
        self._gains_db, self._lags = np.zeros_like(self._matches), np.zeros_like(self._matches)
        for index, start in enumerate(starts):
            self._compare_block(index, _read_around(read, int(start)))

    def _compare_block(self, index: int, window: NDArray[np.float32]) -> None:
        """Compare each channel's block with the others around it; float32 (channels, block and delays)."""
        blocks = window[:, _MAX_LAG_SAMPLES : _MAX_LAG_SAMPLES + _BLOCK_SAMPLES]
        self._levels[index] = 10 * np.log10(np.maximum(np.mean(blocks**2, axis=1), 1e-12))
        emphasised = window.copy()
        emphasised[:, 1:] -= _PRE_EMPHASIS * window[:, :-1]
        blocks = emphasised[:, _MAX_LAG_SAMPLES : _MAX_LAG_SAMPLES + _BLOCK_SAMPLES]
        energies = np.einsum("cs,cs->c", blocks, blocks)
        sums = np.cumsum(np.pad(emphasised.astype(np.float64) ** 2, ((0, 0), (1, 0))), axis=1)
        # Energy of each channel's stretch at every delay.
        around = sums[:, _BLOCK_SAMPLES:] - sums[:, :-_BLOCK_SAMPLES]
        wide, narrow = np.fft.rfft(emphasised, _FFT_SAMPLES), np.fft.rfft(blocks, _FFT_SAMPLES).conj()
        for inside, channel in self._pairs:
            if self._levels[index, channel] <= SILENT_DBFS or self._levels[index, inside] <= SILENT_DBFS:
                continue
            products = np.fft.irfft(wide[inside] * narrow[channel], _FFT_SAMPLES)[: 2 * _MAX_LAG_SAMPLES + 1]
            # Where a channel is all but silent, rounding errors of its louder parts would correlate.
            floor = _MIN_ENERGY_SHARE * around[inside].max()
            correlations = np.abs(products) / np.sqrt(np.maximum(around[inside], floor) * energies[channel])
            best = int(np.argmax(correlations))
            self._matches[index, inside, channel] = correlations[best]
            self._gains_db[index, inside, channel] = 20 * np.log10(max(abs(products[best]) / energies[channel], 1e-6))
            self._lags[index, inside, channel] = best - _MAX_LAG_SAMPLES

    def are_related(self, first: int, second: int) -> bool:
        """Whether two channels share a sound, faintly or not."""
        is_active = self._find_active()
        either = is_active[:, first] | is_active[:, second]
        best = np.maximum(self._matches[:, first, second], self._matches[:, second, first])
        return bool((best[either] >= RELATED_CORRELATION).sum() >= MIN_RELATED_SHARE * max(int(either.sum()), 1))

    def would_cancel(self, first: int, second: int) -> bool:
        """Whether the mean of two channels would sound hollow: both hold a sound about equally loud, and one is late."""
        pair = (slice(None), [first, second], [second, first])
        is_same = (self._matches[pair] >= MIN_CORRELATION) & (np.abs(self._gains_db[pair]) < MAX_FAINTNESS_DB)
        is_late = self._lags[pair] != 0
        blocks = self._find_active()[:, [first, second]].any(axis=1).sum()
        return bool((is_same & is_late).any(axis=1).sum() > MIN_RELATED_SHARE * max(int(blocks), 1))

    def find_copies(self) -> dict[int, Finding]:
        """The tracks that are not to be heard: mixes of others first, then copies, later ones before earlier ones."""
        is_active, shares = self._find_active(), self._explain()
        tracks = sorted(set(self._track_of.tolist()))
        left_out: dict[int, Finding] = {}
        for only_mixes in (True, False):
            for track in reversed(tracks):
                others = [other for other in tracks if other != track and other not in left_out]
                finding = self._judge(track, others, is_active, shares) if track not in left_out else None
                if finding is not None and not (only_mixes and (len(finding.copied) < 2 or finding.own_s)):
                    left_out[track] = finding
        return left_out

    def _explain(self) -> NDArray[np.float32]:
        """The share of the energy of channel c's block b that channel i explains, 0 to 1: (b, i, c)."""
        is_found = (self._matches >= MIN_CORRELATION) & self._find_active()[:, None, :]
        # How loud a channel's sound is in another one, both measured by their own loudest sound.
        loudest = self._find_loudest_db()
        # What c holds besides i's sound makes the correlation and the gain smaller, and no sound fainter.
        gains_db = self._gains_db - 40 * np.log10(np.maximum(self._matches, MIN_CORRELATION))
        faintness = np.minimum(loudest[:, None] - loudest[None, :] - gains_db, -gains_db)
        heard_faintly = (is_found & (faintness > MAX_FAINTNESS_DB)).sum(axis=0)
        in_one_room = heard_faintly > MAX_HEARD_FAINTLY * np.maximum(self._find_active().sum(axis=0), 1)
        # If i holds c's sound and more, the correlation is low, but the gain is that of other blocks.
        # If c holds i's sound and more, both are low.
        gains = np.power(np.float32(10), self._gains_db / 20)
        usual = np.maximum(_find_percentile(gains, is_found, 90), 1e-6)
        shares = np.minimum(np.maximum(self._matches**2, gains / usual), 1)
        is_usable = (self._matches >= RELATED_CORRELATION) & is_found.any(axis=0) & ~(in_one_room | in_one_room.T)
        return np.where(is_usable, shares, 0).astype(np.float32)

    def _judge(
        self, track: int, others: Sequence[int], is_active: NDArray[np.bool_], shares: NDArray[np.float32]
    ) -> Finding | None:
        channels = np.flatnonzero(self._track_of == track)
        active_blocks = int(is_active[:, channels].any(axis=1).sum())
        carriers = list(others)
        own_blocks = self._count_own_blocks(channels, carriers, is_active, shares)
        for other in reversed(others):  # the fewest tracks that carry as much
            fewer = [carrier for carrier in carriers if carrier != other]
            own_of_fewer = self._count_own_blocks(channels, fewer, is_active, shares)
            if fewer and own_of_fewer <= max(own_blocks, MAX_OWN_SHARE * active_blocks):
                carriers = fewer
        inside = np.flatnonzero(np.isin(self._track_of, carriers))
        matches = self._matches[:, inside][:, :, channels]
        is_found = (matches >= MIN_CORRELATION) & (shares[:, inside][:, :, channels] > 0)
        if not is_found.any():
            return None
        is_synchronous = bool(np.median(np.abs(self._lags[:, inside][:, :, channels][is_found])) == 0)
        if own_blocks <= MAX_OWN_SHARE * active_blocks:
            is_identical = bool(np.percentile(matches[is_found], 5) >= IDENTICAL_CORRELATION)
            if is_synchronous and len(channels) == len(inside) == 1 and not is_identical:
                return None  # mixed like left and right, they lose nothing
            return Finding(tuple(carriers), 0.0)
        if is_synchronous or own_blocks > (1 - MOSTLY_SHARE) * active_blocks:
            return None
        return Finding(tuple(carriers), own_blocks * self._block_s)

    def _count_own_blocks(
        self,
        channels: NDArray[np.intp],
        carriers: Sequence[int],
        is_active: NDArray[np.bool_],
        shares: NDArray[np.float32],
    ) -> int:
        """Active blocks in which a channel holds sound that these tracks do not carry."""
        inside = np.flatnonzero(np.isin(self._track_of, carriers))
        own = np.zeros(len(is_active), dtype=bool)
        for channel in channels:
            explained = np.zeros(len(is_active), dtype=np.float32)
            used: list[int] = []
            for other in sorted(inside.tolist(), key=lambda other: -float(shares[:, other, channel].sum())):
                # What two carriers share is counted once.
                is_new = ~(self._matches[:, used, other] >= MIN_AUDIBLE_CORRELATION).any(axis=1)
                explained += np.where(is_new, shares[:, other, channel], 0)
                used.append(other)
            best = self._matches[:, inside, channel].max(axis=1, initial=0)
            is_carried = (explained >= MIN_CARRIED_SHARE) & (best >= MIN_AUDIBLE_CORRELATION)
            own |= is_active[:, channel] & ~is_carried
        return int(own.sum())

    def _find_loudest_db(self) -> NDArray[np.float32]:
        return np.percentile(self._levels, 99, axis=0).astype(np.float32)

    def _find_active(self) -> NDArray[np.bool_]:
        """Blocks and channels that count: bool (blocks, channels)."""
        is_active: NDArray[np.bool_] = self._levels > SILENT_DBFS
        return is_active & (self._levels >= self._find_loudest_db() - ACTIVE_RANGE_DB)


def _find_percentile(values: NDArray[np.float32], counts: NDArray[np.bool_], percent: float) -> NDArray[np.float32]:
    """The percentile along the first axis of the values that count; 0 where none does."""
    ordered = np.sort(np.where(counts, values, np.inf), axis=0)
    position = np.maximum(np.ceil(counts.sum(axis=0) * percent / 100).astype(int) - 1, 0)
    found: NDArray[np.float32] = np.take_along_axis(ordered, position[None], axis=0)[0]
    return np.where(counts.any(axis=0), found, 0).astype(np.float32)


def _read_around(read: ReadWindow, start: int) -> NDArray[np.float32]:
    """Read a block and the longest delay on both sides at half the sample rate; zeros where there is nothing."""
    begin, count = start - 2 * _MAX_LAG_SAMPLES, 2 * _FFT_SAMPLES
    skipped = max(-begin, 0)
    samples = read(begin + skipped, count - skipped)
    padded = np.zeros((len(samples), count), dtype=np.float32)
    padded[:, skipped : skipped + samples.shape[1]] = samples
    halved: NDArray[np.float32] = padded.reshape(len(samples), -1, 2).mean(axis=2)
    return halved
