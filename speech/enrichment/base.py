"""The contract of an annotator: what it finds about a finished transcript is stored by itself, and its failure costs nothing else.

An annotator has a name, a version and options of its own. Its annotation says whether it worked. What could not be had is
``unavailable`` and what went wrong is ``failed``, each with a reason; neither stops the transcript, its subtitles or its page.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from speech.transcript import Transcript

OpenAudio = Callable[[], AbstractContextManager[Path]]
"""Opens the recording's normalized audio: 16 kHz WAV or RF64. Annotators that need none never call it."""


class Annotation(BaseModel):
    """What an annotator found, as it is stored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    annotator: str = Field(description="Name of the annotator.")
    version: str = Field(description="Version of the annotator.")
    key: str = Field(description="Work key: hash of the transcript's key, the annotator, its version and its options.")
    status: Literal["ok", "unavailable", "failed"] = Field(
        description="Whether there is a value; unavailable where it could not be had, failed where something went wrong."
    )
    reason: str | None = Field(default=None, description="Why there is no value; null where there is one.")
    value: dict[str, Any] | None = Field(default=None, description="What was found; null unless the status is ok.")

    @property
    def is_final(self) -> bool:
        """Whether running the annotator again, as it is, would give the same. A failure may pass."""
        return self.status != "failed"


class AnnotatorUnavailableError(Exception):
    """The annotator cannot work in this installation, for example because it has no model. Says what is missing."""


@dataclass(frozen=True, slots=True)
class Annotator:
    """One kind of annotation. A new one is a module with one of these, and a line in ``speech.enrichment.registry``.

    Attributes:
        name: As it stands in the JSON, in file names and in flags: lower case, ``_`` between words.
        version: Raise it when its results change; finished recordings get them when they are enriched again.
        annotate: Finds the value, as JSON can hold it. May raise ``AnnotatorUnavailableError``; any other exception is a failure.
        options: What can change its value.
        run_if: The option of the ``enriched`` step without which it is not run; None: it always runs.
        shown_if: The option without which files for programs do not have it, though it is run; None: they always have it.
        value_type: The class whose fields the value has, for the documentation; None: there is never a value.
    """

    name: str
    version: str
    annotate: Callable[[Transcript, OpenAudio], dict[str, Any]]
    options: Mapping[str, Any] = field(default_factory=dict)
    run_if: str | None = None
    shown_if: str | None = None
    value_type: type[Any] | None = None

    def run(
        self,
        transcript: Transcript,
        open_audio: OpenAudio,
        key: str,
        infrastructure_errors: tuple[type[Exception], ...],
    ) -> Annotation:
        """Annotate a transcript.

        Args:
            transcript: Finished.
            open_audio: See ``OpenAudio``.
            key: Work key of the annotation.
            infrastructure_errors: Errors that are neither the recording's nor the annotator's fault; raised unchanged.

        Returns:
            The annotation, whatever became of it.
        """
        try:
            value = json.loads(json.dumps(self.annotate(transcript, open_audio), allow_nan=False))
        except infrastructure_errors:
            raise
        except AnnotatorUnavailableError as error:
            return Annotation(
                annotator=self.name, version=self.version, key=key, status="unavailable", reason=str(error)
            )
        except Exception as error:  # noqa: BLE001 - an annotator's failure must not cost the transcript
            reason = f"{type(error).__name__}: {error}"
            return Annotation(annotator=self.name, version=self.version, key=key, status="failed", reason=reason)
        return Annotation(annotator=self.name, version=self.version, key=key, status="ok", value=value)
