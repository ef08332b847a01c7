"""What of a delivered file was not read when the audio ended: another recording behind the first, or bytes that no header counts.

A demuxer stops without an error at the end that the container declares, or where it finds nothing it knows. What lies behind is
looked at here, as far as the container tells what else may lie there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from speech.audio.containers import BUFFER_BYTES, OpenContainer
from speech.audio.delivery_file import DeliveryFile
from speech.audio.extent import MIN_REST_BYTES, MIN_REST_S, find_start, trim_rest

_COUNTED = ("voc", "tta", "wv")
"""Containers that end at a count or a mark in their header, so that the last packet tells where they end."""

_SCANNED = (
    "mp3",
    "aac",
    "loas",
    "ac3",
    "eac3",
    "dts",
    "amr",
    "flac",
    "ogg",
    "mpegts",
    "mpeg",
    "flv",
    "matroska",
    "nut",
)
"""Containers without an index behind the sound: FFmpeg looks for packets up to the end of the file, or gives up before."""

_MAX_BOXES = 65_536

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
        packet_end: Position behind the last packet of the audio stream.
        seconds: Length of what was read.
    """
    whole = delivery.file.open_from(0)
    bytes_per_s = packet_end / seconds if seconds else 0.0
    if delivery.demuxer == "mov":
        return _find_mp4_rest(delivery, whole, packet_end, bytes_per_s)
    begin = _find_end(delivery, packet_end)
    if begin is None:
        return Rest()
    begin, end = trim_rest(whole, begin, whole.size)
    if not _is_long(begin, end, bytes_per_s):
        return Rest()
    start = find_start(whole, begin, min(end, begin + _LOOK_FOR_START_BYTES))
    if start is None:
        return Rest(((begin, end),))
    return Rest(((begin, start),) if _is_long(begin, start, bytes_per_s) else (), start)


def _is_long(begin: int, end: int, bytes_per_s: float) -> bool:
    return end - begin > max(MIN_REST_BYTES, MIN_REST_S * bytes_per_s)


def _find_end(delivery: OpenContainer, packet_end: int) -> int | None:
    """Position up to which the recording was read; None if that is everything."""
    file = delivery.file
    if delivery.extent.unread is not None:
        return delivery.extent.unread[0]
    if delivery.demuxer in _COUNTED and packet_end:
        return packet_end
    # Behind a tag that names a size beyond the end of the file, FFmpeg stands there without having read what is between.
    reached = file.last_read_end if file.tell() > file.size else file.tell()
    if delivery.demuxer not in _SCANNED or reached >= file.size:
        return None
    # FFmpeg reads ahead; where several streams are in the file, the last packet of the sound may stand long before the end.
    return (
        packet_end if packet_end and len(delivery.container.streams) == 1 else max(packet_end, reached - BUFFER_BYTES)
    )


def _find_mp4_rest(delivery: OpenContainer, whole: DeliveryFile, packet_end: int, bytes_per_s: float) -> Rest:
    """Of an MP4: what its index leaves out at the end of the media data, a second file, and bytes that are no box."""
    last_entries = [
        list(stream.index_entries)[-1:] for stream in delivery.container.streams if len(stream.index_entries)
    ]
    ends = [entry.pos + entry.size for entries in last_entries for entry in entries]
    index_end = max([packet_end, *ends])
    unread: list[tuple[int, int]] = []
    position, names = 0, set[bytes]()
    for name, begin, end in _walk_boxes(whole):
        if name == b"ftyp" and {b"moov", b"mdat"} <= names and begin >= index_end:
            return Rest(tuple(unread), begin)
        if name == b"mdat" and begin <= index_end <= end:
            left = (index_end, whole.find_end_of_content(index_end, end))
            if _is_long(*left, bytes_per_s) and left[1] - left[0] > bytes_per_s:
                unread.append(left)
        names.add(name)
        position = end
    if b"moof" in names:
        unread.clear()  # each fragment has an index of its own
    left = trim_rest(whole, position, whole.size)
    if _is_long(*left, bytes_per_s):
        unread.append(left)
    return Rest(tuple(unread))


def _walk_boxes(file: DeliveryFile) -> Iterator[tuple[bytes, int, int]]:
    """Walk well-formed boxes (ISO/IEC 14496-12, section 4.2): name, begin and end of each."""
    position = 0
    for _ in range(_MAX_BOXES):
        head = file.peek(position, 16)
        if len(head) < 8:
            return
        size, name = struct.unpack_from(">I4s", head)
        if size == 1 and len(head) == 16:
            (size,) = struct.unpack_from(">Q", head, 8)
        if size == 0:
            size = file.size - position
        if size < 8 or not all(0x20 <= byte < 0x7F or byte == 0xA9 for byte in name):
            return
        yield name, position, min(position + size, file.size)
        position += size
