"""Converts file paths (bytes) to printable names and back without loss, and makes the storage keys of outputs with limited length.

A *name* is the path of a recording below the input folder, with ``/`` between its parts. Bytes that are no UTF-8 and control
characters are percent-encoded, everywhere the same way, so a name can stand in a log, a table, a JSON file and an object key.
"""

from __future__ import annotations

import hashlib
import os
import re
from enum import StrEnum

_NAME_MAX_BYTES = 255  # the longest file name of ext4, XFS, APFS and NTFS
_LONGEST_SUFFIX_BYTES = 5  # ".json", ".html"
_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}")
_ESCAPED = re.compile(r"%([0-9A-F]{2})")


class Folder(StrEnum):
    """The folders below the data folder.

    Their names are public (requirements: persistent volume structure): users and other programs read them.
    """

    RAW = "raw_audio"
    NORMALIZED = "input_audio"
    TRANSCRIPTS = "whisper_json"
    ENRICHED = "transcripts"


def encode_name(raw: bytes) -> str:
    """Write a path's bytes as a name. Inverse of ``decode_name``; two paths never share a name.

    A ``%`` is escaped only if two hex digits follow it, so ``100%.wav`` stays unchanged.
    """
    escaped = _ESCAPE.sub(lambda match: b"%25" + match.group()[1:], raw)
    text = escaped.decode("utf-8", errors="surrogateescape")
    return "".join(_encode_character(character) for character in text)


def _encode_character(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as surrogateescape carries it
        return f"%{code - 0xDC00:02X}"
    if code < 0x20 or code == 0x7F:
        return f"%{code:02X}"
    return character


def guess_names(typed: str) -> list[str]:
    """The names that a typed text can mean: the text as an encoded name, and the encoding of the text as a path."""
    shown = "".join(_encode_character(character) for character in typed)
    return list(dict.fromkeys([shown, encode_name(os.fsencode(typed))]))


def decode_name(name: str) -> bytes:
    """The bytes of the path that ``encode_name`` wrote as ``name``."""
    text = _ESCAPED.sub(lambda match: chr(0xDC00 + int(match.group(1), 16)), name)
    return b"".join(_decode_character(character) for character in text)


def _decode_character(character: str) -> bytes:
    code = ord(character)
    return bytes([code - 0xDC00]) if 0xDC00 <= code <= 0xDCFF else character.encode()


def output_key(folder: Folder, name: str, suffix: str) -> str:
    """The storage key of an output: folder, full name of the recording, suffix.

    The name keeps its own suffix, so ``x.wav`` and ``x.mp3`` never have the same output. A part of a path that would become longer
    than a file system allows is cut and ends in ``~`` and a hash of the whole.
    """
    *parents, last = name.split("/")
    parts = [_shorten_part(part, _NAME_MAX_BYTES) for part in parents]
    parts.append(_shorten_part(last, _NAME_MAX_BYTES - _LONGEST_SUFFIX_BYTES))
    return f"{folder}/{'/'.join(parts)}{suffix}"


def _shorten_part(part: str, limit: int) -> str:
    raw = part.encode()
    if len(raw) <= limit:
        return part
    digest = hashlib.sha256(raw).hexdigest()[:16]
    return raw[: limit - len(digest) - 1].decode(errors="ignore") + "~" + digest
