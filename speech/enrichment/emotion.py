"""Emotions: asked for by an option, and not to be had yet."""

from __future__ import annotations

from typing import Any

from speech.enrichment.base import Annotator, AnnotatorUnavailableError, OpenAudio
from speech.transcript import Transcript


def annotate_emotion(_: Transcript, __: OpenAudio) -> dict[str, Any]:
    """Say that there is no model.

    Raises:
        AnnotatorUnavailableError: Always.
    """
    raise AnnotatorUnavailableError("no emotion model is part of this release")


EMOTION = Annotator("emotion", "0", annotate_emotion, run_if="emotion")
