"""Declared lengths: a file that is shorter than its header says is truncated; without a declared length nothing is."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.speech.audio.encodings import (
    encode,
    expect_error,
    make_syllables,
    normalize_beside,
    truncate,
    write,
)

DECLARES_LENGTH = ("wav", "flac", "aiff", "caf", "mp3", "m4a", "m4a, index first", "webm", "mkv")
DECLARES_NO_LENGTH = ("mp3 without header", "aac", "m4a, fragments", "webm, live", "mkv, live", "mpegts")


@pytest.mark.parametrize("encoding", DECLARES_LENGTH)
def test_a_recording_cut_in_half_is_refused_if_its_header_declares_more(tmp_path: Path, encoding: str) -> None:
    error = expect_error(truncate(encode(tmp_path / "a", encoding), 0.5))
    assert error.kind == "truncated"
    assert "Deliver it again" in error.sentence


@pytest.mark.parametrize("encoding", DECLARES_NO_LENGTH)
def test_without_a_declared_length_half_a_file_is_a_shorter_recording(tmp_path: Path, encoding: str) -> None:
    """Bit rates vary here, so a length estimated from them would be wrong."""
    assert normalize_beside(truncate(encode(tmp_path / "a", encoding), 0.5)).duration_s == pytest.approx(5, abs=1.1)


def test_a_truncated_recording_is_kept_and_flagged_on_request(tmp_path: Path) -> None:
    path = truncate(encode(tmp_path / "a.flac", "flac"), 0.5)
    sentence = expect_error(path).sentence
    assert sentence.startswith("FLAC promises 10.0 s, but only ")
    assert "STT_ACCEPT_PARTIAL=true" in sentence
    result = normalize_beside(path, accept_partial=True)
    assert result.duration_s == pytest.approx(5, abs=0.5)
    assert result.flags["partial"] == sentence.partition(" Deliver")[0]


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.995])
def test_an_ogg_file_declares_no_length_but_marks_its_end(tmp_path: Path, share: float) -> None:
    path = encode(tmp_path / "a.opus", "opus")
    assert normalize_beside(path).flags == {}
    error = expect_error(truncate(path, share))
    assert error.kind == "truncated"
    assert "lacks the page that marks its end" in error.sentence
    result = normalize_beside(path, accept_partial=True)
    assert 0 < result.duration_s < 10
    assert result.flags["partial"].startswith("The Ogg file lacks the page that marks its end")


def test_an_ogg_file_cut_between_two_pages_is_detected(tmp_path: Path) -> None:
    """All remaining pages are complete, so only the missing mark shows the damage."""
    path = encode(tmp_path / "a.opus", "opus")
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"OggS")])
    assert expect_error(path).kind == "truncated"


def test_a_recording_that_lost_a_little_at_its_end_is_kept_and_flagged(tmp_path: Path) -> None:
    """0.6 s of 30 s are missing."""
    result = normalize_beside(truncate(write(tmp_path / "a.wav", make_syllables(30)), 0.98))
    assert result.duration_s == pytest.approx(29.4, abs=0.01)
    assert result.flags == {"partial": "WAV promises 30.0 s, but only 29.4 s can be decoded."}


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF, 0xFFFF_FFDB, 0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000])
def test_the_header_of_a_wav_written_into_a_pipe_declares_no_length(tmp_path: Path, size: int) -> None:
    data = bytearray(write(tmp_path / "a.wav", make_syllables(2)).read_bytes())
    struct.pack_into("<I", data, data.index(b"data") + 4, size)
    (tmp_path / "a.wav").write_bytes(data)
    result = normalize_beside(tmp_path / "a.wav")
    assert (result.duration_s, result.flags) == (2, {})
