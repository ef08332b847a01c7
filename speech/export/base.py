"""What a file format gets and what it declares. A format is one module, and one line in ``speech.export.formats``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from speech.enrichment.base import Annotation
from speech.export.cues import Cue, make_cues
from speech.transcript import Transcript


@dataclass(frozen=True)
class ExportInput:
    """A finished recording, for any format.

    Attributes:
        transcript: What was said. ``transcript.file`` is the recording's name.
        annotations: Name of the annotator -> annotation, in order.
        shown_annotations: Names of those that the operator wants to see in files for programs.
        siblings: Name of each other file of the recording, such as ``TXT`` -> link to it, relative and percent-encoded.
        audio_href: Link to the normalized audio, relative and percent-encoded.
        open_audio: Opens the normalized audio.
        embed_s: Pages carry the audio of recordings up to this long, seconds.
    """

    transcript: Transcript
    annotations: Mapping[str, Annotation]
    shown_annotations: frozenset[str]
    siblings: Mapping[str, str]
    audio_href: str
    open_audio: Callable[[], AbstractContextManager[Path]]
    embed_s: float

    @cached_property
    def cues(self) -> list[Cue]:
        """The transcript cut into subtitles."""
        return make_cues(self.transcript)


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """A kind of file that is made of a finished recording.

    Attributes:
        suffix: Appended to the recording's whole name.
        media_type: As a web server calls it.
        render: Makes the file's text.
        optional: Whether it is left out where the operator wants plain outputs only.
    """

    suffix: str
    media_type: str
    render: Callable[[ExportInput], str]
    optional: bool = False

    @property
    def label(self) -> str:
        """How links name it: ``TXT``."""
        return self.suffix[1:].upper()
