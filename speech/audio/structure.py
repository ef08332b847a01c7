"""Walks the structure of containers: MP4 boxes, EBML elements, Ogg pages. No sound is read."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from speech.audio.delivery_file import DeliveryFile

MAX_CHUNKS = 65_536
"""Most chunks that are walked. Real files have dozens; a hostile file can have millions."""

MAX_OGG_PAGE_BYTES = 65_307
"""Bytes of the longest Ogg page: a header of 27, 255 segment lengths, as many segments of 255."""


def walk_mp4_boxes(file: DeliveryFile) -> Iterator[tuple[bytes, int, int]]:
    """Walk well-formed boxes (ISO/IEC 14496-12, section 4.2): name, begin and end of each."""
    position = 0
    for _ in range(MAX_CHUNKS):
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


def walk_ebml_elements(file: DeliveryFile, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Walk EBML elements (RFC 8794): identity, begin and end of each one's body."""
    for _ in range(MAX_CHUNKS):
        head = file.peek(position, 12)
        if position >= end or len(head) < 2 or not head[0]:
            return
        id_length = 9 - head[0].bit_length()
        if len(head) <= id_length or not head[id_length]:
            return
        size_length = 9 - head[id_length].bit_length()
        unknown = (1 << 7 * size_length) - 1
        size = int.from_bytes(head[id_length : id_length + size_length], "big") & unknown
        begin = position + id_length + size_length
        position = end if size == unknown else begin + size
        yield int.from_bytes(head[:id_length], "big"), begin, position


def measure_ogg_page(file: DeliveryFile, page: int) -> int:
    """Bytes of the page at this position; 0 if there is no whole one."""
    head = file.peek(page, 282)
    if head[:4] != b"OggS" or len(head) < 27 or len(head) < 27 + head[26]:
        return 0
    length = 27 + head[26] + sum(head[27 : 27 + head[26]])
    return length if page + length <= file.size else 0
