"""The ``enriched`` step: failures, and annotations that are made once, stored by themselves and retried alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from recordings.states import State
from recordings.steps import enriched
from recordings.steps.enriched import EnrichOptions, list_pending
from recordings.steps.runner import RecordingGroup, StepFailedError
from speech.enrichment.base import Annotator, OpenAudio
from speech.enrichment.pauses import PAUSES
from speech.export.formats import FORMATS
from speech.transcript import Transcript
from tests.recordings.step_pipeline import (
    STEPS,
    StepPipeline,
    expected_outputs,
    write_five,
)


def test_errors_in_more_than_half_fail_the_enriched_step(pipeline: StepPipeline) -> None:
    names = write_five(pipeline)
    key = pipeline.form_batch()
    pipeline.run(key, STEPS[:3])
    for name in names[:3]:
        (pipeline.data / "whisper_json" / f"{name}.json").write_text("{}")
    with pytest.raises(StepFailedError, match="3 of 5 recordings failed in the enriched step"):
        pipeline.run(key, ["enriched"])
    assert [pipeline.get_outcome(name)[0] for name in names] == [State.TRANSCRIBED] * 3 + [State.DONE] * 2


class Counting:
    """An annotator that counts its calls, and fails while ``error`` is set."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[str] = []
        self.error = error
        self.annotator = Annotator("counted", "1", self.annotate)

    def annotate(self, transcript: Transcript, _: OpenAudio) -> dict[str, Any]:
        self.calls.append(transcript.file)
        if self.error is not None:
            raise self.error
        return {"segments": len(transcript.segments)}


def read_annotations(pipeline: StepPipeline, name: str) -> dict[str, Any]:
    document = json.loads((pipeline.data / "transcripts" / f"{name}.json").read_text())
    return dict(document["annotations"])


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    counting = Counting()
    monkeypatch.setattr(enriched, "ANNOTATORS", (PAUSES, counting.annotator))
    return counting


def test_a_page_option_runs_no_annotator_again(pipeline: StepPipeline, counting: Counting) -> None:
    pipeline.write_silence("a.wav", "same.wav")
    key = pipeline.form_batch()
    pipeline.run(key)
    assert counting.calls == ["a.wav"], "once for the recording, whatever its names"
    before = pipeline.list_outputs()
    pipeline.run(key, ["enriched"], enrich=EnrichOptions(embed_minutes=1))
    assert counting.calls == ["a.wav"]
    after = pipeline.list_outputs()
    pages = {path for path in after if path.startswith("transcripts/")}
    assert {path for path in after if after[path] != before[path]} == pages
    assert read_annotations(pipeline, "same.wav")["counted"] == {"segments": 0}


def test_an_annotator_that_fails_costs_nothing_else_and_is_retried_alone(
    pipeline: StepPipeline, counting: Counting
) -> None:
    counting.error = ZeroDivisionError("division by zero")
    pipeline.write_silence("a.wav")
    key = pipeline.form_batch()
    pipeline.run(key)
    assert pipeline.get_states(key) == {"a.wav": State.DONE}
    (member,) = pipeline.workspace.ledger.list_members(key)
    assert member.recording is not None
    reason = "ZeroDivisionError: division by zero"
    assert member.recording.flags["annotations_missing"] == f"counted: {reason}"
    assert set(pipeline.list_outputs()) == expected_outputs("a.wav")
    annotations = read_annotations(pipeline, "a.wav")
    assert annotations["counted"] == {"status": "failed", "reason": reason}
    assert annotations["pauses"]["unit"] == "words"
    before = pipeline.list_outputs()

    counting.error = None
    pipeline.run(key)
    assert counting.calls == ["a.wav", "a.wav"]
    (member,) = pipeline.workspace.ledger.list_members(key)
    assert member.recording is not None
    assert "annotations_missing" not in member.recording.flags
    assert read_annotations(pipeline, "a.wav")["counted"] == {"segments": 0}
    after = pipeline.list_outputs()
    assert {path for path in after if after[path] == before[path]} == {
        "input_audio/a.wav.wav",
        "whisper_json/a.wav.json",
    }
    pipeline.run(key)
    assert counting.calls == ["a.wav", "a.wav"]
    assert pipeline.list_outputs() == after


def test_what_cannot_be_had_is_flagged_and_not_asked_for_again(pipeline: StepPipeline) -> None:
    pipeline.write_silence("a.wav")
    key = pipeline.form_batch()
    wants_emotion = EnrichOptions(emotion=True)
    pipeline.run(key, enrich=wants_emotion)
    (member,) = pipeline.workspace.ledger.list_members(key)
    assert member.recording is not None
    assert member.recording.flags["annotations_missing"] == "emotion: no emotion model is part of this release"
    assert list_pending(pipeline.workspace, RecordingGroup(member.recording, (member,)), wants_emotion) == []
    before = pipeline.list_outputs()
    pipeline.run(key, enrich=wants_emotion)
    assert pipeline.list_outputs() == before
    pipeline.run(key)
    (member,) = pipeline.workspace.ledger.list_members(key)
    assert member.recording is not None
    assert "annotations_missing" not in member.recording.flags, "nobody wants it any more"


def test_a_stored_annotation_that_cannot_be_read_is_made_anew(pipeline: StepPipeline, counting: Counting) -> None:
    pipeline.write_silence("a.wav")
    key = pipeline.form_batch()
    pipeline.run(key)
    (pipeline.data / "annotations" / "a.wav.counted.json").write_text("{")
    pipeline.run(key, ["enriched"], enrich=EnrichOptions(embed_minutes=1))
    assert len(counting.calls) == 2


def test_plain_outputs_run_no_annotator(pipeline: StepPipeline, counting: Counting) -> None:
    pipeline.write_silence("a.wav")
    key = pipeline.form_batch()
    pipeline.run(key, enrich=EnrichOptions(page=False))
    assert counting.calls == []
    assert sorted(path for path in pipeline.list_outputs() if path.startswith("transcripts/")) == [
        f"transcripts/a.wav{suffix}" for suffix in sorted(each.suffix for each in FORMATS if not each.optional)
    ]
    assert {".srt", ".txt", ".vtt"} <= {each.suffix for each in FORMATS if not each.optional}


def test_names_of_other_batches_get_an_annotation_that_works_now(pipeline: StepPipeline, counting: Counting) -> None:
    counting.error = ValueError("not now")
    pipeline.write_silence("b.wav")
    pipeline.run(pipeline.form_batch())
    assert read_annotations(pipeline, "b.wav")["counted"]["status"] == "failed"
    counting.error = None
    (pipeline.raw / "a.wav").write_bytes((pipeline.raw / "b.wav").read_bytes())
    pipeline.run(pipeline.form_batch())
    for name in ("a.wav", "b.wav"):
        assert read_annotations(pipeline, name)["counted"] == {"segments": 0}, name


def test_an_annotation_that_cannot_be_stored_costs_no_output(pipeline: StepPipeline, counting: Counting) -> None:
    """A folder lies where the stored annotation belongs."""
    pipeline.write_silence("a.wav")
    (pipeline.data / "annotations" / "a.wav.counted.json").mkdir(parents=True)
    key = pipeline.form_batch()
    pipeline.run(key)
    assert pipeline.get_states(key) == {"a.wav": State.DONE}
    assert read_annotations(pipeline, "a.wav")["counted"] == {"segments": 0}
