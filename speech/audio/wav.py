"""Normalized audio on disk: 16 kHz, signed 16-bit PCM in a WAV file, written as a stream and read in windows.

This module knows the file format, nothing about the sound. The file is RIFF/WAVE. A file above RIFF's limit of 4 GiB becomes RF64
(EBU Tech 3306): a ``JUNK`` chunk reserves 28 bytes, which are overwritten by ``ds64``. We write the header ourselves, so that equal
audio gives equal bytes and every failed write is a plain ``OSError``.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from math import log10
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import soundfile
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Samples a second of all audio that is transcribed; what Whisper and the voice-activity model were trained on."""

RIFF_LIMIT = 0xFFFF_FFFF
"""The largest size a RIFF header can hold; in an RF64 header this value means "see ds64"."""

_SAMPLE_BYTES = 2  # of one sample
_DOWNMIX_FRAMES = (
    820 * 320
)  # 16 s in whole frames of 20 ms: 0.5 MiB a channel in memory, enough for efficient disk access
_PCM_GUID = struct.pack("<HHHH8s", 1, 0, 0, 0x10, bytes.fromhex("800000aa00389b71"))  # KSDATAFORMAT_SUBTYPE_PCM


class WavWriter:
    """Writes a file block by block. The header is only correct after ``finish``.

    The number of channels can be reduced in place, because channels can only be compared when all audio is written.

    Args:
        path: The file to write; replaced if it exists.
        channels: Channels of every block.
        riff_limit: RIFF size from which on the file is RF64. Only tests use another value.
    """

    def __init__(self, path: Path, channels: int, *, riff_limit: int = RIFF_LIMIT) -> None:
        self.channels = channels
        self.frames = 0
        self.peak = 0
        self._riff_limit = riff_limit
        self._file = path.open("w+b")
        self._file.write(bytes(_compute_header_size(channels)))

    def write(self, block: NDArray[np.int16]) -> None:
        """Append one int16 block of shape (samples, channels) at 16 kHz."""
        if block.shape[0]:
            self.peak = max(self.peak, int(block.max()), -int(block.min()))
        self._file.write(np.ascontiguousarray(block, dtype="<i2").data)
        self.frames += block.shape[0]

    def downmix(self, mix: Callable[[NDArray[np.int16]], NDArray[np.int16]], channels: int, context: int = 0) -> None:
        """Rewrite what was written so far with fewer channels, in blocks, and truncate the file.

        Args:
            mix: Turns an int16 block of shape (n, old channels) into an int16 one of shape (n, ``channels``).
            channels: Channels from now on; fewer than before, so that the write position never passes the read position.
            context: Samples before and behind a block that ``mix`` gets with it; what it makes of them is not written.
        """
        if channels >= self.channels:
            raise ValueError(f"can only fold to fewer than {self.channels} channels, not to {channels}")
        source, target, frames_left = _compute_header_size(self.channels), _compute_header_size(channels), self.frames
        old_channels, self.channels, self.frames, self.peak = self.channels, channels, 0, 0
        before = np.zeros((0, old_channels), dtype="<i2")
        while frames_left:
            count = min(frames_left, _DOWNMIX_FRAMES)
            self._file.seek(source)
            raw = self._file.read((count + min(context, frames_left - count)) * old_channels * _SAMPLE_BYTES)
            block = np.concatenate((before, np.frombuffer(raw, dtype="<i2").reshape(-1, old_channels)))
            mixed = mix(block)[len(before) : len(before) + count]
            self._file.seek(target)
            self.write(mixed)
            # What was read is kept, since the file has other samples there now.
            before = block[: len(before) + count][-context:] if context else before
            source += count * old_channels * _SAMPLE_BYTES
            target += count * channels * _SAMPLE_BYTES
            frames_left -= count
        self._file.seek(target)
        self._file.truncate()

    def finish(self) -> None:
        """Write the header and close the file. Raises ``OSError`` if anything buffered cannot be written."""
        self._file.seek(0)
        self._file.write(_make_header(self.channels, self.frames, self._riff_limit))
        self._file.close()

    def close(self) -> None:
        """Close the file as it stands; after ``finish`` this does nothing."""
        self._file.close()

    @property
    def peak_dbfs(self) -> float | None:
        """Level of the largest sample in decibels below full scale; None for digital silence, which has no level."""
        return 20 * log10(self.peak / 32_768) if self.peak else None


class WavReader:
    """A normalized file, open for reading windows of it; only one window is in memory.

    Raises:
        OSError: The file is missing or unreadable.
        ValueError: It is no 16 kHz WAV, so it was not written by this project.
    """

    def __init__(self, path: Path) -> None:
        # libsndfile gets a file descriptor, not a name: it reads "-" as standard input, rejects names that are not UTF-8 or longer
        # than 1,024 bytes, and its message for a missing file is less useful than an OSError.
        try:
            self._file = soundfile.SoundFile(os.open(path, os.O_RDONLY), closefd=True)
        except soundfile.LibsndfileError as error:
            raise ValueError(
                f"{path} is no normalized audio: {error.error_string} Normalize the recording again."
            ) from error
        if self._file.samplerate != SAMPLE_RATE:
            rate = self._file.samplerate
            self._file.close()
            raise ValueError(
                f"{path} has {rate} Hz, normalized audio has {SAMPLE_RATE} Hz. Normalize the recording again."
            )

    @property
    def channels(self) -> int:
        """Channels of the file."""
        return int(self._file.channels)

    @property
    def frames(self) -> int:
        """Samples of each channel."""
        return int(self._file.frames)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.frames / SAMPLE_RATE

    def read(self, start: int, frames: int) -> NDArray[np.float32]:
        """Return ``frames`` samples from sample ``start`` on, as float32 of shape (channels, n), full scale 1.

        n is smaller at the end of the file, and zero beyond it.
        """
        begin = min(max(start, 0), self.frames)
        self._file.seek(begin)
        block = self._file.read(max(min(start + frames, self.frames) - begin, 0), dtype="float32", always_2d=True)
        return np.ascontiguousarray(block.T)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_window(path: Path, start_s: float, stop_s: float) -> NDArray[np.float32]:
    """Return the window [start_s, stop_s) of a normalized file, as float32 (channels, samples), full scale 1.

    Both ends are rounded to the nearest sample, so consecutive windows neither overlap nor skip a sample.
    """
    start, stop = round(start_s * SAMPLE_RATE), round(stop_s * SAMPLE_RATE)
    with WavReader(path) as wav:
        return wav.read(start, stop - start)


def _make_fmt_chunk(channels: int) -> bytes:
    align = channels * _SAMPLE_BYTES
    rates = (SAMPLE_RATE, SAMPLE_RATE * align, align, 8 * _SAMPLE_BYTES)
    if channels <= 2:
        return struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, *rates)
    # More channels need WAVE_FORMAT_EXTENSIBLE; an empty mask says that they are no loudspeaker positions.
    return struct.pack("<4sIHHIIHHHHI16s", b"fmt ", 40, 0xFFFE, channels, *rates, 22, 8 * _SAMPLE_BYTES, 0, _PCM_GUID)


def _compute_header_size(channels: int) -> int:
    return 12 + 36 + len(_make_fmt_chunk(channels)) + 8


def _make_header(channels: int, frames: int, riff_limit: int) -> bytes:
    data = frames * channels * _SAMPLE_BYTES
    riff = _compute_header_size(channels) - 8 + data
    if riff < riff_limit:
        outer = struct.pack("<4sI4s4sI28x", b"RIFF", riff, b"WAVE", b"JUNK", 28)
        return outer + _make_fmt_chunk(channels) + struct.pack("<4sI", b"data", data)
    outer = struct.pack("<4sI4s4sIQQQI", b"RF64", RIFF_LIMIT, b"WAVE", b"ds64", 28, riff, data, frames, 0)
    return outer + _make_fmt_chunk(channels) + struct.pack("<4sI", b"data", RIFF_LIMIT)
