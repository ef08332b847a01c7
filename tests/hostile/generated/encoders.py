"""Files of many kinds made of sound, complete or with headers that say something wrong."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

Channels = NDArray[np.float64]
"""Samples of shape (n, channels), full scale 1."""

_LIBSNDFILE = {
    "wav": ("WAV", "PCM_16"),
    "wav 24 bit": ("WAV", "PCM_24"),
    "wav float": ("WAV", "FLOAT"),
    "wav u-law": ("WAV", "ULAW"),
    "rf64": ("RF64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "au": ("AU", "PCM_16"),
}
"""Encoding -> libsndfile's container and sample format."""

_FFMPEG: dict[str, tuple[str, str, dict[str, str]]] = {
    "flac": ("flac", "flac", {}),
    "mp3": ("mp3", "mp3", {}),
    "opus": ("ogg", "libopus", {}),
    "m4a": ("mp4", "aac", {}),
    "m4a, fragments": ("mp4", "aac", {"movflags": "frag_keyframe+empty_moov", "frag_duration": "500000"}),
    "mp4": ("mp4", "aac", {}),
    "mov": ("mov", "pcm_s16le", {}),
    "mkv": ("matroska", "aac", {}),
    "mkv, flac": ("matroska", "flac", {}),
    "mkv, live": ("matroska", "aac", {"live": "1"}),
    "webm": ("webm", "libopus", {}),
    "webm, live": ("webm", "libopus", {"live": "1"}),
    "ts": ("mpegts", "aac", {}),
    "aac": ("adts", "aac", {}),
    "avi": ("avi", "mp3", {}),
    "flv": ("flv", "aac", {}),
}
"""Encoding -> FFmpeg's container and codec, and options of the container."""

LOSSLESS = ("wav", "rf64", "aiff", "caf", "au", "flac", "mov", "mkv, flac", "wav 24 bit", "wav float")
EVERY = (*_LIBSNDFILE, *_FFMPEG)
WITH_TRACKS = ("mp4", "mov", "mkv", "mkv, flac", "mkv, live", "ts", "avi")
WITH_PICTURES = ("mp4", "mkv", "mkv, live", "ts")

_SUFFIXES = {"rf64": "wav", "m4a, fragments": "m4a"}


@dataclass(frozen=True, slots=True)
class Track:
    """One audio track.

    Attributes:
        sound: Its samples.
        start_s: Where it begins.
        gaps: Moments of the sound from which on its timestamps are later, and by how much, both in seconds.
    """

    sound: Channels
    start_s: float = 0.0
    gaps: tuple[tuple[float, float], ...] = ()


def get_suffix(encoding: str) -> str:
    """The usual suffix of a file's name."""
    return _SUFFIXES.get(encoding, encoding.split(",", maxsplit=1)[0].split(" ", maxsplit=1)[0])


def encode(encoding: str, tracks: Sequence[Track], rate: int, pictures_s: float = 0.0) -> bytes:
    """Encode tracks.

    Args:
        encoding: One of ``EVERY``.
        tracks: One, or several where the encoding is in ``WITH_TRACKS``.
        rate: Sample rate of every track in Hz.
        pictures_s: Length of a video of grey frames from time zero, where the encoding is in ``WITH_PICTURES``.
    """
    if encoding in _LIBSNDFILE:
        (track,) = tracks
        container, subtype = _LIBSNDFILE[encoding]
        buffer = io.BytesIO()
        soundfile.write(buffer, track.sound, rate, format=container, subtype=subtype)
        return buffer.getvalue()
    container, codec, options = _FFMPEG[encoding]
    return _encode_with_ffmpeg(container, codec, options, tracks, rate, pictures_s)


def _encode_with_ffmpeg(
    container: str, codec: str, options: dict[str, str], tracks: Sequence[Track], rate: int, pictures_s: float
) -> bytes:
    buffer = io.BytesIO()
    # Otherwise some containers get a number by chance.
    with av.open(buffer, "w", format=container, options={"fflags": "bitexact", **options}) as writer:
        video = writer.add_stream("mpeg4", rate=5) if pictures_s else None
        layouts = ["mono" if track.sound.shape[1] == 1 else _LAYOUTS[track.sound.shape[1]] for track in tracks]
        streams = [writer.add_stream(codec, rate=rate, layout=layout) for layout in layouts]
        packets = []
        if video is not None:
            video.width = video.height = 32
            video.pix_fmt = "yuv420p"
            for index in range(round(pictures_s * 5)):
                picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), index % 256, np.uint8), format="rgb24")
                picture.pts, picture.time_base = index, Fraction(1, 5)
                packets += [(index / 5, packet) for packet in video.encode(picture)]
            packets += [(pictures_s, packet) for packet in video.encode(None)]
        for track, stream, layout in zip(tracks, streams, layouts, strict=True):
            packets += _encode_track(track, stream, layout, rate)
        for _, packet in sorted(packets, key=lambda item: item[0]):
            writer.mux(packet)
    return buffer.getvalue()


def _encode_track(track: Track, stream: av.AudioStream, layout: str, rate: int) -> list[tuple[float, av.Packet]]:
    sound = (np.clip(track.sound, -1, 1) * 32_767).astype(np.int16)
    frame_size = 960
    packets = []
    for start in range(0, len(sound), frame_size):
        late_s = track.start_s + sum(seconds for moment, seconds in track.gaps if start / rate >= moment)
        block = np.ascontiguousarray(sound[start : start + frame_size]).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(block, format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start + round(late_s * rate), Fraction(1, rate)
        packets += [(start / rate + late_s, packet) for packet in stream.encode(frame)]
    last_s = len(sound) / rate + track.start_s + sum(seconds for _, seconds in track.gaps)
    return packets + [(last_s, packet) for packet in stream.encode(None)]


_LAYOUTS = {2: "stereo", 4: "4.0", 6: "5.1", 8: "7.1"}


def set_wav_data_size(content: bytes, size: int) -> bytes:
    """Let the ``data`` chunk of a WAV claim this many bytes."""
    return _overwrite(content, content.index(b"data") + 4, struct.pack("<I", size & 0xFFFF_FFFF))


def scale_wav_data_size(content: bytes, share: float) -> bytes:
    """Let the ``data`` chunk of a WAV claim this share of its bytes."""
    position = content.index(b"data") + 4
    (size,) = struct.unpack_from("<I", content, position)
    return set_wav_data_size(content, int(size * share) & ~1)


def scale_riff_size(content: bytes, share: float) -> bytes:
    """Let the outer chunk of a WAV claim this share of its bytes."""
    (size,) = struct.unpack_from("<I", content, 4)
    return _overwrite(content, 4, struct.pack("<I", int(size * share)))


def scale_flac_length(content: bytes, share: float) -> bytes:
    """Let the header of a FLAC claim this share of its samples."""
    fields = int.from_bytes(content[18:26], "big")
    count = int((fields & (1 << 36) - 1) * share)
    return _overwrite(content, 18, (fields >> 36 << 36 | count).to_bytes(8, "big"))


def scale_mp3_length(content: bytes, share: float) -> bytes:
    """Let the header of an MP3 claim this share of its frames and bytes."""
    position = next(content.find(tag) for tag in (b"Xing", b"Info") if tag in content) + 8
    frames, size = struct.unpack_from(">II", content, position)
    return _overwrite(content, position, struct.pack(">II", int(frames * share), int(size * share)))


def scale_mp4_length(content: bytes, share: float) -> bytes:
    """Let the boxes of an MP4 that tell a length claim this share of it; its table of samples stays."""
    for box, offset in ((b"mvhd", 20), (b"mdhd", 20), (b"tkhd", 24)):
        position = content.find(box)
        while position >= 0:
            (duration,) = struct.unpack_from(">I", content, position + offset)
            content = _overwrite(content, position + offset, struct.pack(">I", int(duration * share)))
            position = content.find(box, position + 4)
    return content


def scale_matroska_length(content: bytes, share: float) -> bytes:
    """Let the header of a Matroska file claim this share of its length."""
    position = content.index(b"\x44\x89\x88")  # the element Duration, a float of eight bytes
    (duration,) = struct.unpack_from(">d", content, position + 3)
    return _overwrite(content, position + 3, struct.pack(">d", duration * share))


def scale_aiff_length(content: bytes, share: float) -> bytes:
    """Let the chunks of an AIFF claim this share of its frames and bytes."""
    position = content.index(b"COMM") + 10
    (frames,) = struct.unpack_from(">I", content, position)
    content = _overwrite(content, position, struct.pack(">I", int(frames * share)))
    position = content.index(b"SSND") + 4
    (size,) = struct.unpack_from(">I", content, position)
    return _overwrite(content, position, struct.pack(">I", int(size * share) & ~1))


def _overwrite(content: bytes, position: int, value: bytes) -> bytes:
    return content[:position] + value + content[position + len(value) :]


@dataclass(frozen=True, slots=True)
class WrongHeader:
    """A header that is not true.

    Attributes:
        encoding: The encoding that has it.
        what: What it says.
        apply: Makes it, of a file that is right.
    """

    encoding: str
    what: str
    apply: Callable[[bytes], bytes]


WRONG_HEADERS = (
    WrongHeader("wav", "data of half the bytes", lambda content: scale_wav_data_size(content, 0.5)),
    WrongHeader("wav", "data of a tenth of the bytes", lambda content: scale_wav_data_size(content, 0.1)),
    WrongHeader("wav", "data of no bytes", lambda content: set_wav_data_size(content, 0)),
    WrongHeader("wav", "data without end", lambda content: set_wav_data_size(content, 0xFFFF_FFFF)),
    WrongHeader("wav", "data of 2 GiB", lambda content: set_wav_data_size(content, 0x7FFF_FFFF)),
    WrongHeader("wav", "data twice as long", lambda content: scale_wav_data_size(content, 2)),
    WrongHeader("wav", "RIFF of half the bytes", lambda content: scale_riff_size(content, 0.5)),
    WrongHeader("wav", "RIFF of no bytes", lambda content: scale_riff_size(content, 0)),
    WrongHeader("wav 24 bit", "data of half the bytes", lambda content: scale_wav_data_size(content, 0.5)),
    WrongHeader("aiff", "half the length", lambda content: scale_aiff_length(content, 0.5)),
    WrongHeader("flac", "half the length", lambda content: scale_flac_length(content, 0.5)),
    WrongHeader("flac", "no length", lambda content: scale_flac_length(content, 0)),
    WrongHeader("flac", "twice the length", lambda content: scale_flac_length(content, 2)),
    WrongHeader("mp3", "half the length", lambda content: scale_mp3_length(content, 0.5)),
    WrongHeader("mp3", "a tenth of the length", lambda content: scale_mp3_length(content, 0.1)),
    WrongHeader("mp3", "twice the length", lambda content: scale_mp3_length(content, 2)),
    WrongHeader("m4a", "half the length", lambda content: scale_mp4_length(content, 0.5)),
    WrongHeader("m4a", "a tenth of the length", lambda content: scale_mp4_length(content, 0.1)),
    WrongHeader("mp4", "no length", lambda content: scale_mp4_length(content, 0)),
    WrongHeader("mkv", "half the length", lambda content: scale_matroska_length(content, 0.5)),
    WrongHeader("mkv", "a tenth of the length", lambda content: scale_matroska_length(content, 0.1)),
    WrongHeader("webm", "half the length", lambda content: scale_matroska_length(content, 0.5)),
    WrongHeader("webm", "twice the length", lambda content: scale_matroska_length(content, 2)),
)
