"""Opens a delivered file: which containers are accepted, and a message that says what the file is when it is none of them.

From a path to an open container; no audio is read here. Every delivered file is treated as possibly hostile:

* Only the containers listed below are opened. Playlists, concat scripts, DASH, SDP, numbered pictures and the like are
  refused before they are read, because their purpose is to make the reader open other files and addresses.
* FFmpeg gets an open file, never a name. So a file called ``http:x.mp3`` or ``-i.mp3`` is read as a file, names that are not UTF-8
  work, and a wrong extension has no effect. No protocol is allowed, so FFmpeg cannot open anything else.
* A failed read raises Python's ``OSError``; it is never treated as the end of a damaged file.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition

from speech.audio.delivery_file import DeliveryFile
from speech.audio.errors import BadAudioError
from speech.audio.extent import Extent, find_extent
from speech.audio.tracks import Track, order_tracks

CONTAINERS = {
    "wav": "WAV",
    "w64": "Wave64",
    "aiff": "AIFF",
    "au": "AU",
    "caf": "CAF",
    "flac": "FLAC",
    "mp3": "MP3",
    "aac": "AAC",
    "loas": "AAC (LATM)",
    "ac3": "AC-3",
    "eac3": "E-AC-3",
    "dts": "DTS",
    "amr": "AMR",
    "ogg": "Ogg",
    "mov": "MP4",
    "matroska": "Matroska",
    "asf": "ASF",
    "avi": "AVI",
    "flv": "FLV",
    "mpegts": "MPEG-TS",
    "mpeg": "MPEG-PS",
    "mxf": "MXF",
    "nut": "NUT",
    "rm": "RealMedia",
    "wv": "WavPack",
    "ape": "Monkey's Audio",
    "tta": "True Audio",
    "tak": "TAK",
    "mpc": "Musepack",
    "mpc8": "Musepack",
    "dsf": "DSF",
    "sox": "SoX",
    "voc": "VOC",
    "nistsphere": "NIST SPHERE",
}
"""FFmpeg's name of each demuxer we allow -> the container's common name. None of them refers to other files once ``enable_drefs``
is off.

Formats without magic bytes (raw PCM, A-law, GSM, G.722) are left out on purpose: any file would be accepted as one of them and give
noise."""

_FFMPEG_OPTIONS = {
    "format_whitelist": ",".join(CONTAINERS),
    "protocol_whitelist": "",
    # An MP4 can refer to other files for its data. 0 is FFmpeg's default; it is set here so that it cannot change.
    "enable_drefs": "0",
}

BUFFER_BYTES = 1 << 16
"""Bytes that FFmpeg reads at once, and so may read ahead."""

_VARIANTS = {
    Disposition.comment: "a commentary",
    Disposition.visual_impaired: "an audio description",
    Disposition.descriptions: "an audio description",
    Disposition.dependent: "an addition to another track",
    Disposition.hearing_impaired: "a version for the hard of hearing",
    Disposition.clean_effects: "a version without voices",
    Disposition.karaoke: "a version for karaoke",
}
"""Marks of audio streams that are another version of a track, and what they mean."""

_MAX_MP4_BOXES = 4_096
"""Most MP4 boxes read while looking for the index. Real files have fewer than ten before it; a hostile file can have millions."""

_OTHER_MAGIC = (
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"BM", "a BMP picture"),
    (8, b"WEBP", "a WebP picture"),
    (4, b"ftyphei", "a HEIC picture"),
    (4, b"ftypmif1", "a HEIC picture"),
    (4, b"ftypavif", "an AVIF picture"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a ZIP archive or office document"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"#EXTM3U", "a playlist"),
    (0, b"[playlist]", "a playlist"),
    (0, b"ffconcat", "a list of files to join"),
    (0, b"v=0", "a description of a network stream"),
    (0, b"<", "an XML or HTML document"),
)

_AUDIO_MAGIC = (
    (8, b"WAVE", "WAV"),
    (8, b"AVI ", "AVI"),
    (8, b"AIF", "AIFF"),
    (0, b"fLaC", "FLAC"),
    (0, b"OggS", "Ogg"),
    (0, b"\x1aE\xdf\xa3", "Matroska or WebM"),
    (4, b"ftyp", "MP4"),
    (0, b"caff", "CAF"),
    (0, b".snd", "AU"),
    (0, b"FLV", "FLV"),
)


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """The container's own description of its audio, read from the headers.

    Attributes:
        container: Common name of the container, for example ``MP4``.
        codec: FFmpeg's name of the codec of the audio stream that was opened.
        sample_rate: Samples a second of that stream; 0 if the container does not say.
        channels: Channels of that stream; 0 if the container does not say.
        duration_s: Length in seconds as declared or, for containers that declare none, estimated from the bit rate; None if
            unknown.
        audio_streams: How many audio streams there are.
        has_video: Whether there is a video stream. Cover art does not count.
        tracks: The audio streams, in the container's order.
    """

    container: str
    codec: str
    sample_rate: int
    channels: int
    duration_s: float | None
    audio_streams: int
    has_video: bool
    tracks: tuple[Track, ...]


@dataclass(frozen=True, slots=True)
class OpenContainer:
    """An open container with one of its audio streams, and which bytes of the file it is."""

    file: DeliveryFile
    container: InputContainer
    stream: AudioStream
    info: AudioInfo
    demuxer: str
    extent: Extent
    track: Track


@contextmanager
def open_container(path: Path, track: Track | None = None) -> Iterator[OpenContainer]:
    """Open a delivery and one of its audio streams.

    Args:
        path: The file.
        track: Which audio stream; None: the first that can be decoded, one that is marked default before others.

    Raises:
        BadAudioError: ``empty`` (no byte), ``not_audio`` (no container we know), ``truncated`` (a header cut short),
            ``undecodable`` (a damaged header, or no codec with a decoder), ``no_audio_stream`` (a video without sound).
        OSError: The file is missing or cannot be read.
    """
    with path.open("rb") as file:
        source = DeliveryFile(file)
        if source.size <= 0:
            problem = (
                "there is an ID3 tag and nothing behind it" if os.fstat(file.fileno()).st_size else "it is 0 bytes long"
            )
            raise BadAudioError("empty", f"The file holds no sound: {problem}. Deliver it again.")
        with _open_source(source, track) as delivery:
            yield delivery


@contextmanager
def open_part(delivery: OpenContainer, begin: int) -> Iterator[OpenContainer]:
    """Open another recording that begins at this position of the same file.

    Where the first has several audio tracks, the track of the same number is opened.

    Raises:
        BadAudioError: See ``open_container``.
        OSError: The file cannot be read.
    """
    several = len(delivery.info.tracks) > 1
    with _open_source(delivery.file.open_from(begin), delivery.track if several else None) as part:
        yield part


@contextmanager
def _open_source(source: DeliveryFile, track: Track | None = None) -> Iterator[OpenContainer]:
    extent = find_extent(source)
    source.show(extent.end, extent.patches)
    try:
        container = av.open(
            source, mode="r", container_options=_FFMPEG_OPTIONS, metadata_errors="ignore", buffer_size=BUFFER_BYTES
        )
    except av.FFmpegError as error:
        raise _explain_refusal(source) from error
    with container:
        demuxer = container.format.name.split(",")[0]
        if demuxer == "mov" and not container.streams.audio and _is_mp4_index_cut(source):
            raise _make_mp4_index_error(source)
        tracks = _list_tracks(container, demuxer)
        usable = [each for each in order_tracks(tracks) if each.is_decodable]
        track = track or (usable or tracks)[0]
        stream = _get_stream(container, demuxer, track)
        info = _read_info(container, stream, demuxer, tracks)
        yield OpenContainer(source, container, stream, info, demuxer, extent, track)


def probe(path: Path) -> AudioInfo:
    """Read the container's headers. FFmpeg decodes only as much as it needs to identify the codec.

    Raises:
        BadAudioError: See ``open_container``.
        OSError: The file is missing or cannot be read.
    """
    with open_container(path) as delivery:
        return delivery.info


def _list_tracks(container: InputContainer, demuxer: str) -> tuple[Track, ...]:
    """Describe the audio streams, at least one."""
    if not container.streams.audio:
        content = "a picture but no sound" if container.streams.video else "neither sound nor picture"
        raise BadAudioError(
            "no_audio_stream", f"The {CONTAINERS[demuxer]} file has {content}: there is no audio stream to transcribe."
        )
    tracks = []
    for number, stream in enumerate(container.streams.audio, start=1):
        # FFmpeg looks for the best stream in the programme of the related one, so this number tells programmes apart.
        best = container.streams.best("audio", related=stream) if demuxer == "mpegts" else None
        tracks.append(
            Track(
                number=number,
                is_decodable=stream.codec_context is not None,
                language=stream.metadata.get("language"),
                title=stream.metadata.get("title") or stream.metadata.get("name"),
                is_default=bool(stream.disposition & Disposition.default),
                variant=next((name for mark, name in _VARIANTS.items() if stream.disposition & mark), None),
                program=best.index if best is not None else 0,
            )
        )
    return tuple(tracks)


def _get_stream(container: InputContainer, demuxer: str, track: Track) -> AudioStream:
    if track.number > len(container.streams.audio):
        raise BadAudioError("no_audio_stream", f"The {CONTAINERS[demuxer]} file has no audio track {track.number}.")
    stream = container.streams.audio[track.number - 1]
    if stream.codec_context is None:
        raise BadAudioError(
            "undecodable",
            f"The audio stream of the {CONTAINERS[demuxer]} file uses a codec that cannot be decoded (unknown or "
            "copy-protected). Convert it to FLAC, MP3 or Opus and deliver it again.",
        )
    return stream


def _read_info(container: InputContainer, stream: AudioStream, demuxer: str, tracks: tuple[Track, ...]) -> AudioInfo:
    duration_s = None
    if stream.duration is not None and stream.time_base is not None:
        duration_s = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        duration_s = container.duration / av.time_base
    cover = Disposition.attached_pic | Disposition.still_image
    return AudioInfo(
        container=CONTAINERS[demuxer],
        codec=stream.codec_context.codec.canonical_name,
        sample_rate=stream.codec_context.sample_rate or 0,
        channels=stream.codec_context.channels or 0,
        duration_s=duration_s,
        audio_streams=len(tracks),
        has_video=any(not video.disposition & cover for video in container.streams.video),
        tracks=tracks,
    )


def _explain_refusal(file: DeliveryFile) -> BadAudioError:
    """Make the error that says what kind of file this is, instead of FFmpeg's message."""
    head = file.peek(0, 512)
    size = f"{file.size:,} bytes"
    other_format, audio_format = _match_magic(head, _OTHER_MAGIC), _match_magic(head, _AUDIO_MAGIC)
    if other_format is None and audio_format == "MP4":
        return _make_mp4_index_error(file)
    if other_format is None and audio_format is not None:
        declared_bytes = int.from_bytes(head[4:8], "little") + 8 if head[:4] == b"RIFF" else 0
        if declared_bytes > file.size:
            return BadAudioError(
                "truncated",
                f"The {audio_format} header promises a file of {declared_bytes:,} bytes, but only {size} were delivered, and "
                "no sound among them. Deliver it again.",
            )
        return BadAudioError(
            "undecodable",
            f"The file begins like {audio_format}, but its header cannot be read ({size}). Deliver it again.",
        )
    content = other_format or ("text" if _is_text(head) else "in no audio or video format we know")
    return BadAudioError("not_audio", f"Not a recording: the {size} are {content}. Deliver an audio or video file.")


def _match_magic(head: bytes, magics: tuple[tuple[int, bytes, str], ...]) -> str | None:
    return next((name for offset, mark, name in magics if head.startswith(mark, offset)), None)


def _is_text(head: bytes) -> bool:
    try:
        # An incremental decoder accepts a last character that is cut in two.
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return b"\0" not in head


def _make_mp4_index_error(file: DeliveryFile) -> BadAudioError:
    return BadAudioError(
        "truncated",
        f"The MP4 file ({file.size:,} bytes) has no complete index (its moov box), which is usually written last: the "
        "delivery was cut off, or the recorder stopped before it was done. Deliver it again.",
    )


def _is_mp4_index_cut(file: DeliveryFile) -> bool:
    """Whether the moov box runs past the end of the file (boxes as ISO/IEC 14496-12, section 4.2, lays them out)."""
    position = 0
    for _ in range(_MAX_MP4_BOXES):
        head = file.peek(position, 16)
        if len(head) < 8:
            return False
        size = int.from_bytes(head[:4], "big")
        if size == 1 and len(head) == 16:
            size = int.from_bytes(head[8:], "big")
        if head[4:8] == b"moov":
            return position + size > file.size
        # A size of 0 means "to the end of the file"; other sizes below 8 are invalid, because the header itself has 8 bytes.
        if size < 8:
            return False
        position += size
    return False
