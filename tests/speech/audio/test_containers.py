"""Which files are opened and which are refused; names, extensions and references to other files do not matter."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from speech.audio.containers import probe
from speech.audio.errors import BadAudioError
from tests.speech.audio.encodings import encode, expect_error, truncate, write, write_film

TONE = 0.3 * np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000)
PLAYLIST = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nreal.wav\n#EXT-X-ENDLIST\n"


def make_mp3() -> bytes:
    return encode_tone("MP3")


def encode_tone(container: str) -> bytes:
    from io import BytesIO

    buffer = BytesIO()
    soundfile.write(buffer, TONE, 16_000, format=container)
    return buffer.getvalue()


def make_picture(codec: str, pixels: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    context = av.CodecContext.create(codec, "w")
    context.width = context.height = 96
    context.pix_fmt = pixels
    context.time_base = Fraction(1, 1)
    frame = av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format=pixels)
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def make_id3_tag(cover: bytes) -> bytes:
    picture_frame = b"\x00image/png\x00\x03\x00" + cover
    body = b"APIC" + len(picture_frame).to_bytes(4, "big") + b"\x00\x00" + picture_frame
    return b"ID3\x03\x00\x00" + bytes(len(body) >> shift & 0x7F for shift in (21, 14, 7, 0)) + body


def get_error_kind(path: Path) -> str:
    with pytest.raises(BadAudioError) as caught:
        probe(path)
    assert caught.value.sentence.endswith(".")
    return caught.value.kind


def test_the_facts_of_a_container_are_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", np.stack((TONE, TONE), axis=1), 44_100)
    info = probe(tmp_path / "a.flac")
    assert (info.container, info.codec, info.sample_rate, info.channels, info.audio_streams, info.has_video) == (
        "FLAC",
        "flac",
        44_100,
        2,
        1,
        False,
    )
    assert info.duration_s == pytest.approx(32_000 / 44_100)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.m3u8", PLAYLIST),
        ("list.mp3", PLAYLIST),
        ("list.wav", "ffconcat version 1.0\nfile real.wav\n"),
        ("list.ffconcat", "ffconcat version 1.0\nfile real.wav\n"),
        ("list.pls", "[playlist]\nFile1=real.wav\nNumberOfEntries=1\n"),
        ("call.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n"),
        ("film.mpd", '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"></MPD>'),
        ("words.srt", "1\n00:00:01,000 --> 00:00:02,000\nhello\n\n"),
        ("letter.mp3", "Grüße aus dem Büro\n" * 200),
    ],
)
def test_a_file_that_refers_to_other_files_is_refused_even_if_they_exist(
    tmp_path: Path, name: str, content: str
) -> None:
    soundfile.write(tmp_path / "real.wav", TONE, 16_000)
    (tmp_path / name).write_text(content)
    assert get_error_kind(tmp_path / name) == "not_audio"


@pytest.mark.parametrize(("codec", "pixels"), [("png", "rgb24"), ("mjpeg", "yuvj420p")])
def test_a_picture_is_not_a_recording_whatever_its_name(tmp_path: Path, codec: str, pixels: str) -> None:
    (tmp_path / "a.mp3").write_bytes(make_picture(codec, pixels))
    assert get_error_kind(tmp_path / "a.mp3") == "not_audio"


@pytest.mark.parametrize("size", [1, 60, 5_000, 300_000])
def test_random_bytes_are_not_a_recording(tmp_path: Path, size: int) -> None:
    (tmp_path / "a.mp3").write_bytes(np.random.default_rng(size).bytes(size))
    assert get_error_kind(tmp_path / "a.mp3") == "not_audio"


@pytest.mark.parametrize("cover_bytes", [20_000, 3_000_000], ids=["usual", "larger than FFmpeg looks"])
def test_an_mp3_with_cover_art_is_audio_and_not_video(tmp_path: Path, cover_bytes: int) -> None:
    cover = make_picture("png", "rgb24")
    (tmp_path / "a.mp3").write_bytes(make_id3_tag(cover * (cover_bytes // len(cover) + 1)) + make_mp3())
    info = probe(tmp_path / "a.mp3")
    assert (info.container, info.audio_streams, info.has_video) == ("MP3", 1, False)


@pytest.mark.parametrize(
    "name",
    [
        b"-i.mp3",
        b"-",
        b"http:x.mp3",
        b"concat:a|b.mp3",
        b"%03d.mp3",
        b"caf\xe9 \xff.mp3",
        b"real.m3u8",
        b"no extension",
    ],
)
def test_the_name_of_a_file_is_never_interpreted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(os.fsdecode(name))
    path.write_bytes(make_mp3())
    assert probe(path).container == "MP3"


def test_a_file_without_audio_bytes_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    assert get_error_kind(tmp_path / "a.wav") == "empty"
    (tmp_path / "b.mp3").write_bytes(make_id3_tag(b"cover"))
    assert get_error_kind(tmp_path / "b.mp3") == "empty"


def test_a_missing_file_is_not_an_error_of_the_recording(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        probe(tmp_path / "a.wav")


def test_a_header_that_is_cut_off_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(encode_tone("WAV")[:22])
    assert get_error_kind(tmp_path / "a.wav") == "truncated"
    (tmp_path / "a.flac").write_bytes(encode_tone("FLAC")[:20])
    assert get_error_kind(tmp_path / "a.flac") == "undecodable"


def test_a_header_without_samples_is_empty(tmp_path: Path) -> None:
    assert expect_error(write(tmp_path / "a.wav", np.zeros(0))).kind == "empty"


def test_an_mp4_cut_within_its_index_is_truncated_and_not_without_sound(tmp_path: Path) -> None:
    assert expect_error(truncate(encode(tmp_path / "a", "m4a, index first"), 0.002)).kind == "truncated"


def test_a_video_without_sound_is_refused_with_that_reason(tmp_path: Path) -> None:
    assert expect_error(write_film(tmp_path / "a.mp4", sound_starts=())).kind == "no_audio_stream"


def test_several_audio_streams_are_listed(tmp_path: Path) -> None:
    info = probe(write_film(tmp_path / "a.mp4", sound_starts=(0, 0)))
    assert (info.has_video, info.audio_streams) == (True, 2)
    assert [(track.number, track.is_default, track.language) for track in info.tracks] == [
        (1, True, "und"),
        (2, False, "und"),
    ]
