"""Bytes that were not read when the sound ended: other recordings in the file, and what no header counts."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from tests.speech.audio.encodings import encode, make_syllables, normalize_beside, write_film
from tests.speech.audio.encodings import write as write_sound

GARBAGE = np.random.default_rng(0).bytes(200_000)


@pytest.mark.parametrize(
    "encoding", ["wav", "aiff", "caf", "flac", "mp3", "aac", "m4a", "m4a, index first", "mkv", "flv", "mpegts"]
)
def test_two_files_in_one_are_both_read(tmp_path: Path, encoding: str) -> None:
    path = encode(tmp_path / "a", encoding, seconds=4)
    once = normalize_beside(path)
    path.write_bytes(path.read_bytes() * 2)
    assert normalize_beside(path).duration_s == pytest.approx(2 * once.duration_s, abs=0.15)
    assert once.flags == {}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("mkv", 16_000), ("mkv", 44_100)),
        (("mkv", 16_000), ("webm", 48_000)),
        (("mkv, live flac", 16_000), ("mkv, live flac", 44_100)),
        (("avi", 16_000), ("avi", 44_100)),
        (("m4a", 16_000), ("m4a", 44_100)),
        (("wav", 16_000), ("flac", 44_100)),
        (("flac", 16_000), ("opus", 48_000)),
    ],
)
def test_two_files_of_other_rates_and_containers_are_both_read(
    tmp_path: Path, first: tuple[str, int], second: tuple[str, int]
) -> None:
    content = b"".join(
        encode(tmp_path / f"part{number}", encoding, seconds=seconds, rate=rate).read_bytes()
        for number, ((encoding, rate), seconds) in enumerate(((first, 3), (second, 5)))
    )
    folder = tmp_path / "joined"
    folder.mkdir()
    (folder / "a").write_bytes(content)
    result = normalize_beside(folder / "a")
    assert (result.duration_s, result.flags) == (pytest.approx(8, abs=0.1), {})


@pytest.mark.parametrize("encoding", ["mp3", "mp3 without header", "flac", "opus"])
def test_bytes_of_another_kind_behind_packets_are_reported(tmp_path: Path, encoding: str) -> None:
    path = encode(tmp_path / "a", encoding, seconds=4, rate=48_000)
    path.write_bytes(path.read_bytes() + b"No sound, but a log of the recorder. " * 1_000)
    assert "may hold more of the recording" in normalize_beside(path).flags["partial"]


def test_packets_that_the_table_of_a_caf_leaves_out_are_reported(tmp_path: Path) -> None:
    path = encode(tmp_path / "a", "caf, alac", seconds=8)
    content = bytearray(path.read_bytes())
    table = content.index(b"pakt")
    packets, frames = struct.unpack_from(">qq", content, table + 12)
    struct.pack_into(">qq", content, table + 12, packets // 2, frames // 2)
    path.write_bytes(content)
    assert "may hold more of the recording" in normalize_beside(path, accept_partial=True).flags["partial"]


def test_a_gap_in_the_second_of_two_files_is_filled_in(tmp_path: Path) -> None:
    content = encode(tmp_path / "a", "mkv", seconds=4).read_bytes()
    path = encode(tmp_path / "a", "mkv", seconds=4, gap=(2, 3))
    path.write_bytes(content + path.read_bytes())
    result = normalize_beside(path)
    assert result.duration_s == pytest.approx(11, abs=0.15)
    assert result.flags["gaps"].startswith("The timestamps jump: 3.0 s")


def test_a_film_of_two_files_is_read_whole(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4", sound_starts=(0,))
    path.write_bytes(path.read_bytes() * 2)
    result = normalize_beside(path)
    assert (result.duration_s, result.flags) == (pytest.approx(8, abs=0.2), {})


def test_fragments_of_two_files_are_read_once(tmp_path: Path) -> None:
    path = encode(tmp_path / "a", "m4a, fragments", seconds=4)
    path.write_bytes(path.read_bytes() * 2)
    assert normalize_beside(path).duration_s == pytest.approx(8, abs=0.6)


def test_a_second_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    path = encode(tmp_path / "a", "m4a", seconds=4)
    path.write_bytes(path.read_bytes() + encode(tmp_path / "b", "m4a", seconds=4).read_bytes()[:9_000])
    (tmp_path / "b").unlink()
    result = normalize_beside(path)
    assert result.duration_s == pytest.approx(4, abs=0.1)
    assert "the one at byte" in result.flags["partial"]
    assert "no complete index" in result.flags["partial"]


def test_a_second_file_that_is_cut_off_is_reported(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", make_syllables(4))
    path.write_bytes(path.read_bytes() + path.read_bytes()[:70_000])
    result = normalize_beside(path)
    assert result.duration_s == pytest.approx(6.2, abs=0.1)
    assert result.flags["partial"].startswith("Recording 2 of those in the file promises 4.0 s")


@pytest.mark.parametrize("encoding", ["m4a", "m4a, index first"])
def test_bytes_behind_an_mp4_that_are_no_box_are_reported(tmp_path: Path, encoding: str) -> None:
    path = encode(tmp_path / "a", encoding, seconds=4)
    path.write_bytes(path.read_bytes() + GARBAGE)
    assert normalize_beside(path).flags["partial"].startswith("200,000 bytes at byte ")


def test_media_data_that_the_index_of_an_mp4_leaves_out_is_reported(tmp_path: Path) -> None:
    """The recorder stopped between two writes of the index."""
    path = encode(tmp_path / "a", "m4a, index first", seconds=4)
    content = bytearray(path.read_bytes())
    box = content.index(b"mdat") - 4
    struct.pack_into(">I", content, box, struct.unpack_from(">I", content, box)[0] + len(GARBAGE))
    path.write_bytes(bytes(content) + GARBAGE)
    assert normalize_beside(path).flags["partial"].startswith("200,000 bytes at byte ")


@pytest.mark.parametrize("behind", [bytes(300_000), b"\0\0\x10\0free" + bytes(4_088), b"\0\0\0\x08free" * 2_000])
def test_free_space_behind_an_mp4_is_not_reported(tmp_path: Path, behind: bytes) -> None:
    path = encode(tmp_path / "a", "m4a", seconds=4)
    path.write_bytes(path.read_bytes() + behind)
    assert normalize_beside(path).flags == {}


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_a_film_whose_sound_ends_before_its_pictures_is_complete(tmp_path: Path, name: str) -> None:
    result = normalize_beside(write_film(tmp_path / name, sound_starts=(0,), seconds=30, sound_s=5))
    assert "partial" not in result.flags


@pytest.mark.parametrize("encoding", ["mp3", "mp3 without header", "flac", "aac"])
@pytest.mark.parametrize("tag", [b"TAG" + b"title".ljust(125, b"\0"), bytes(40_000)], ids=["ID3v1", "zeros"])
def test_tags_and_zeros_at_the_end_are_not_reported(tmp_path: Path, encoding: str, tag: bytes) -> None:
    path = encode(tmp_path / "a", encoding, seconds=4)
    path.write_bytes(path.read_bytes() + tag)
    assert normalize_beside(path).flags == {}


@pytest.mark.parametrize("encoding", ["mp3 without header", "aac"])
def test_a_tag_between_two_recordings_is_not_reported(tmp_path: Path, encoding: str) -> None:
    path = encode(tmp_path / "a", encoding, seconds=4)
    content = path.read_bytes()
    path.write_bytes(content + b"ID3\x04\0\0\0\0\x7f\x7f" + bytes(16_383) + content)
    result = normalize_beside(path)
    assert result.duration_s == pytest.approx(8, abs=0.3)
    assert "may hold more" not in result.flags.get("partial", "")


def test_a_voc_that_the_demuxer_gives_up_in_the_middle_is_reported(tmp_path: Path) -> None:
    samples = (make_syllables(4) * 32_767).astype("<i2").tobytes()
    half = len(samples) // 2
    head = b"Creative Voice File\x1a\x1a\0\x0a\x01\x29\x11"
    block = b"\x09" + (half + 12).to_bytes(3, "little") + struct.pack("<IBBHI", 16_000, 16, 1, 4, 0) + samples[:half]
    (tmp_path / "a").write_bytes(head + block + b"\xee\x10\0\0" + samples[half:])
    result = normalize_beside(tmp_path / "a")
    assert result.duration_s == pytest.approx(2, abs=0.1)
    assert "may hold more of the recording" in result.flags["partial"]


@pytest.mark.parametrize("zeros", [30_000, 3_000_000])
def test_zeros_in_the_middle_of_a_transport_stream_end_nothing(tmp_path: Path, zeros: int) -> None:
    path = encode(tmp_path / "a", "mpegts", seconds=8)
    content = path.read_bytes()
    half = len(content) // 2 // 188 * 188
    path.write_bytes(content[:half] + bytes(zeros) + content[half:])
    assert normalize_beside(path).duration_s == pytest.approx(8, abs=0.2)
