"""Mixes channels of the same sound into one, without letting them cancel each other.

Two microphones with opposite poles, or a voice that a stereo effect put into opposite phase, vanish in the mean of the channels. It
may be so for one voice of several, or for a part of a recording. So for every 20 ms a channel that is in opposite phase to an
earlier one is turned over before the mean is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FRAME_SAMPLES = 320
"""Samples of a frame: 20 ms, about a pitch period or two and shorter than any syllable."""

MIN_CORRELATION = 0.6
"""Two channels carry the same sound from this correlation on, in phase or in opposite phase. The mean of two equally loud ones has
lost 7 dB at -0.6. Different sounds come near it by chance only in stretches much shorter than those that are compared."""

_NEIGHBOURS = 2
"""Frames before and behind a frame whose sound is compared with it: 0.1 s in all."""

_PRE_EMPHASIS = 0.97
"""Of speech recognition's usual filter: hum that all channels share would hide a voice that cancels, and here it counts little."""

_SILENT_ENERGY = FRAME_SAMPLES * 4.0
"""Energy of a frame, of 16-bit samples, below which there is nothing to compare: the two lowest bits."""

CONTEXT_SAMPLES = (_NEIGHBOURS + 2) * FRAME_SAMPLES
"""Samples before and behind a block on which its mix depends."""


@dataclass(frozen=True, slots=True)
class OutputChannel:
    """One output channel: the mean of these source channels, some of them turned over where they would cancel."""

    source_channels: tuple[int, ...]


def mix_channels(block: NDArray[np.int16], outputs: tuple[OutputChannel, ...]) -> NDArray[np.int16]:
    """Mix an int16 block of shape (samples, channels) to int16 of shape (samples, output channels).

    Means are rounded to the nearest integer.
    """
    mixed = np.empty((len(block), len(outputs)), dtype=np.int16)
    for index, output in enumerate(outputs):
        if len(output.source_channels) == 1:
            mixed[:, index] = block[:, output.source_channels[0]]
        else:
            mixed[:, index] = np.rint(_mix(block[:, output.source_channels]))
    return mixed


def _mix(block: NDArray[np.int16]) -> NDArray[np.float32]:
    """The mean of an int16 block's channels (samples, channels), without losing what cancels. float32 (samples,)."""
    polarity = _find_polarity(_compare_channels(block))
    mean: NDArray[np.float32]
    if (polarity > 0).all():
        mean = block.mean(axis=1, dtype=np.float32)
        return mean
    # Between the middles of two frames one polarity fades into the other.
    middles = (np.arange(len(polarity)) + 0.5) * FRAME_SAMPLES
    samples = np.arange(len(block))
    weights = np.stack([np.interp(samples, middles, column) for column in polarity.T], axis=1).astype(np.float32)
    mean = (block * weights).mean(axis=1, dtype=np.float32)
    return mean


def _compare_channels(block: NDArray[np.int16]) -> NDArray[np.float32]:
    """Correlation of each two channels around each frame, -1 to 1, 0 in silence: float32 (frames, channels, channels)."""
    samples = np.zeros((len(block) + -len(block) % FRAME_SAMPLES, block.shape[1]), dtype=np.float32)
    samples[1 : len(block)] = block[1:] - np.float32(_PRE_EMPHASIS) * block[:-1]
    frames = samples.reshape(-1, FRAME_SAMPLES, block.shape[1])
    products = np.einsum("fsc,fsd->fcd", frames, frames)
    padded = np.pad(products, ((_NEIGHBOURS, _NEIGHBOURS), (0, 0), (0, 0)))
    around = sum(padded[shift : shift + len(products)] for shift in range(2 * _NEIGHBOURS + 1))
    energies = np.maximum(np.einsum("fcc->fc", around), _SILENT_ENERGY)
    correlations: NDArray[np.float32] = around / np.sqrt(energies[:, :, None] * energies[:, None, :])
    return correlations


def _find_polarity(correlations: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 or -1 for each frame and channel. The first channel that carries a sound keeps its phase, and later ones follow it."""
    frames, channels, _ = correlations.shape
    polarity = np.ones((frames, channels), dtype=np.float32)
    for channel in range(1, channels):
        is_open = np.ones(frames, dtype=bool)
        for earlier in range(channel):
            correlation = correlations[:, channel, earlier]
            follows = is_open & (np.abs(correlation) >= MIN_CORRELATION)
            polarity[follows, channel] = np.sign(correlation[follows]) * polarity[follows, earlier]
            is_open &= ~follows
    return polarity
