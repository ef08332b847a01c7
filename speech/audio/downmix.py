"""Mixes channels of the same sound into one, without letting them cancel each other.

Two microphones with opposite poles, or a voice that a stereo effect put into opposite phase, vanish in the mean of the channels. It
may be so for one voice of several, or for a part of a recording, so it is decided anew every 20 ms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FRAME_SAMPLES = 320
"""Samples of a frame: 20 ms, about a pitch period or two and shorter than any syllable."""

CANCELLED_SHARE = 1 / 8
"""Below this share (-9 dB) of the loudest channel's energy the mean has lost sound. Two equal channels have it at a correlation
below -0.75. Sound in one of two channels alone keeps a quarter, and its mean stays as it is."""

_PRE_EMPHASIS = 0.97
"""Of speech recognition's usual filter: hum that all channels share would hide a voice that cancels, and here it counts little."""

_MARGIN_FRAMES = 5
"""Frames before and behind a cancelled one that are taken from the same channel: 0.1 s, so that no syllable is cut."""

_SILENT_ENERGY = FRAME_SAMPLES * 4.0
"""Energy of a frame, of 16-bit samples, below which there is nothing to keep: the two lowest bits."""


@dataclass(frozen=True, slots=True)
class OutputChannel:
    """One output channel: the mean of these source channels, or one of them where the mean would lose sound."""

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
            mixed[:, index] = _mix(block[:, output.source_channels])
    return mixed


def _mix(block: NDArray[np.int16]) -> NDArray[np.float32]:
    """The mean of an int16 block's channels (samples, channels); where they cancel, the loudest of them. float32 (samples,)."""
    mean: NDArray[np.float32] = block.mean(axis=1, dtype=np.float32)
    energies = _measure_energies(block)
    loudest = energies.max(axis=1)
    is_cancelled = (_measure_energies(mean[:, None])[:, 0] < CANCELLED_SHARE * loudest) & (loudest > _SILENT_ENERGY)
    if is_cancelled.any():
        is_replaced = np.convolve(is_cancelled, np.ones(2 * _MARGIN_FRAMES + 1), "same") > 0
        edges = np.flatnonzero(np.diff(is_replaced, prepend=False, append=False))
        for first, end in zip(edges[::2], edges[1::2], strict=True):
            channel = int(energies[first:end].sum(axis=0).argmax())
            mean = _fade_in(mean, block[:, channel], first * FRAME_SAMPLES, end * FRAME_SAMPLES)
    return np.rint(mean).astype(np.float32)


def _measure_energies(block: NDArray[np.int16] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Energy of each frame of each channel after pre-emphasis: float32 (frames, channels); the last frame may be shorter."""
    samples = block.astype(np.float32)
    samples[1:] -= np.float32(_PRE_EMPHASIS) * samples[:-1].copy()
    samples[0] = 0
    padded = np.pad(samples, ((0, -len(samples) % FRAME_SAMPLES), (0, 0)))
    frames = padded.reshape(-1, FRAME_SAMPLES, padded.shape[1])
    energies: NDArray[np.float32] = np.einsum("fsc,fsc->fc", frames, frames)
    return energies


def _fade_in(mean: NDArray[np.float32], channel: NDArray[np.int16], start: int, end: int) -> NDArray[np.float32]:
    """Replace samples ``start`` to ``end`` of the mean by those of a channel; over a frame at either side both are mixed."""
    places = np.arange(len(mean))
    inside = np.minimum(places - (start - FRAME_SAMPLES), (end + FRAME_SAMPLES) - places) / np.float32(FRAME_SAMPLES)
    weight = np.clip(inside, 0, 1).astype(np.float32)
    faded: NDArray[np.float32] = mean + weight * (channel.astype(np.float32) - mean)
    return faded
