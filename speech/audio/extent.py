"""Where the bytes of one recording end in a delivered file, whatever the sizes in its header say.

A recorder that stops before it is done leaves the size of an earlier moment in the header, and a size of 32 bits wraps above 4 GiB.
FFmpeg believes the header. So this module walks the chunks behind the sound, as each container's standard lays them out:

* Well-formed chunks, their padding, tags and zeros hold no sound.
* Other bytes that follow the sound directly are more of it; the size in the header is replaced.
* Another file that begins behind the first, or another link of an Ogg chain, is a part of its own.
* What is none of these is counted, so that it can be reported.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass

from speech.audio.chunk_layouts import ASF_HEADER, RIFF, TRAILERS, ChunkLayout, choose_layout
from speech.audio.delivery_file import DeliveryFile
from speech.audio.structure import MAX_CHUNKS, measure_ogg_page, walk_ebml_elements, walk_mp4_boxes

MIN_REST_S = 0.25
"""Bytes behind the sound that would last no longer than this many seconds are no lost speech."""

MIN_REST_BYTES = 1_024
"""The same in bytes: tags, footers and checksums behind the sound are shorter."""

_MAX_HEADER_PAGES = 1_024
"""Most pages before the first sound of an Ogg file: comments may hold pictures."""

_MAX_TRAILER_BYTES = 1 << 20
"""How far before the end of the file a chunk behind the sound may begin, where the header does not say where the sound ends."""

_PLACEHOLDER_SPAN = 0x1000
_PIPE_SIZES = (1 << 31, 1 << 32)
"""Tools that write WAV into a pipe cannot know the size: ffmpeg leaves 2^32 - 1, SoX 2^31 - 4,096, others about 2^31."""

_MIN_FILLER_BYTES = 4_096
"""From this many on, equal bytes at the end of a file are memory that was never written to; as samples they are silent."""

_OGG_FIRST_PAGE = b"OggS\0\x02"
"""How a page begins that begins a stream: the mark, version 0, and the flag of a first page."""

_PAGE_ZEROS = 4_096
"""Zeros behind the last page of an Ogg file that are shown: the page itself may end with some."""

_EBML = b"\x1aE\xdf\xa3"
_EBML_NUMBER = int.from_bytes(_EBML, "big")

_FILE_NAMES = (b"RIFF", b"RF64", b"BW64", b"riff", b"FORM", b"caff", b"asf ")
"""What looks like the name of a chunk, but begins another file."""

_STARTS: tuple[tuple[bytes, int, bytes], ...] = (
    (b"RIFF", 8, b"WAVE"),
    (b"RIFF", 8, b"AVI "),
    (b"RF64", 8, b"WAVE"),
    (b"BW64", 8, b"WAVE"),
    (b"riff", 4, bytes.fromhex("2e91cf11a5d628db04c10000")),
    (b"FORM", 8, b"AIF"),
    (b"caff", 4, b"\0\x01"),
    (b".snd", 4, b"\0"),
    (b"fLaC", 4, b"\0\0\0\x22"),
    (b"OggS", 4, b"\0\x02"),
    (b"\x1aE\xdf\xa3", 4, b""),
    (ASF_HEADER, 16, b""),
    (b"FLV\x01", 5, b"\0\0\0\x09"),
    (b"TTA1", 4, b""),
    (b"wvpk", 8, b""),
    (b"Creative Voice File", 19, b"\x1a"),
)
"""How files begin that may follow each other in one: a mark, and at an offset from it more bytes that must be there."""


@dataclass(frozen=True, slots=True)
class Extent:
    """The bytes of one recording in a delivered file.

    Attributes:
        end: Position behind the last byte that FFmpeg is shown.
        patches: Offset and bytes that replace the file's own: a size in the header that was too small.
        undeclared_s: Seconds of sound that the header did not count and that are read nevertheless.
        unread: Begin and end of bytes behind the recording that no header accounts for; None if there are none.
        sound_end: Position behind the chunk with the sound; None if there is no such chunk.
    """

    end: int
    patches: tuple[tuple[int, bytes], ...] = ()
    undeclared_s: float = 0.0
    unread: tuple[int, int] | None = None
    sound_end: int | None = None


def find_extent(file: DeliveryFile) -> Extent:
    """Find the bytes of the recording that begins at position 0."""
    head = file.peek(0, 64)
    if head[:4] == b"OggS":
        return _find_ogg_extent(file)
    if head[4:8] == b"ftyp":
        return _find_mp4_extent(file)
    if head[:4] == _EBML:
        return _find_matroska_extent(file)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _find_avi_extent(file)
    layout = choose_layout(head)
    return Extent(file.size) if layout is None else _find_chunked_extent(file, layout)


def find_start(file: DeliveryFile, begin: int, end: int) -> int | None:
    """Position between ``begin`` and ``end`` at which another file begins; None if none does."""
    if begin < end and _is_start(file.peek(begin, 64)):
        return begin
    for offset, content in file.iter_blocks(begin, end):
        block = content + file.peek(offset + len(content), 64)
        found = [
            position
            for mark, distance, more in _STARTS
            for position in _find_all(block, mark)
            if block.startswith(more, position + distance)
        ]
        # An MP4 begins with a box whose size is a few dozen bytes.
        found += [
            position - 4 for position in _find_all(block, b"ftyp") if block.startswith(b"\0\0", max(0, position - 4))
        ]
        if found and offset + min(found) < end:
            return offset + min(found)
    return None


def _is_start(head: bytes) -> bool:
    is_mp4 = head[4:8] == b"ftyp" and head[:2] == b"\0\0"
    return is_mp4 or any(head.startswith(mark) and head.startswith(more, distance) for mark, distance, more in _STARTS)


def _find_all(block: bytes, mark: bytes) -> list[int]:
    """The first positions of a mark."""
    found: list[int] = []
    position = block.find(mark)
    while position >= 0 and len(found) < 16:
        found.append(position)
        position = block.find(mark, position + 1)
    return found


def trim_rest(file: DeliveryFile, begin: int, end: int) -> tuple[int, int]:
    """Leave out what is no sound of the bytes between two positions.

    That is tags (ID3v2 at the beginning, ID3v1 and APE at the end), and zeros or a long run of another byte at the end.
    """
    begin = min(end, begin + file.measure_id3_tags(begin))
    if end - 128 >= begin and file.peek(end - 128, 3) == b"TAG":
        end -= 128
    footer = file.peek(end - 32, 32) if end - 32 >= begin else b""
    if footer[:8] == b"APETAGEX":
        size, flags = struct.unpack_from("<I4xI", footer, 12)
        end = max(begin, end - size - (32 if flags >> 31 else 0))
    end = file.find_end_of_content(begin, end)
    filler = file.peek(end - 1, 1)
    filled_from = file.find_end_of_content(begin, end, filler) if end > begin else end
    return begin, filled_from if end - filled_from >= _MIN_FILLER_BYTES else end


@dataclass(frozen=True, slots=True)
class _SoundChunk:
    """The chunk with the sound.

    Attributes:
        body: Position of its first byte of sound.
        size: Bytes of sound that the header declares.
        size_position: Where the header states them.
        is_wide: Whether that is the field of 64 bits in the chunk ``ds64``.
        byte_rate: Bytes of a second; 0 if unknown or not constant.
    """

    body: int
    size: int
    size_position: int
    is_wide: bool
    byte_rate: float


def _find_chunked_extent(file: DeliveryFile, layout: ChunkLayout) -> Extent:
    sound = _find_sound(file, layout)
    if sound is None or sound.body + sound.size >= file.size:
        return Extent(file.size, sound_end=None if sound is None else file.size)
    end = sound.body + sound.size
    stop, names, is_walked = _walk_padded_chunks(file, layout, end)
    if not is_walked:
        return Extent(end, unread=(stop, file.size))
    rest = trim_rest(file, stop, file.size)
    is_start = _is_start(file.peek(rest[0], 64))
    if rest[0] < rest[1] and not is_start and names and not any(name in TRAILERS for name in names):
        stop, names = end, []  # samples that look like a chunk by chance
        rest = trim_rest(file, stop, file.size)
    shown = end if layout.is_sound_last else stop
    if rest[1] - rest[0] <= max(MIN_REST_BYTES, MIN_REST_S * sound.byte_rate):
        return Extent(shown, sound_end=end)
    if names or is_start or not sound.byte_rate:
        return Extent(shown, unread=rest, sound_end=end)
    sound_end = _find_trailer(file, layout, rest[0], file.size) or rest[1]
    size = sound_end - sound.body
    stated = struct.pack("<Q", size) if sound.is_wide else layout.write_size(size)
    return Extent(sound_end, ((sound.size_position, stated),), (sound_end - end) / sound.byte_rate)


def _find_sound(file: DeliveryFile, layout: ChunkLayout) -> _SoundChunk | None:
    """Walk to the chunk with the sound; None if there is none, or if it declares no size."""
    byte_rate, wide_size, wide_position = 0.0, 0, 0
    position = layout.first
    for _ in range(MAX_CHUNKS):
        header = file.peek(position, layout.header)
        chunk = layout.read_header(header) if len(header) == layout.header else None
        if chunk is None:
            return None
        name, size = chunk
        body = position + layout.header
        if name == layout.sound:
            if wide_position and size == 0xFFFF_FFFF:
                return _SoundChunk(body, wide_size, wide_position, is_wide=True, byte_rate=byte_rate)
            if size < 0 or (layout is RIFF and is_pipe_size(size)):
                return None  # FFmpeg then reads to the end of the file
            return _SoundChunk(body, size, position + layout.size_offset, is_wide=False, byte_rate=byte_rate)
        if size < 0:
            return None
        content = file.peek(body, min(size, 64))
        byte_rate = layout.read_byte_rate(name, content) or byte_rate
        if name == b"ds64" and len(content) >= 16:
            (wide_size,), wide_position = struct.unpack_from("<Q", content, 8), body + 8
        position = body + size + -size % layout.alignment
    return None


def is_pipe_size(size: int) -> bool:
    """Whether the size of a WAV's sound is what a writer leaves that could not know it."""
    return not size or any(abs(size - placeholder) <= _PLACEHOLDER_SPAN for placeholder in _PIPE_SIZES)


def _walk_padded_chunks(file: DeliveryFile, layout: ChunkLayout, end: int) -> tuple[int, list[bytes], bool]:
    """Walk the chunks behind a chunk that ends at ``end``, with its padding or, as some write it, without."""
    stop, names, is_walked = _walk_chunks(file, layout, end + (layout.first - end) % layout.alignment)
    if not names and end % layout.alignment:
        stop, names, is_walked = _walk_chunks(file, layout, end)
    return (stop, names, is_walked) if names else (end, names, is_walked)


def _walk_chunks(
    file: DeliveryFile, layout: ChunkLayout, position: int, *, takes_cut: bool = True
) -> tuple[int, list[bytes], bool]:
    """Walk well-formed chunks, up to more sound or another file.

    Args:
        file: The delivery.
        layout: How chunks are written.
        position: Where the first one begins.
        takes_cut: Whether a well-known chunk that runs past the end of the file counts as one.

    Returns:
        The position behind the last one, their names, and whether these are all there are.
    """
    names: list[bytes] = []
    for _ in range(MAX_CHUNKS):
        header = file.peek(position, layout.header)
        chunk = layout.read_header(header) if len(header) == layout.header else None
        if chunk is None:
            break
        name, size = chunk
        if name == layout.sound or name in _FILE_NAMES:
            break
        is_cut = position + layout.header + size > file.size
        # A well-known chunk that is cut off is no sound either.
        is_chunk = name in TRAILERS and takes_cut if is_cut else all(0x20 <= byte < 0x7F for byte in name)
        if size < 0 or not is_chunk:
            break
        names.append(name)
        position = min(file.size, position + layout.header + size + -size % layout.alignment)
    else:
        return position, names, False
    return position, names, True


def _find_trailer(file: DeliveryFile, layout: ChunkLayout, begin: int, end: int) -> int | None:
    """Begin of the chunks that end the file, if there are some: from there on it is no sound."""
    low = max(begin, end - _MAX_TRAILER_BYTES)
    tail = file.peek(low, end - low)
    candidates = sorted(position for name in TRAILERS for position in _find_all(tail, name))
    for position in candidates[:256]:
        # Four bytes of sound may spell a name by chance, but hardly a size that ends with the file too.
        stop, names, _ = _walk_chunks(file, layout, low + position, takes_cut=False)
        if names and trim_rest(file, stop, end)[1] <= stop:
            return low + position
    return None


def _find_mp4_extent(file: DeliveryFile) -> Extent:
    """Up to another file: FFmpeg would take its index for more of this one's."""
    names: set[bytes] = set()
    for name, begin, _ in walk_mp4_boxes(file):
        if name == b"ftyp" and {b"moov", b"mdat"} <= names:
            return Extent(begin, unread=(begin, file.size))
        names.add(name)
    return Extent(file.size)


def _find_matroska_extent(file: DeliveryFile) -> Extent:
    """Up to another file: FFmpeg would decode what follows as if the first one's header described it."""
    elements = list(itertools.islice(walk_ebml_elements(file, 0, file.size), 2))
    if [identity for identity, _, _ in elements] != [_EBML_NUMBER, 0x1853_8067]:  # a Segment behind the header
        return Extent(file.size)
    _, body, end = elements[1]
    if end < file.size:
        is_start = file.peek(end, 4) == _EBML
        return Extent(end, unread=(end, file.size)) if is_start else Extent(file.size)
    if file.peek(body - 8, 8) != b"\x01" + b"\xff" * 7 and file.peek(body - 5, 5) != b"\x18\x53\x80\x67\xff":
        return Extent(file.size)
    # A live recording does not say how long it is.
    for offset, block in file.iter_blocks(body, file.size):
        searched = block + file.peek(offset + len(block), 11)
        position = searched.find(_EBML)
        while position >= 0:
            if b"\x42\x86" in searched[position + 5 : position + 15]:  # the version, which every header begins with
                return Extent(offset + position, unread=(offset + position, file.size))
            position = searched.find(_EBML, position + 1)
    return Extent(file.size)


def _find_avi_extent(file: DeliveryFile) -> Extent:
    """Up to another file; the further lists of one that is longer than a list may be (OpenDML) belong to it."""
    position = 0
    for _ in range(MAX_CHUNKS):
        head = file.peek(position, 12)
        if len(head) < 12 or head[:4] != b"RIFF":
            break
        if position and head[8:12] == b"AVI ":
            return Extent(position, unread=(position, file.size))
        size = int.from_bytes(head[4:8], "little")
        position += 8 + size + size % 2
    return Extent(file.size)


def _find_ogg_extent(file: DeliveryFile) -> Extent:
    """One link of a chain (RFC 3533, section 4): it ends where pages that begin streams follow other pages."""
    group_end = 0
    pages = 0
    for offset, block in file.iter_blocks(0, file.size):
        searched = block + file.peek(offset + len(block), len(_OGG_FIRST_PAGE) - 1)
        position = searched.find(_OGG_FIRST_PAGE)
        while position >= 0 and pages < MAX_CHUNKS:
            pages += 1
            page = offset + position
            length = measure_ogg_page(file, page)
            if length and page > group_end and _has_sound_page(file, group_end, page):
                end = file.find_end_of_content(group_end, page)
                return Extent(min(page, end + _PAGE_ZEROS), unread=(page, file.size))
            group_end = max(group_end, page + length)
            position = searched.find(_OGG_FIRST_PAGE, position + 1)
    end = file.find_end_of_content(group_end, file.size)
    return Extent(min(file.size, end + _PAGE_ZEROS))


def _has_sound_page(file: DeliveryFile, position: int, end: int) -> bool:
    """Whether one of the pages has a position in time other than 0, so that it ends a packet of sound (RFC 3533, section 6).

    A link that has only headers, as a recorder leaves that connects again, cannot be opened by itself.
    """
    for _ in range(_MAX_HEADER_PAGES):
        length = measure_ogg_page(file, position)
        if not length or position >= end:
            return False
        granule = int.from_bytes(file.peek(position + 6, 8), "little", signed=True)
        if granule > 0:
            return True
        position += length
    return True
