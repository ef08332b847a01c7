"""The listening page as a format: its rates come from the annotation, its audio from the recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

from speech.enrichment.pauses import PAUSES, PauseReport
from speech.export.base import ExportFormat, ExportInput

if TYPE_CHECKING:
    from speech.export.page.page import EmbeddedAudio, LinkedAudio


def to_page(source: ExportInput) -> str:
    """The page of a recording. Where its pauses could not be annotated, it has none of their figures."""
    from speech.export.page.page import (
        render_page,  # jinja2, numpy and PyAV: slow to import, and the registry is read everywhere
    )

    annotation = source.annotations[PAUSES.name]
    rates = PauseReport.from_dict(annotation.value) if annotation.value else PauseReport.make_empty()
    return render_page(
        source.transcript,
        rates,
        audio=_make_audio(source),
        title=source.transcript.file,
        siblings=source.siblings,
    )


def _make_audio(source: ExportInput) -> EmbeddedAudio | LinkedAudio:
    from speech.export.page.page import LinkedAudio, embed_mp3

    # Without speech the page has no words to click on, so the audio is linked: encoding MP3 would be most of the step's work.
    if not source.transcript.segments or source.transcript.meta.audio_duration_sec > source.embed_s:
        return LinkedAudio(source.audio_href)
    with source.open_audio() as path:
        return embed_mp3(path)


PAGE = ExportFormat(".html", "text/html; charset=utf-8", to_page, optional=True)
