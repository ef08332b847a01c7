"""Errors that are the recording's fault. Errors of the machine are raised as they are.

``BadAudioError`` means that the bytes themselves are unusable, so a retry cannot help: the recording is quarantined with the
error's sentence, and the rest of its batch continues. Any other exception during transcription (a full disk, a lost GPU) is an
infrastructure problem and fails the step.
"""

from __future__ import annotations

from typing import Literal

BadAudioKind = Literal["empty", "not_audio", "no_audio_stream", "truncated", "undecodable", "too_long"]


class BadAudioError(Exception):
    """The bytes cannot become a transcript; the recording is quarantined.

    Attributes:
        kind: A short, stable name of what is wrong, for counting.
        sentence: One sentence for a person: what is wrong and what to do.
    """

    def __init__(self, kind: BadAudioKind, sentence: str) -> None:
        super().__init__(f"{kind}: {sentence}")
        self.kind: BadAudioKind = kind
        self.sentence = sentence
