"""The normalized WAV: what is written is read back, window by window, also beyond 4 GiB."""

from __future__ import annotations

import os
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from speech.audio.wav import SAMPLE_RATE, WavReader, WavWriter, read_window


def make_ramp(frames: int, channels: int = 1) -> NDArray[np.int16]:
    """Samples that show their position: sample n of channel c is n + 1000 c, modulo 16 bits."""
    return (np.arange(frames)[:, None] + 1000 * np.arange(channels)).astype(np.int16)


def write(path: Path, *blocks: NDArray[np.int16], riff_limit: int = 0xFFFF_FFFF) -> Path:
    writer = WavWriter(path, blocks[0].shape[1], riff_limit=riff_limit)
    for block in blocks:
        writer.write(block)
    writer.finish()
    return path


@pytest.mark.parametrize("channels", [1, 2, 3, 8])
def test_other_programs_can_read_the_file(tmp_path: Path, channels: int) -> None:
    path = write(tmp_path / "a.wav", make_ramp(700, channels), make_ramp(300, channels))
    samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    assert rate == SAMPLE_RATE
    np.testing.assert_array_equal(samples, np.concatenate((make_ramp(700, channels), make_ramp(300, channels))))


def test_a_header_that_is_too_small_becomes_rf64_and_windows_are_still_found(tmp_path: Path) -> None:
    """Beyond 4 GiB only the header differs, so a lower limit tests it without writing 4 GiB."""
    path = write(tmp_path / "a.wav", make_ramp(SAMPLE_RATE, 2), riff_limit=1000)
    head = path.read_bytes()[:80]
    assert (head[:8], head[12:16], head[72:]) == (b"RF64\xff\xff\xff\xff", b"ds64", b"data\xff\xff\xff\xff")
    assert struct.unpack_from("<QQQ", head, 20) == (path.stat().st_size - 8, SAMPLE_RATE * 4, SAMPLE_RATE)
    assert soundfile.info(path).frames == SAMPLE_RATE
    np.testing.assert_array_equal(read_window(path, 0.5, 0.75) * 32_768, make_ramp(SAMPLE_RATE, 2)[8000:12_000].T)


def test_a_file_beyond_four_gibibytes_can_be_read_at_its_end(tmp_path: Path) -> None:
    """The real size, as a sparse file, where 32-bit headers fail."""
    path = tmp_path / "long.wav"
    writer = WavWriter(path, 1)
    writer.frames = 5 << 30 >> 1
    with path.open("r+b") as file:
        file.truncate(80 + (5 << 30))
    writer.finish()
    with path.open("r+b") as file:
        file.seek(-8, os.SEEK_END)
        file.write(np.array([1, 2, 3, 4], dtype="<i2").tobytes())
    with WavReader(path) as wav:
        assert wav.frames == 5 << 30 >> 1
        np.testing.assert_array_equal(wav.read(wav.frames - 4, 10) * 32_768, [[1, 2, 3, 4]])


def test_equal_audio_gives_equal_bytes(tmp_path: Path) -> None:
    first = write(tmp_path / "one.wav", make_ramp(100))
    second = write(tmp_path / "two.wav", make_ramp(60), make_ramp(100)[60:])
    assert first.read_bytes() == second.read_bytes()


def test_adjoining_windows_neither_overlap_nor_leave_a_sample_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", make_ramp(SAMPLE_RATE))
    edges = [0, 0.1234567, 1 / 3, 0.5, 0.99999, 2]
    windows = [read_window(path, start, stop) for start, stop in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(windows, axis=1) * 32_768, make_ramp(SAMPLE_RATE).T)
    assert windows[0].dtype == np.float32


def test_a_window_beyond_the_end_is_empty(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", make_ramp(100, 2))
    assert read_window(path, 5, 6).shape == (2, 0)


def test_downmixing_keeps_the_samples_and_shortens_the_file(tmp_path: Path) -> None:
    """Longer than one block, so that reading and writing touch the same bytes."""
    path = tmp_path / "a.wav"
    audio = make_ramp((1 << 18) * 2 + 123, 3)
    writer = WavWriter(path, 3)
    writer.write(audio)
    writer.downmix(lambda block: block[:, [2]], 1)
    writer.finish()
    samples, _ = soundfile.read(path, dtype="int16")
    np.testing.assert_array_equal(samples, audio[:, 2])
    assert path.stat().st_size == 80 + 2 * len(audio)


def test_the_peak_is_that_of_the_written_samples_and_silence_has_none(tmp_path: Path) -> None:
    writer = WavWriter(tmp_path / "a.wav", 1)
    writer.write(np.zeros((10, 1), dtype=np.int16))
    assert writer.peak_dbfs is None
    writer.write(np.array([[-16_384], [5]], dtype=np.int16))
    assert writer.peak_dbfs == pytest.approx(-6.02, abs=0.01)
    writer.finish()


def test_a_file_of_another_program_is_refused_with_a_reason(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 8000)
    with pytest.raises(ValueError, match="8000 Hz"):
        WavReader(tmp_path / "a.wav")
    (tmp_path / "b.wav").write_bytes(b"no audio")
    with pytest.raises(ValueError, match="Normalize the recording again"):
        WavReader(tmp_path / "b.wav")
    with pytest.raises(FileNotFoundError):
        WavReader(tmp_path / "c.wav")
