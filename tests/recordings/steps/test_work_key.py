"""Work keys: what is done is kept, and a changed option repeats only what depends on it."""

from __future__ import annotations

import json

import pytest

from recordings.states import State
from recordings.steps import enriched, normalized, transcript
from recordings.steps.enriched import EnrichOptions
from recordings.steps.normalized import NormalizeOptions
from speech.asr.engine import ENGINE_VERSION
from speech.transcript import Options, TranscribeOptions
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


def test_default_options_give_the_keys_that_earlier_versions_gave() -> None:
    """A finished recording is redone when its key changes; a new option at its default must not change it."""
    keys = [
        normalized.get_work_key("0" * 64, NormalizeOptions()),
        transcript.get_work_key("1" * 64, "2" * 64, Options()),
        enriched.get_work_key("3" * 64, EnrichOptions()),
    ]
    versions = (normalized.VERSION, ENGINE_VERSION, enriched.VERSION)
    assert versions == ("4", "8", "1"), "keys change with the version: write them anew, and say so in the changelog"
    assert keys == [
        "5910f29f851380266168d87d35a3cf71b2b7676937972e661da77a6b22134116",
        "e2a99300af17c674068f44c9deb1d1c58fa48049278e20c7f4bb46edbb3a5b4e",
        "7c79ae7da743d43b0d643b30388ec1d895ff620eac001056c9511fd0c1ea4ff1",
    ]
    prompted = Options(initial_prompt="Ask not")
    assert transcript.get_work_key("1" * 64, "2" * 64, prompted) not in keys
