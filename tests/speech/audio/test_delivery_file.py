"""The bytes that FFmpeg is given, and how often it may ask for them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from speech.audio.containers import probe
from speech.audio.delivery_file import DeliveryFile
from speech.audio.errors import BadAudioError
from tests.speech.audio.encodings import encode, expect_error, normalize_beside
from tests.speech.audio.test_extent import make_chunk, make_wav


@pytest.fixture
def file(tmp_path: Path) -> Iterator[DeliveryFile]:
    (tmp_path / "a").write_bytes(b"ID3\x04\0\0\0\0\0\x02xx" + bytes(range(100)))
    with (tmp_path / "a").open("rb") as opened:
        yield DeliveryFile(opened)


def test_position_0_is_behind_a_tag(file: DeliveryFile) -> None:
    assert (file.size, file.read(3), file.tell()) == (100, b"\0\x01\x02", 3)
    assert file.seek(-101, 2) < 0, "an error number and no exception, which would be one of the machine"
    assert file.seek(-2, 2) == 98
    assert (file.read(10), file.read(10), file.tell()) == (b"bc", b"", 100)


def test_bytes_are_replaced_and_the_end_is_hidden_for_ffmpeg_only(file: DeliveryFile) -> None:
    file.show(50, ((10, b"abcd"),))
    assert file.peek(8, 8) == b"\x08\x09abcd\x0e\x0f"
    assert file.peek(12, 1) == b"c"
    assert (file.peek(48, 10), file.size, file.full_size) == (b"\x30\x31", 50, 100)
    assert file.open_from(8).peek(0, 4) == b"\x08\x09\x0a\x0b"


def test_a_position_before_the_first_byte_is_an_error_of_the_recording_and_not_of_the_machine(tmp_path: Path) -> None:
    """A chunk with a negative size made FFmpeg seek there, and the step failed of an ``OSError``."""
    caf = encode(tmp_path / "a", "caf", seconds=1).read_bytes()
    (tmp_path / "a").write_bytes(caf + b"info" + struct.pack(">q", -(1 << 40)) + bytes(3_000))
    assert normalize_beside(tmp_path / "a").duration_s == 1


@pytest.mark.parametrize("behind", [bytes(8 << 20), b"abcd\0\0\0\0" * (1 << 20)], ids=["zeros", "empty chunks"])
def test_what_lies_behind_the_sound_costs_few_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: bytes
) -> None:
    """FFmpeg walks it in steps of 8 bytes, twice, and each step is a call of Python: 40 MiB took 16 s."""
    calls = 0
    count_call = DeliveryFile._count_call

    def count(self: DeliveryFile) -> None:
        nonlocal calls
        calls += 1
        count_call(self)

    monkeypatch.setattr(DeliveryFile, "_count_call", count)
    (tmp_path / "a").write_bytes(make_wav(behind=make_chunk(b"LIST", b"INFOabcd") + behind))
    assert normalize_beside(tmp_path / "a").duration_s == 6
    assert calls < 200


def test_millions_of_chunks_before_the_sound_are_refused(tmp_path: Path) -> None:
    wav = make_wav()
    (tmp_path / "a").write_bytes(wav[:36] + b"abcd\0\0\0\0" * (1 << 20) + wav[36:])
    error = expect_error(tmp_path / "a")
    assert error.kind == "undecodable"
    assert "more steps than any recording needs" in error.sentence


def test_a_thousand_chunks_before_the_sound_are_not(tmp_path: Path) -> None:
    wav = make_wav()
    (tmp_path / "a").write_bytes(wav[:36] + b"abcd\0\0\0\0" * 1_000 + wav[36:])
    assert normalize_beside(tmp_path / "a").duration_s == 6


def test_hundreds_of_thousands_of_tags_are_not_walked(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"ID3\x04\0\0\0\0\0\0" * 400_000 + b"x" * 5_000)
    with pytest.raises(BadAudioError):
        probe(tmp_path / "a")
