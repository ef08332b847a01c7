"""Work keys: what is done is kept, and a changed option repeats only what depends on it."""

from __future__ import annotations

import json

import pytest

from recordings.states import State
from recordings.steps.enriched import EnrichOptions
from recordings.steps.normalized import NormalizeOptions
from speech.transcript import TranscribeOptions
from tests.recordings.step_pipeline import (
    StepPipeline,
    count_worked,
    expected_outputs,
)


def test_a_finished_batch_is_left_unchanged_and_creates_no_engine(pipeline: StepPipeline) -> None:
    """A retry of a finished batch loads no model and changes no file."""
    pipeline.write_silence("a.wav")
    pipeline.write_silence("b/b.wav")
    key = pipeline.form_batch()
    pipeline.run(key)
    before = pipeline.list_outputs()
    assert count_worked(pipeline.run(key)) == {"normalized": 0, "transcript": 0, "enriched": 0}
    assert pipeline.list_outputs() == before
    assert len(pipeline.engines) == 1


def test_a_changed_option_repeats_its_step_and_the_later_ones_only(pipeline: StepPipeline) -> None:
    pipeline.write_silence("a.wav", "twin.wav")
    pipeline.write_silence("b.wav")
    key = pipeline.form_batch()
    assert count_worked(pipeline.run(key)) == {"normalized": 2, "transcript": 2, "enriched": 2}

    enrich = EnrichOptions(prosody=False)
    before = pipeline.list_outputs()
    assert count_worked(pipeline.run(key, enrich=enrich)) == {"normalized": 0, "transcript": 0, "enriched": 2}
    assert len(pipeline.engines) == 1, "nothing to transcribe"
    changed = {name.split("/")[0] for name, mtime in pipeline.list_outputs().items() if before[name] != mtime}
    assert changed == {"transcripts"}
    assert "pauses" not in json.loads((pipeline.data / "transcripts" / "twin.wav.json").read_text())["annotations"]

    careful = TranscribeOptions(language="en", beam_size=1)
    reports = pipeline.run(key, enrich=enrich, options=careful)
    assert count_worked(reports) == {"normalized": 0, "transcript": 2, "enriched": 2}
    assert len(pipeline.engines) == 2
    for name in ("a.wav", "twin.wav", "b.wav"):
        for folder in ("whisper_json", "transcripts"):
            transcript_json = json.loads((pipeline.data / folder / f"{name}.json").read_text())
            assert transcript_json["meta"]["options"]["beam_size"] == 1

    mono = NormalizeOptions(keep_channels=False)
    reports = pipeline.run(key, enrich=enrich, options=careful, normalize=mono)
    assert count_worked(reports) == {"normalized": 2, "transcript": 2, "enriched": 2}
    assert set(pipeline.get_states(key).values()) == {State.DONE}


@pytest.mark.parametrize(
    ("lost", "again"),
    [
        ("transcripts/a.wav.srt", {"normalized": 0, "transcript": 0, "enriched": 1}),
        ("whisper_json/a.wav.json", {"normalized": 0, "transcript": 1, "enriched": 1}),
        ("input_audio/a.wav.wav", {"normalized": 1, "transcript": 1, "enriched": 1}),
    ],
)
def test_a_lost_output_is_made_again(pipeline: StepPipeline, lost: str, again: dict[str, int]) -> None:
    pipeline.write_silence("a.wav")
    key = pipeline.form_batch()
    pipeline.run(key)
    (pipeline.data / lost).unlink()
    assert count_worked(pipeline.run(key)) == again
    assert set(pipeline.list_outputs()) == expected_outputs("a.wav")
