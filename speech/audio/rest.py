"""What of a delivered file was not read when the audio ended: another recording behind the first, or bytes that no header counts.

A demuxer stops without an error at the end that the container declares, or where it finds nothing it knows. What lies behind is
looked at here, as far as the container tells what else may lie there.
"""

from __future__ import annotations

from dataclasses import dataclass

from speech.audio.containers import BUFFER_BYTES, OpenContainer
from speech.audio.delivery_file import DeliveryFile
from speech.audio.extent import MIN_REST_BYTES, MIN_REST_S, find_start, trim_rest
from speech.audio.structure import MAX_OGG_PAGE_BYTES, measure_ogg_page, walk_mp4_boxes

_CHUNKED = ("wav", "w64", "aiff", "caf")
"""Containers that keep the sound in one chunk."""

_COUNTED = ("voc", "tta", "wv", "dsf")
"""Containers that end at a count or a mark in their header, so that the last packet tells where they end."""

_PARSED = ("mp3", "flac")
"""Containers that are nothing but packets, of which FFmpeg tells where they lie: what is none is left out without an error."""

_SCANNED = ("aac", "loas", "ac3", "eac3", "dts", "amr", "mpegts", "mpeg", "flv", "matroska", "nut", *_PARSED)
"""Containers without an index behind the sound: FFmpeg looks for packets up to the end of the file, or gives up before."""

_LOOK_FOR_START_BYTES = 1 << 26
"""How far behind the end of a recording another one is looked for."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Bytes of a file that were not read.

    Attributes:
        unread: Begin and end of each piece that belongs to nothing known.
        part_begin: Position at which another recording begins; None if none does.
    """

    unread: tuple[tuple[int, int], ...] = ()
    part_begin: int | None = None


def find_rest(delivery: OpenContainer, packet_end: int, seconds: float) -> Rest:
    """Find what was not read.

    Args:
        delivery: The container, read to its end.
        packet_end: Position behind the last packet of the audio stream that could be decoded.
        seconds: Length of what was read.
    """
    whole = delivery.file.open_from(0)
    bytes_per_s = packet_end / seconds if seconds else 0.0
    if delivery.demuxer == "mov":
        return _find_mp4_rest(delivery, whole, packet_end, bytes_per_s)
    span = _find_span(delivery, packet_end)
    if span is None:
        return Rest()
    begin, end = trim_rest(whole, *span)
    if not _is_long(begin, end, bytes_per_s):
        return Rest()
    start = find_start(whole, begin, min(end, begin + _LOOK_FOR_START_BYTES))
    if start is None:
        return Rest(((begin, end),))
    return Rest(((begin, start),) if _is_long(begin, start, bytes_per_s) else (), start)


def _is_long(begin: int, end: int, bytes_per_s: float) -> bool:
    return end - begin > max(MIN_REST_BYTES, MIN_REST_S * bytes_per_s)


def _find_span(delivery: OpenContainer, packet_end: int) -> tuple[int, int] | None:
    """From the position up to which the recording was read to the end of what may be more of it; None if it was read whole."""
    file, extent, demuxer = delivery.file, delivery.extent, delivery.demuxer
    if extent.unread is not None:
        return extent.unread
    if demuxer in _CHUNKED and packet_end and extent.sound_end is not None:
        return packet_end, extent.sound_end
    if demuxer == "ogg":
        return _find_end_of_pages(file, packet_end), file.full_size
    is_only_stream = packet_end and len(delivery.container.streams) == 1
    if is_only_stream and demuxer in (*_COUNTED, *_PARSED):
        return packet_end, file.full_size
    reached = file.tell()
    if demuxer == "flv" and reached > file.size:
        # What is no tag stated a size beyond the end of the file, and FFmpeg went there without reading what is between.
        reached = packet_end
    if demuxer not in _SCANNED or reached >= file.size:
        return None
    # FFmpeg reads ahead; where several streams are in the file, the last packet of the sound may stand long before the end.
    return packet_end if is_only_stream else max(packet_end, reached - BUFFER_BYTES), file.full_size


def _find_end_of_pages(file: DeliveryFile, packet_end: int) -> int:
    """End of the Ogg pages that follow the one with the last packet without a byte between."""
    low = max(0, packet_end - MAX_OGG_PAGE_BYTES)
    position = low + max(0, file.peek(low, packet_end + 4 - low).rfind(b"OggS"))
    while length := measure_ogg_page(file, position):
        position += length
    return position


def _find_mp4_rest(delivery: OpenContainer, whole: DeliveryFile, packet_end: int, bytes_per_s: float) -> Rest:
    """Of an MP4: what its index leaves out at the end of the media data, a second file, and bytes that are no box."""
    last_entries = [stream.index_entries[-1] for stream in delivery.container.streams if len(stream.index_entries)]
    ends = [entry.pos + entry.size for entry in last_entries]
    index_end = max([packet_end, *ends])
    unread: list[tuple[int, int]] = []
    position, names = 0, set[bytes]()
    for name, begin, end in walk_mp4_boxes(delivery.file):
        if name == b"mdat" and begin <= index_end <= end:
            left = (index_end, whole.find_end_of_content(index_end, end))
            if _is_long(*left, bytes_per_s) and left[1] - left[0] > bytes_per_s:
                unread.append(left)
        names.add(name)
        position = end
    if b"moof" in names:
        unread.clear()  # each fragment has an index of its own
    if delivery.extent.unread is not None:
        return Rest(tuple(unread), delivery.extent.unread[0])
    left = trim_rest(whole, position, whole.size)
    if _is_long(*left, bytes_per_s):
        unread.append(left)
    return Rest(tuple(unread))
