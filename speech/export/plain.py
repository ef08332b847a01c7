"""Plain text: what was said, without times."""

from __future__ import annotations

from speech.export.base import ExportFormat
from speech.transcript import Transcript


def to_txt(transcript: Transcript) -> str:
    """The text, one line per segment; with several channels each line says which, counted from 1."""
    lines = []
    for segment in transcript.segments:
        text = " ".join(segment.text.split())
        if text and transcript.meta.channels > 1 and segment.channel is not None:
            text = f"[channel {segment.channel + 1}] {text}"
        if text:
            lines.append(f"{text}\n")
    return "".join(lines)


TEXT = ExportFormat(".txt", "text/plain; charset=utf-8", lambda source: to_txt(source.transcript))
