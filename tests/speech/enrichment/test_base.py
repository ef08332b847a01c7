"""Annotators: what they find, what they cannot have, and what goes wrong, each said in the annotation."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from speech.enrichment.base import Annotation, Annotator, AnnotatorUnavailableError, OpenAudio
from speech.enrichment.emotion import EMOTION
from speech.enrichment.pauses import PAUSES, PauseReport
from speech.enrichment.registry import ANNOTATORS
from speech.transcript import Transcript
from tests.speech.export.transcripts import make_transcript


def run(annotator: Annotator, transcript: Transcript | None = None) -> Annotation:
    return annotator.run(transcript or make_transcript(), lambda: nullcontext(Path("/nonexistent")), "key", (OSError,))


def raising(error: Exception) -> Annotator:
    def annotate(_: Transcript, __: OpenAudio) -> dict[str, Any]:
        raise error

    return Annotator("broken", "3", annotate)


def test_a_value_is_stored_with_the_annotators_version_and_key() -> None:
    annotation = run(PAUSES)
    assert (annotation.annotator, annotation.version, annotation.key, annotation.status) == ("pauses", "1", "key", "ok")
    assert annotation.value is not None
    stored = Annotation.model_validate_json(annotation.model_dump_json())
    assert stored.model_dump_json() == annotation.model_dump_json()
    assert PauseReport.from_dict(stored.value or {}) == PauseReport.from_dict(annotation.value)


def test_what_cannot_be_had_is_unavailable_with_its_reason_and_stays_so() -> None:
    annotation = run(EMOTION)
    assert (annotation.status, annotation.value) == ("unavailable", None)
    assert annotation.reason == "no emotion model is part of this release"
    assert annotation.is_final
    assert run(raising(AnnotatorUnavailableError("no weights"))).reason == "no weights"


def test_a_failure_is_a_result_that_may_be_tried_again() -> None:
    annotation = run(raising(ZeroDivisionError("division by zero")))
    assert (annotation.status, annotation.reason) == ("failed", "ZeroDivisionError: division by zero")
    assert not annotation.is_final


def test_errors_of_the_machine_are_no_annotation() -> None:
    with pytest.raises(OSError, match="No space left"):
        run(raising(OSError(28, "No space left on device")))


def test_names_are_unique_and_can_stand_in_file_names() -> None:
    names = [annotator.name for annotator in ANNOTATORS]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() and name.islower() for name in names)


@pytest.mark.parametrize("value", [{"rate": float("nan")}, {"path": Path("x")}])
def test_a_value_that_json_cannot_hold_is_a_failure(value: dict[str, Any]) -> None:
    annotation = run(Annotator("odd", "1", lambda _, __: value))
    assert (annotation.status, annotation.value) == ("failed", None)


def test_a_translation_is_counted_in_words_of_english() -> None:
    transcript = make_transcript().model_copy(update={"language": "zh"})
    assert (run(PAUSES, transcript).value or {})["unit"] == "characters"
    options = transcript.meta.options.model_copy(update={"task": "translate"})
    translated = transcript.model_copy(update={"meta": transcript.meta.model_copy(update={"options": options})})
    assert (run(PAUSES, translated).value or {})["unit"] == "words"
