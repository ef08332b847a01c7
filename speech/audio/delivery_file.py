"""The bytes of a delivered file as FFmpeg and our own readers of headers see them.

FFmpeg is given this object and no name. It may show a part of the file only, with other bytes in a header's size fields, and it
limits how often FFmpeg may ask.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import BinaryIO

from speech.audio.errors import BadAudioError

_FREE_CALLS = 100_000
_BYTES_PER_CALL = 64
"""FFmpeg may read and seek 100,000 times, and once more for every 64 bytes of the file. Ordinary files need a call for thousands of
bytes; damaged ones, such as megabytes of empty chunks, needed two for every 8 bytes."""

_MAX_TAGS = 1_000
"""Most ID3v2 tags that are skipped in front of a recording. Real files have one or two."""

BLOCK_BYTES = 1 << 20
"""Bytes that our own readers read at once."""


class DeliveryFile:
    """A delivered file from one position on, without a name. Position 0 is behind any ID3 tag.

    The tag is skipped because FFmpeg looks for the container only in the first mebibyte, and cover art in the tag can be larger.

    Args:
        file: The open file; its own position is neither used nor moved.
        begin: Position in the file of the first byte that is shown.

    Attributes:
        size: Bytes that are shown.
        full_size: Bytes up to the end of the file.
        origin: Position in the file of position 0.
    """

    def __init__(self, file: BinaryIO, begin: int = 0) -> None:
        self._file = file
        self._descriptor = file.fileno()
        self.origin = begin + _measure_id3_tags(self._descriptor, begin)
        self._position = 0
        self._patches: tuple[tuple[int, bytes], ...] = ()
        self.size = self.full_size = max(0, os.fstat(self._descriptor).st_size - self.origin)
        self._calls_left = _FREE_CALLS + self.size // _BYTES_PER_CALL

    def read(self, count: int) -> bytes:
        """Return up to ``count`` bytes from the current position.

        Raises:
            BadAudioError: ``undecodable``, if FFmpeg reads and seeks far more often than the size of the file explains.
            OSError: The file cannot be read.
        """
        self._count_call()
        content = self.peek(self._position, count) if self._calls_left >= 0 else b""
        self._position += len(content)
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position and return it; a negative error number, as FFmpeg expects, for a position before the first byte."""
        self._count_call()
        target = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence, self.size)
        if target < 0:
            return -errno.EINVAL
        self._position = target
        return target

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def peek(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes at ``offset`` without moving the position."""
        count = min(count, self.size - offset)
        if count <= 0 or offset < 0:
            return b""
        content = os.pread(self._descriptor, count, self.origin + offset)
        for begin, replacement in self._patches:
            if begin < offset + len(content) and offset < begin + len(replacement):
                patched = bytearray(content)
                low, high = max(begin, offset), min(begin + len(replacement), offset + len(content))
                patched[low - offset : high - offset] = replacement[low - begin : high - begin]
                content = bytes(patched)
        return content

    def show(self, end: int, patches: tuple[tuple[int, bytes], ...]) -> None:
        """Show only the bytes before ``end``, and these bytes at these offsets in place of the file's own."""
        self.size, self._patches = min(end, self.size), patches

    def measure_id3_tags(self, offset: int) -> int:
        """Bytes of the ID3v2 tags that begin at ``offset``."""
        return _measure_id3_tags(self._descriptor, self.origin + offset)

    def open_from(self, offset: int) -> DeliveryFile:
        """The same file from ``offset`` on to its true end, with nothing replaced."""
        return DeliveryFile(self._file, self.origin + offset)

    def iter_blocks(self, begin: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield offset and bytes of blocks, first of 4 KiB, then of up to a mebibyte."""
        count = 1 << 12
        while begin < end:
            yield begin, self.peek(begin, min(count, end - begin))
            begin, count = begin + count, min(2 * count, BLOCK_BYTES)

    def find_end_of_content(self, begin: int, end: int, filler: bytes = b"\0") -> int:
        """End of the last byte between ``begin`` and ``end`` that is not ``filler``; ``begin`` if all are."""
        while end > begin:
            low = max(begin, end - BLOCK_BYTES)
            content = self.peek(low, end - low).rstrip(filler)
            if content:
                return low + len(content)
            end = low
        return begin

    def _count_call(self) -> None:
        self._calls_left -= 1
        if self._calls_left == -1:  # raised once: FFmpeg may ask again before it stops
            raise BadAudioError(
                "undecodable",
                f"The structure of the file ({self.size:,} bytes) is damaged: finding the sound in it takes more steps than any "
                "recording needs. Export it again and deliver it again.",
            )


def _measure_id3_tags(descriptor: int, begin: int) -> int:
    """Length of the ID3v2 tags at ``begin``, as the ID3v2.4 standard counts it: ten bytes of header, sizes of seven bits a byte."""
    size = 0
    for _ in range(_MAX_TAGS):
        head = os.pread(descriptor, 10, begin + size)
        if len(head) < 10 or head[:3] != b"ID3" or max(head[6:10]) > 0x7F:
            return size
        footer = 10 if head[5] & 0x10 else 0
        size += 10 + footer + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    return size
