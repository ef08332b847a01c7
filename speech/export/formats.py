"""The registry of formats, in the order in which they are made. Names, media types, links and pages follow from it."""

from __future__ import annotations

from speech.export.annotated import ANNOTATED_JSON
from speech.export.page.format import PAGE
from speech.export.plain import TEXT
from speech.export.subtitles import SRT, VTT

FORMATS = (TEXT, SRT, VTT, ANNOTATED_JSON, PAGE)

_BYTES, _WORD_BYTES, _EMBEDDED_MINUTE_BYTES = 12 * 2**20, 2_900, 3 * 2**19
_MOST_EMBEDDED_CHANNELS = 2


def estimate_memory_bytes(words: int, embedded_s: float, channels: int) -> int:
    """Memory of making all files of one recording, with its annotations.

    Measured with 1 to 600 minutes of speech in one and two channels on an AMD EPYC: ``python -m benchmarks memory``.

    Args:
        words: Of its transcript.
        embedded_s: Seconds of audio that the page carries; 0 where the audio is linked.
        channels: Of its normalized audio.
    """
    embedded = _EMBEDDED_MINUTE_BYTES * min(_MOST_EMBEDDED_CHANNELS, channels) * embedded_s / 60
    return round(_BYTES + _WORD_BYTES * words + embedded)
