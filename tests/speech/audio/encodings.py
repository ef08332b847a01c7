"""Audio files of many encodings, made by the tests, and what is checked of every normalization."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, zip_longest
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from av.audio.stream import AudioStream
from av.stream import Disposition
from numpy.typing import NDArray

from speech.audio.errors import BadAudioError
from speech.audio.normalize import SAMPLE_RATE, NormalizedAudio, normalize, read_window

ENCODINGS = {
    "wav": ("wav", "pcm_s16le", {}),
    "flac": ("flac", "flac", {}),
    "aiff": ("aiff", "pcm_s16be", {}),
    "caf": ("caf", "pcm_s16le", {}),
    "mp3": ("mp3", "mp3", {}),
    "mp3 without header": ("mp3", "mp3", {"write_xing": "0"}),
    "aac": ("adts", "aac", {}),
    "m4a": ("mp4", "aac", {}),
    "m4a, index first": ("mp4", "aac", {"movflags": "faststart"}),
    "m4a, fragments": ("mp4", "aac", {"movflags": "frag_keyframe+empty_moov", "frag_duration": "500000"}),
    "opus": ("ogg", "libopus", {}),
    "ogg flac": ("ogg", "flac", {}),
    "webm": ("webm", "libopus", {}),
    "webm, live": ("webm", "libopus", {"live": "1"}),
    "mkv": ("matroska", "flac", {}),
    "mkv, live": ("matroska", "mp3", {"live": "1"}),
    "avi": ("avi", "pcm_s16le", {}),
    "mkv, live flac": ("matroska", "flac", {"live": "1"}),
    "caf, alac": ("caf", "alac", {}),
    "flv": ("flv", "aac", {}),
    "mpegts": ("mpegts", "aac", {}),
}


def make_syllables(seconds: float, rate: int = 16_000, seed: int = 0) -> NDArray[np.float64]:
    """Bursts of noise, half a second long, after pauses of a quarter second, so that bit rates vary."""
    time = np.arange(round(seconds * rate)) / rate
    return np.random.default_rng(seed).standard_normal(len(time)) * 0.1 * (time % 0.75 >= 0.25)


def encode(
    path: Path,
    encoding: str,
    *,
    seconds: float = 10,
    rate: int = 16_000,
    gap: tuple[float, float] | None = None,
    layout: str = "mono",
) -> Path:
    """Write ``make_syllables`` in this encoding. From second ``gap[0]`` on, timestamps are ``gap[1]`` seconds late."""
    container_format, codec, options = ENCODINGS[encoding]
    samples = (make_syllables(seconds, rate) * 32_767).clip(-32_768, 32_767).astype(np.int16)
    with av.open(str(path), "w", format=container_format, options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        if codec == "mp3":  # a variable bit rate, low at first, so that a length estimated from it is far off
            stream.options = {"flags": "+qscale", "global_quality": "472"}
        for start in range(0, len(samples), 960):
            late = int(gap[1] * rate) if gap and start / rate >= gap[0] else 0
            container.mux(stream.encode(_frame(samples[start : start + 960], rate, start + late, layout)))
        container.mux(stream.encode(None))
    return path


def write_film(
    path: Path, *, sound_starts: tuple[float, ...], seconds: int = 4, sound_s: float | None = None, live: bool = False
) -> Path:
    """Write a video of grey frames with one audio stream per start time, each louder than the one before.

    ``sound_s``: length of the sound; None: to the end of the video.
    ``live``: without a length in the header, as a stream that is being recorded.
    """
    container_format = {".mkv": "matroska", ".ts": "mpegts"}.get(path.suffix, "mp4")
    with av.open(str(path), "w", format=container_format, options={"live": "1"} if live else {}) as container:
        pictures = container.add_stream("mpeg4", rate=10)
        pictures.width = pictures.height = 64
        pictures.pix_fmt = "yuv420p"
        streams = [container.add_stream("aac", rate=16_000, layout="mono") for _ in sound_starts]
        for index in range(seconds * 10):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), index % 256, dtype=np.uint8), format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, 10)
            container.mux(pictures.encode(picture))
        container.mux(pictures.encode(None))
        for number, (stream, begin) in enumerate(zip(streams, sound_starts, strict=True)):
            samples = (make_syllables(sound_s or seconds - begin) * 8_000 * (number + 1)).astype(np.int16)
            for start in range(0, len(samples), 960):
                container.mux(stream.encode(_frame(samples[start : start + 960], 16_000, int(begin * 16_000) + start)))
            container.mux(stream.encode(None))
    return path


@dataclass(frozen=True, slots=True)
class TrackSource:
    """A track to be written.

    Attributes:
        sound: Floats of shape (samples,) or (samples, channels), full scale 1.
        codec: FFmpeg's name of the encoder.
        start_s: When it begins.
        language, title, disposition: As the container declares them.
        damage: Replace every packet by random bytes, so that it cannot be decoded.
    """

    sound: NDArray[np.float64]
    codec: str = "aac"
    start_s: float = 0.0
    language: str = "und"
    title: str | None = None
    disposition: Disposition | None = None
    damage: bool = False


def write_tracks(path: Path, *tracks: TrackSource, rate: int = 16_000) -> Path:
    """Write a file with several audio tracks; an MP4 has its index in front."""
    formats = {".mkv": "matroska", ".ts": "mpegts", ".mpg": "mpeg"}
    options = {"movflags": "faststart"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", format=formats.get(path.suffix, path.suffix[1:]), options=options) as container:
        streams = []
        if path.suffix == ".mxf":  # it needs a picture
            pictures = container.add_stream("mpeg2video", rate=25)
            pictures.width = pictures.height = 64
            pictures.pix_fmt = "yuv420p"
        for track in tracks:
            channels = 1 if track.sound.ndim == 1 else track.sound.shape[1]
            stream = container.add_stream(
                track.codec, rate=rate, layout={1: "mono", 2: "stereo", 6: "5.1(side)"}[channels]
            )
            stream.metadata["language"] = track.language
            if track.title:
                stream.metadata["title"] = track.title
            if track.disposition is not None:
                stream.disposition = track.disposition
            streams.append(stream)
        if path.suffix == ".mxf":
            for index in range(25 * len(tracks[0].sound) // rate + 2):
                grey = np.full((64, 64, 3), index % 256, dtype=np.uint8)
                picture = av.VideoFrame.from_ndarray(grey, format="rgb24")
                picture.pts, picture.time_base = index, Fraction(1, 25)
                container.mux(pictures.encode(picture))
            container.mux(pictures.encode(None))
        encoded = [_encode_track(*each, rate) for each in zip(tracks, streams, strict=True)]
        for packets in chain.from_iterable(zip_longest(*encoded, fillvalue=())):
            container.mux(list(packets))
    return path


def _encode_track(track: TrackSource, stream: AudioStream, rate: int) -> Iterator[list[av.Packet[AudioStream]]]:
    samples = (np.atleast_2d(track.sound.T).T * 32_767).clip(-32_768, 32_767).astype(np.int16)
    layout = stream.codec_context.layout.name
    noise = np.random.default_rng(0)
    for start in (*range(0, len(samples), 960), None):
        frame = None
        if start is not None:
            piece = np.ascontiguousarray(samples[start : start + 960]).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(piece, format="s16", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, int(track.start_s * rate) + start, Fraction(1, rate)
        packets = stream.encode(frame)
        yield [_damage(packet, noise) for packet in packets] if track.damage else packets


def _damage(packet: av.Packet[AudioStream], noise: np.random.Generator) -> av.Packet[AudioStream]:
    damaged = av.Packet(noise.bytes(packet.size))
    damaged.pts, damaged.dts, damaged.time_base = packet.pts, packet.dts, packet.time_base
    damaged.duration, damaged.stream = packet.duration, packet.stream
    return damaged


def _frame(samples: NDArray[np.int16], rate: int, pts: int, layout: str = "mono") -> av.AudioFrame:
    channels = av.AudioLayout(layout).nb_channels
    frame = av.AudioFrame.from_ndarray(np.repeat(samples, channels)[None], format="s16", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, pts, Fraction(1, rate)
    return frame


def write(path: Path, audio: NDArray[np.float64], rate: int = 16_000, subtype: str = "PCM_16") -> Path:
    soundfile.write(path, audio, rate, subtype=subtype)
    return path


def truncate(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def normalize_beside(path: Path, **options: object) -> NormalizedAudio:
    """Normalize to ``target.tmp`` beside the source, and check what holds for every result."""
    target = path.parent / "target.tmp"
    result = normalize(path, target, **options)  # type: ignore[arg-type]
    info = soundfile.info(target)
    assert (info.samplerate, info.subtype, info.frames, info.channels) == (
        SAMPLE_RATE,
        "PCM_16",
        result.samples_per_channel,
        result.channels,
    )
    assert result.duration_s == result.samples_per_channel / SAMPLE_RATE
    assert {file.name for file in path.parent.iterdir()} == {path.name, target.name}
    return result


def expect_error(path: Path, **options: object) -> BadAudioError:
    """Normalize bad audio. Returns the error; only the source may be left."""
    with pytest.raises(BadAudioError) as caught:
        normalize(path, path.parent / "target.tmp", **options)  # type: ignore[arg-type]
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    return caught.value


def find_onset_s(path: Path) -> float:
    """Second at which the normalized file beside ``path`` is first loud."""
    return float(np.argmax(np.abs(read_window(path.parent / "target.tmp", 0, 3600)[0]) > 0.01)) / SAMPLE_RATE
