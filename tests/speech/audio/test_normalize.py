"""Any container in, one WAV out: length, samples, channels, and limits of length, disk and memory."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speech.audio.normalize import normalize, read_window
from tests.speech.audio.encodings import (
    ENCODINGS,
    encode,
    expect_error,
    find_onset_s,
    make_syllables,
    normalize_beside,
    write,
)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_container_gives_the_same_recording(tmp_path: Path, encoding: str) -> None:
    result = normalize_beside(encode(tmp_path / "a", encoding))
    assert result.flags == {}
    assert result.channels == 1
    assert result.duration_s == pytest.approx(10, abs=0.15)  # encoders pad to whole frames; two AAC frames are 128 ms
    assert find_onset_s(tmp_path / "a") == pytest.approx(0.25, abs=0.1)


def test_samples_are_those_of_the_reference_decoder(tmp_path: Path) -> None:
    """Published word error rates were measured with the decoding of faster-whisper."""
    from faster_whisper import decode_audio

    path = encode(tmp_path / "a.flac", "flac", rate=44_100)
    normalize_beside(path)
    reference = decode_audio(str(path))
    np.testing.assert_array_equal(read_window(tmp_path / "target.tmp", 0, 60)[0], reference)


@pytest.mark.parametrize(
    ("rate", "subtype"), [(8_000, "ULAW"), (8_000, "GSM610"), (96_000, "PCM_24"), (16_000, "DOUBLE")]
)
def test_sample_rates_and_formats_of_telephones_and_studios(tmp_path: Path, rate: int, subtype: str) -> None:
    result = normalize_beside(write(tmp_path / "a.wav", make_syllables(2, rate), rate, subtype))
    assert result.duration_s == pytest.approx(2, abs=0.05)  # GSM pads to blocks of 40 ms


def test_silent_clipped_and_very_short_signals_are_accepted(tmp_path: Path) -> None:
    assert normalize_beside(write(tmp_path / "a.wav", np.zeros(16_000))).peak_dbfs is None
    assert normalize_beside(
        write(tmp_path / "a.wav", 100 * make_syllables(1), subtype="FLOAT")
    ).peak_dbfs == pytest.approx(0, abs=0.01)
    assert normalize_beside(write(tmp_path / "a.wav", np.full(16_000, 0.5))).peak_dbfs == pytest.approx(-6.02, abs=0.01)
    assert normalize_beside(write(tmp_path / "a.wav", make_syllables(1)[4_000:4_800])).samples_per_channel == 800
    assert normalize_beside(write(tmp_path / "a.wav", make_syllables(1)[:1])).samples_per_channel == 1


def test_equal_bytes_in_give_equal_bytes_out(tmp_path: Path) -> None:
    path = encode(tmp_path / "a", "opus", seconds=2)
    normalize_beside(path)
    first = (tmp_path / "target.tmp").read_bytes()
    normalize_beside(path)
    assert (tmp_path / "target.tmp").read_bytes() == first


def test_two_speakers_keep_their_channels_unless_they_are_to_be_mixed(tmp_path: Path) -> None:
    turn = np.arange(160_000) // 32_000 % 2
    left, right = make_syllables(10, seed=1) * turn, make_syllables(10, seed=2) * (1 - turn)
    path = write(tmp_path / "a.wav", np.stack((left, right), axis=1))
    assert normalize_beside(path).channels == 2
    np.testing.assert_allclose(read_window(tmp_path / "target.tmp", 0, 10), [left, right], atol=1e-4)
    assert normalize_beside(path, keep_channels=False).channels == 1
    np.testing.assert_allclose(read_window(tmp_path / "target.tmp", 0, 10)[0], (left + right) / 2, atol=1e-4)


def test_an_inverted_channel_does_not_cancel_the_mix(tmp_path: Path) -> None:
    samples = make_syllables(3)
    normalize_beside(write(tmp_path / "a.wav", np.stack((samples, -samples), axis=1)))
    np.testing.assert_allclose(np.abs(read_window(tmp_path / "target.tmp", 0, 3)[0]), np.abs(samples), atol=1e-4)


@pytest.mark.parametrize("encoding", ["wav", "mp3 without header"], ids=["announced", "found out"])
def test_a_recording_that_is_too_long_is_refused(tmp_path: Path, encoding: str) -> None:
    bad = expect_error(encode(tmp_path / "a", encoding), max_hours=5 / 3600)
    assert bad.kind == "too_long"
    assert "STT_MAX_RECORDING_HOURS" in bad.sentence
    assert normalize_beside(tmp_path / "a", max_hours=11 / 3600)


def test_a_full_disk_is_not_an_error_of_the_recording(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", make_syllables(5))
    target = tmp_path / "target.tmp"
    target.symlink_to("/dev/full")
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number is the point
        normalize(path, target)
    assert caught.value.errno == errno.ENOSPC
    assert not target.is_symlink()


def test_a_file_size_limit_is_not_an_error_of_the_recording_and_leaves_no_file(tmp_path: Path) -> None:
    """The error comes in the middle of the file; a full device fails at its start."""
    path = write(tmp_path / "a.wav", make_syllables(30))
    script = (
        "import sys, pathlib; from speech.audio.normalize import normalize\n"
        "try: normalize(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))\n"
        "except OSError as error: print(error.errno)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(path), str(tmp_path / "target.tmp")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(run.stdout) == errno.EFBIG
    assert [file.name for file in tmp_path.iterdir()] == ["a.wav"]


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    """Half an hour in stereo is 115 MB of samples; less than a third of it may be needed on top of the interpreter."""
    minute = np.stack((make_syllables(60, seed=1), make_syllables(60, seed=2)), axis=1)
    with soundfile.SoundFile(tmp_path / "a.flac", "w", 16_000, 2, subtype="PCM_16") as file:
        for _ in range(30):
            file.write(minute)
    script = (
        "import resource, sys, pathlib; from speech.audio.normalize import normalize\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert normalize(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])).duration_s == 1800\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "a.flac"), str(tmp_path / "target.tmp")]
    grown_kib = int(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)
    assert grown_kib < 35_000
