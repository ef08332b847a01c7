"""The length that a container's header declares. Lengths that FFmpeg estimates from the bit rate do not count.

The declared length is needed to detect truncated files: a decoder stops without an error where the bytes end. An estimate must not
be used, or every mp3 with a variable bit rate would look truncated. FFmpeg does not say whether a duration is declared or
estimated, so this module reads the headers that matter itself.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from speech.audio.containers import OpenContainer
from speech.audio.delivery_file import DeliveryFile
from speech.audio.extent import is_pipe_size
from speech.audio.structure import MAX_OGG_PAGE_BYTES, walk_ebml_elements

SLACK_S = 1.0
"""Up to this many seconds may be missing without the file counting as truncated. Padding by players and encoders is shorter than
this; a lost sentence is longer."""

SLACK_SHARE = 0.05
"""For short recordings the tolerance is this share of the declared length."""

SLACK_FLOOR_S = 0.25
"""The tolerance is at least this many seconds: two AAC frames at 8 kHz (2 x 1,024 samples), the longest padding among common
codecs."""

_HEADER_DURATIONS = ("mov", "aiff", "au", "wv", "tta", "ape", "tak", "dsf")
"""Containers whose header has a sample count, which FFmpeg reports as the duration (for fragmented MP4: the count of the fragments
in the file)."""

_MAX_ELEMENTS = 4_096
"""Most chunks or elements read while looking for a header. Real files have dozens; a hostile file can have millions."""


@dataclass(frozen=True, slots=True)
class DeclaredLength:
    """The length that a container's header declares.

    Attributes:
        seconds: The declared length.
        delivered_s: Seconds of it that are in the file, if the header counts bytes; None if only reading the audio can tell.
        covers_all_streams: Whether the length covers all streams, so that it is that of the longest one; the audio stream may
            be shorter.
    """

    seconds: float
    delivered_s: float | None = None
    covers_all_streams: bool = False

    def measure_missing_s(self, reached_s: float) -> float:
        """Seconds that are missing if the audio ends at ``reached_s``; 0 if they are so few that they may be padding."""
        missing_s = self.seconds - (reached_s if self.delivered_s is None else self.delivered_s)
        return missing_s if missing_s > SLACK_FLOOR_S else 0.0

    def is_truncated(self, reached_s: float) -> bool:
        """Whether the recording is truncated: more is missing than the tolerance allows."""
        return self.measure_missing_s(reached_s) > min(SLACK_S, max(SLACK_FLOOR_S, SLACK_SHARE * self.seconds))


def read_declared_length(delivery: OpenContainer) -> DeclaredLength | None:
    """Return the length that the container's header declares; None if it declares none."""
    reader = _READERS.get(delivery.demuxer)
    if reader is not None:
        return reader(delivery)
    seconds = _read_stream_duration_s(delivery) if delivery.demuxer in _HEADER_DURATIONS else None
    return DeclaredLength(seconds) if seconds else None


def _read_stream_duration_s(delivery: OpenContainer) -> float | None:
    stream = delivery.stream
    return float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None


def _read_wav_length(delivery: OpenContainer) -> DeclaredLength | None:
    """Compare the size of the data chunk with the bytes there are (RIFF as Microsoft defines it, RF64 as EBU Tech 3306)."""
    source = delivery.file
    wide = source.peek(0, 4) in {b"RF64", b"BW64"}
    wide_size = byte_rate = 0
    position = 12
    for _ in range(_MAX_ELEMENTS):
        header = source.peek(position, 24)
        if len(header) < 8:
            return None
        name, size = struct.unpack_from("<4sI", header)
        position += 8
        if name == b"data":
            size = wide_size if wide and size == 0xFFFF_FFFF else size
            if not is_pipe_size(size):
                seconds = size / byte_rate if byte_rate else _read_stream_duration_s(delivery)
                return DeclaredLength(seconds, min(size, source.size - position) / size * seconds) if seconds else None
            return None
        if name == b"fmt " and len(header) >= 20:
            (byte_rate,) = struct.unpack_from("<I", header, 16)
        if name == b"ds64" and len(header) == 24:
            (wide_size,) = struct.unpack_from("<Q", header, 16)
        position += size + size % 2
    return None


def _read_w64_length(delivery: OpenContainer) -> DeclaredLength | None:
    """Compare the size of the data chunk with the bytes there are (chunks of 8 bytes' alignment, a GUID and a size of 64 bits)."""
    source = delivery.file
    byte_rate, position = 0, 40
    for _ in range(_MAX_ELEMENTS):
        header = source.peek(position, 36)
        if len(header) < 24:
            return None
        name, size = struct.unpack_from("<4s12xq", header)
        if size < 24:
            return None
        if name == b"data":
            delivered = min(size - 24, source.size - position - 24)
            return DeclaredLength((size - 24) / byte_rate, delivered / byte_rate) if byte_rate and size > 24 else None
        if name == b"fmt " and len(header) == 36:
            (byte_rate,) = struct.unpack_from("<I", header, 32)
        position += size + -size % 8
    return None


def _read_flac_length(delivery: OpenContainer) -> DeclaredLength | None:
    """Sample count over rate of STREAMINFO (RFC 9639, section 8.2); a count of 0 means unknown."""
    stream_info = delivery.stream.codec_context.extradata or b""
    bits = int.from_bytes(stream_info[10:18], "big") if len(stream_info) >= 18 else 0
    rate, samples = bits >> 44, bits & ((1 << 36) - 1)
    return DeclaredLength(samples / rate) if rate and samples else None


def read_longest_flac_frame(delivery: OpenContainer) -> int:
    """Bytes of the longest frame of a FLAC file, as STREAMINFO states it (RFC 9639, section 8.2); 0 if it does not."""
    return int.from_bytes((delivery.stream.codec_context.extradata or b"")[7:10], "big")


def _read_caf_length(delivery: OpenContainer) -> DeclaredLength | None:
    """Frames by the size of the data or by the packet table.

    FFmpeg limits the duration to what is in the file, but not the frame count.
    """
    frames, rate = delivery.stream.frames, delivery.info.sample_rate
    return DeclaredLength(frames / rate) if frames and rate else None


def _read_mp3_length(delivery: OpenContainer) -> DeclaredLength | None:
    """Frame count of a Xing, Info or VBRI header, which encoders put into the first frame."""
    head = delivery.file.peek(0, 1 << 16)
    start = head.find(b"\xff")
    while 0 <= start < len(head) - 54:
        version, layer, rate_index = head[start + 1] >> 3 & 3, head[start + 1] >> 1 & 3, head[start + 2] >> 2 & 3
        if (
            head[start + 1] >= 0xE0 and version != 1 and layer == 1 and rate_index != 3
        ):  # layer III, and no field has a reserved value
            rate = (44_100, 48_000, 32_000)[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
            frames = _read_mp3_frame_count(head[start : start + 54], mpeg1=version == 3)
            return DeclaredLength(frames * (1152 if version == 3 else 576) / rate) if frames else None
        start = head.find(b"\xff", start + 1)
    return None


def _read_mp3_frame_count(frame: bytes, *, mpeg1: bool) -> int:
    mono = frame[3] >> 6 == 3
    side_info = (17 if mono else 32) if mpeg1 else (9 if mono else 17)
    tag = frame[4 + side_info :]
    if tag[:4] in {b"Xing", b"Info"}:
        return int.from_bytes(tag[8:12], "big") if tag[7] & 1 else 0
    return int.from_bytes(frame[50:54], "big") if frame[36:40] == b"VBRI" else 0


def _read_matroska_length(delivery: OpenContainer) -> DeclaredLength | None:
    """Segment/Info/Duration (RFC 9559, section 5.1.2.10); live recordings have none, and FFmpeg then estimates."""
    source, duration = delivery.file, delivery.container.duration
    for segment, segment_begin, segment_end in walk_ebml_elements(source, 0, source.size):
        if segment != 0x18538067 or not duration:
            continue
        for identity, begin, end in walk_ebml_elements(source, segment_begin, segment_end):
            if identity == 0x1549A966 and any(
                inner == 0x4489 for inner, _, _ in walk_ebml_elements(source, begin, end)
            ):  # Info, Duration
                return DeclaredLength(duration / 1e6, covers_all_streams=True)
            if identity == 0x1F43B675:  # the first Cluster: the headers end here
                return None
    return None


def has_ogg_end_page(file: DeliveryFile) -> bool:
    """Whether an Ogg file ends with a whole page that is marked as a stream's last (RFC 3533, section 6).

    Ogg declares no length, but writers mark the last page. A file without that mark is truncated by an unknown amount.
    """
    tail = file.peek(max(0, file.size - MAX_OGG_PAGE_BYTES), MAX_OGG_PAGE_BYTES)
    start = tail.rfind(b"OggS")
    page = tail[start:]
    if start < 0 or len(page) < 27 or len(page) < 27 + page[26]:
        return False
    length = 27 + page[26] + sum(page[27 : 27 + page[26]])
    return bool(page[5] & 4) and len(page) >= length


_READERS: dict[str, Callable[[OpenContainer], DeclaredLength | None]] = {
    "wav": _read_wav_length,
    "w64": _read_w64_length,
    "flac": _read_flac_length,
    "caf": _read_caf_length,
    "mp3": _read_mp3_length,
    "matroska": _read_matroska_length,
}
