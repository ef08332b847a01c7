"""Where everything lies: names of recordings, the artifacts that steps make of them, and the storage key of each.

A *name* is the path of a recording below the input folder, with ``/`` between its parts. Bytes that are no UTF-8 and control
characters are percent-encoded, everywhere the same way, so a name can stand in a log, a table, a JSON file and an object key.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from enum import StrEnum

from speech.export.base import ExportFormat
from speech.export.formats import FORMATS
from speech.export.page.format import PAGE as PAGE_FORMAT

_NAME_MAX_BYTES = 255  # the longest file name of ext4, XFS, APFS and NTFS
_RESERVED_SUFFIX_BYTES = 5
"""Room that every output's name leaves for a suffix. Raising it would rename the outputs of very long names; a longer suffix takes
its own room."""
_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}")
_ESCAPED = re.compile(r"%([0-9A-F]{2})")


class Folder(StrEnum):
    """The folders below the data folder.

    Their names are public (requirements: persistent volume structure): users and other programs read them.
    """

    RAW = "raw_audio"
    NORMALIZED = "input_audio"
    TRANSCRIPTS = "whisper_json"
    ANNOTATIONS = "annotations"
    ENRICHED = "transcripts"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that a step makes for each name of a recording.

    Attributes:
        folder: Where it lies.
        suffix: Appended to the whole name.
        media_type: As a web server calls it.
    """

    folder: Folder
    suffix: str
    media_type: str

    def key(self, name: str) -> str:
        """Its storage key for the recording of that name."""
        return output_key(self.folder, name, self.suffix)


NORMALIZED_AUDIO = Artifact(Folder.NORMALIZED, ".wav", "audio/wav")
TRANSCRIPT_JSON = Artifact(Folder.TRANSCRIPTS, ".json", "application/json")


def make_export_artifact(export: ExportFormat) -> Artifact:
    """The file of a format."""
    return Artifact(Folder.ENRICHED, export.suffix, export.media_type)


def make_annotation_artifact(annotator: str) -> Artifact:
    """The stored annotation of an annotator. It is what other steps read; the outputs for people and programs show it."""
    return Artifact(Folder.ANNOTATIONS, f".{annotator}.json", "application/json")


PAGE = make_export_artifact(PAGE_FORMAT)

EXPORTS = tuple(make_export_artifact(export) for export in FORMATS)
"""All that ``enriched`` can write for people and programs, as the registry of formats has it."""

ARTIFACTS = (NORMALIZED_AUDIO, TRANSCRIPT_JSON, *EXPORTS)
"""All outputs, in the order in which they are made."""


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
    parts.append(_shorten_part(last, _NAME_MAX_BYTES - max(_RESERVED_SUFFIX_BYTES, len(suffix.encode()))))
    return f"{folder}/{'/'.join(parts)}{suffix}"


def list_output_keys(name: str) -> list[str]:
    """The keys of every output that a name can have, in the order in which they are made."""
    return [artifact.key(name) for artifact in ARTIFACTS]


def _shorten_part(part: str, limit: int) -> str:
    raw = part.encode()
    if len(raw) <= limit:
        return part
    digest = hashlib.sha256(raw).hexdigest()[:16]
    return raw[: limit - len(digest) - 1].decode(errors="ignore") + "~" + digest
