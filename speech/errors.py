"""What can be wrong with a recording, as opposed to what can be wrong with the machine.

A ``BadAudio`` is a fact about the bytes: trying again changes nothing, so the recording is quarantined with the sentence and its
batch goes on. Everything else that is raised while listening (a full disk, a lost GPU) is infrastructure and fails the step.
"""

from __future__ import annotations

from typing import Literal

BadAudioKind = Literal["empty", "not_audio", "no_audio_stream", "truncated", "undecodable", "too_long"]


class BadAudio(Exception):  # noqa: N818 - the field says "bad audio", and an error it is
    """The bytes cannot become a transcript.

    Attributes:
        kind: A short, stable name of what is wrong, for counting.
        sentence: One sentence for a person: what is wrong and what to do.
    """

    def __init__(self, kind: BadAudioKind, sentence: str) -> None:
        super().__init__(f"{kind}: {sentence}")
        self.kind: BadAudioKind = kind
        self.sentence = sentence
