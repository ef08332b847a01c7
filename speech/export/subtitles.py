"""Subtitle files: cues as SubRip (SRT) and as WebVTT. How a transcript is cut into cues is in ``speech/export/cues.py``."""

from __future__ import annotations

from collections.abc import Iterable

from speech.export.base import ExportFormat
from speech.export.cues import Cue

# Invisible character without a line break. It is inserted so that a SubRip player does not read text as a time line or a tag.
_WORD_JOINER = "\u2060"


def to_srt(cues: Iterable[Cue]) -> str:
    """The cues as SubRip text; the empty string when there are none. SubRip knows no escapes, so a word joiner serves as one."""
    return "\n".join(
        f"{number}\n{_format_timestamp(cue.start_ms, ',')} --> {_format_timestamp(cue.end_ms, ',')}\n"
        + "".join(
            line.replace("-->", f"--{_WORD_JOINER}>").replace("<", f"<{_WORD_JOINER}") + "\n" for line in cue.lines
        )
        for number, cue in enumerate(cues, start=1)
    )


def to_vtt(cues: Iterable[Cue]) -> str:
    r"""The cues as WebVTT (W3C); ``"WEBVTT\n"`` when there are none."""
    return "WEBVTT\n" + "".join(
        f"\n{_format_timestamp(cue.start_ms, '.')} --> {_format_timestamp(cue.end_ms, '.')}\n"
        + "".join(f"{line.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')}\n" for line in cue.lines)
        for cue in cues
    )


def _format_timestamp(milliseconds: int, mark: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{mark}{rest:03}"


SRT = ExportFormat(".srt", "text/plain; charset=utf-8", lambda source: to_srt(source.cues))
"""As plain text: browsers show it and do not save it."""

VTT = ExportFormat(".vtt", "text/vtt; charset=utf-8", lambda source: to_vtt(source.cues))
