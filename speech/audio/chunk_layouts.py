"""How containers lay out their chunks: WAV with its wide forms, Wave64, AIFF, CAF and ASF. Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")

_W64_CHUNK_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")
_W64_LIST_TAIL = bytes.fromhex("91cf11a5d628db04c10000")
TRAILERS = (
    b"LIST",
    b"id3 ",
    b"ID3 ",
    b"bext",
    b"iXML",
    b"cue ",
    b"JUNK",
    b"junk",
    b"FLLR",
    b"PAD ",
    b"afsp",
    b"_PMX",
    b"ANNO",
    b"NAME",
    b"MARK",
    b"COMT",
    b"info",
    b"free",
    b"uuid",
    b"smpl",
    b"inst",
    b"minf",
    b"elm1",
    b"regn",
    b"umid",
    b"axml",
)
"""Names of chunks that writers put behind the sound."""


@dataclass(frozen=True, slots=True)
class ChunkLayout:
    """How a container lays out its chunks.

    Attributes:
        first: Position of the first chunk.
        header: Bytes of a chunk's header.
        alignment: Chunks begin at multiples of this many bytes from the chunk before.
        sound: Name of the chunk with the sound.
        read_header: From a header to the name of the chunk and the size of its body; None if it is none.
        size_offset: Where in a chunk's header its size stands.
        write_size: From the size of the sound to the bytes that state it.
        read_byte_rate: From name and body of a chunk to the bytes of a second; 0 if this chunk does not tell.
        is_sound_last: Whether FFmpeg needs nothing behind the sound.
    """

    first: int
    header: int
    alignment: int
    sound: bytes
    read_header: Callable[[bytes], tuple[bytes, int] | None]
    size_offset: int
    write_size: Callable[[int], bytes]
    read_byte_rate: Callable[[bytes, bytes], float]
    is_sound_last: bool


def _read_riff_header(header: bytes) -> tuple[bytes, int]:
    name, size = struct.unpack("<4sI", header)
    return name, size


def _read_aiff_header(header: bytes) -> tuple[bytes, int]:
    name, size = struct.unpack(">4sI", header)
    return name, size


def _read_caf_header(header: bytes) -> tuple[bytes, int]:
    name, size = struct.unpack(">4sq", header)
    return name, size


def _read_w64_header(header: bytes) -> tuple[bytes, int] | None:
    (size,) = struct.unpack_from("<q", header, 16)
    if size < 24:
        return None
    return header[:4] if header[4:16] == _W64_CHUNK_TAIL or header[:4] == b"riff" else b"guid", size - 24


def _read_asf_header(header: bytes) -> tuple[bytes, int] | None:
    (size,) = struct.unpack_from("<q", header, 16)
    if size < 24:
        return None
    return {ASF_HEADER: b"asf ", _ASF_DATA: b"data"}.get(header[:16], b"guid"), size - 24


def _read_riff_byte_rate(name: bytes, body: bytes) -> float:
    return float(struct.unpack_from("<I", body, 8)[0]) if name == b"fmt " and len(body) >= 12 else 0.0


def _read_aiff_byte_rate(name: bytes, body: bytes) -> float:
    """Of uncompressed samples. The rate is an extended float of 80 bits (AIFF 1.3, Common Chunk)."""
    if name != b"COMM" or len(body) < 18:
        return 0.0
    channels, bits, exponent, mantissa = struct.unpack_from(">h4xhHQ", body)
    if len(body) >= 22 and body[18:22] not in {
        b"NONE",
        b"sowt",
        b"twos",
        b"raw ",
        b"in24",
        b"in32",
        b"fl32",
        b"FL32",
        b"fl64",
        b"FL64",
        b"alaw",
        b"ALAW",
        b"ulaw",
        b"ULAW",
    }:
        return 0.0
    rate = mantissa * 2.0 ** ((exponent & 0x7FFF) - 16_446)
    if len(body) >= 22 and body[18:22].lower() in {b"alaw", b"ulaw"}:
        bits = 8
    return float(channels * ((bits + 7) // 8) * rate) if 0 < rate < 1e7 else 0.0


def _read_caf_byte_rate(name: bytes, body: bytes) -> float:
    """0 where the bytes of a packet vary."""
    if name != b"desc" or len(body) < 24:
        return 0.0
    rate, packet_bytes, packet_frames = struct.unpack_from(">d8xII", body)
    return float(rate * packet_bytes / packet_frames) if packet_frames and 0 < rate < 1e7 else 0.0


RIFF = ChunkLayout(
    12,
    8,
    2,
    b"data",
    _read_riff_header,
    4,
    lambda size: struct.pack("<I", min(size, 0xFFFF_FFFF)),
    _read_riff_byte_rate,
    True,
)
W64 = ChunkLayout(
    40, 24, 8, b"data", _read_w64_header, 16, lambda size: struct.pack("<q", size + 24), _read_riff_byte_rate, True
)
AIFF = ChunkLayout(
    12,
    8,
    2,
    b"SSND",
    _read_aiff_header,
    4,
    lambda size: struct.pack(">I", min(size, 0xFFFF_FFFF)),
    _read_aiff_byte_rate,
    False,
)
ASF = ChunkLayout(
    0,
    24,
    1,
    b"data",
    _read_asf_header,
    16,
    lambda size: struct.pack("<q", size + 24),
    lambda *_: 0.0,  # packets vary
    is_sound_last=False,
)
CAF = ChunkLayout(
    8, 12, 1, b"data", _read_caf_header, 4, lambda size: struct.pack(">q", size), _read_caf_byte_rate, False
)


def choose_layout(head: bytes) -> ChunkLayout | None:
    """The layout of a file that begins so; None if it has no such chunks."""
    if head[:4] in {b"RIFF", b"RF64", b"BW64"} and head[8:12] == b"WAVE":
        return RIFF
    if head[:4] == b"riff" and head[5:16] == _W64_LIST_TAIL:
        return W64
    if head[:4] == b"FORM" and head[8:11] == b"AIF":
        return AIFF
    if head[:16] == ASF_HEADER:
        return ASF
    return CAF if head[:4] == b"caff" else None
