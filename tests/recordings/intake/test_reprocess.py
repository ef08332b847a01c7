"""Finished recordings whose outputs differ from the current options are planned again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from recordings.batches import BatchLimits
from recordings.intake.reprocess import CurrentOptions, Reprocessing, plan
from recordings.steps import enriched
from recordings.steps.enriched import EnrichOptions
from recordings.steps.normalized import NormalizeOptions
from speech.enrichment.base import Annotator, OpenAudio
from speech.enrichment.pauses import PAUSES
from speech.transcript import Options, Transcript
from tests.recordings.step_pipeline import (
    NO_WEIGHTS,
    StepPipeline,
    count_worked,
)

CURRENT_OPTIONS = CurrentOptions(NormalizeOptions(), NO_WEIGHTS.sha256, Options(language="en"), EnrichOptions())


def plan_names(pipeline: StepPipeline, current: CurrentOptions, *names: str) -> tuple[dict[str, int], list[set[str]]]:
    """Step -> number of recordings planned again from there on, and the names in each new batch."""
    named = (names, ()) if names else None
    planned = plan(pipeline.workspace, current, BatchLimits(max_recordings=2), "test", named)
    return dict(planned.recordings_by_step), [set(pipeline.get_states(key)) for key in planned.batches]


def test_only_recordings_made_with_other_options_are_planned_again(pipeline: StepPipeline) -> None:
    """Recordings that share a batch are independent: redoing one must not change the others."""
    pipeline.write_silence("a.wav", "twin.wav")
    pipeline.write_silence("b.wav")
    first = pipeline.form_batch()
    pipeline.run(first)
    assert plan_names(pipeline, CURRENT_OPTIONS) == ({}, [])
    without_prosody = replace(CURRENT_OPTIONS, enrich=EnrichOptions(prosody=False))
    assert plan_names(pipeline, without_prosody, "missing.wav") == ({}, [])
    planned = plan(pipeline.workspace, without_prosody, BatchLimits(), "test", (["b.wav"], []))
    (key,) = planned.batches
    assert pipeline.workspace.ledger.count_totals().is_consistent
    assert count_worked(pipeline.run(key, enrich=without_prosody.enrich)) == {
        "normalized": 0,
        "transcript": 0,
        "enriched": 1,
    }
    assert plan_names(pipeline, without_prosody) == ({"enriched": 1}, [{"a.wav", "twin.wav"}]), "under all its names"
    small_beam = replace(CURRENT_OPTIONS, transcribe=Options(language="en", beam_size=1))
    assert plan_names(pipeline, small_beam) == ({"transcript": 2}, [{"a.wav", "twin.wav"}, {"b.wav"}])
    other_model = replace(CURRENT_OPTIONS, model_sha256="1" * 64)
    assert plan_names(pipeline, other_model)[0] == {"transcript": 2}
    mono = replace(CURRENT_OPTIONS, normalize=NormalizeOptions(keep_channels=False))
    assert plan_names(pipeline, mono)[0] == {"normalized": 2}
    assert pipeline.workspace.ledger.list_open_batches(2e9, 10) == [], "nothing is unfinished before a run begins"


def test_options_of_a_recording_count_and_a_changed_setting_touches_only_what_it_does_not_say(
    pipeline: StepPipeline,
) -> None:
    pipeline.write_silence("a.wav", "own.wav")
    (pipeline.raw / "own.wav.options.yaml").write_text("prompt: Anna")
    pipeline.run(pipeline.form_batch())
    assert plan_names(pipeline, CURRENT_OPTIONS) == ({}, [])
    prompted = replace(CURRENT_OPTIONS, transcribe=Options(language="en", initial_prompt="Ben"))
    assert plan_names(pipeline, prompted) == ({"transcript": 1}, [{"a.wav"}])
    small_beam = replace(CURRENT_OPTIONS, transcribe=Options(language="en", beam_size=1))
    assert plan_names(pipeline, small_beam) == ({"transcript": 2}, [{"a.wav", "own.wav"}])


def test_a_recording_without_its_input_is_not_planned(pipeline: StepPipeline) -> None:
    """Otherwise every ``stt run`` would start a run without any work."""
    pipeline.write_silence("a.wav")
    pipeline.run(pipeline.form_batch())
    mono = replace(CURRENT_OPTIONS, normalize=NormalizeOptions(keep_channels=False))
    (pipeline.raw / "a.wav").rename(pipeline.data / "away.wav")
    assert plan(pipeline.workspace, mono, BatchLimits(), "test") == Reprocessing((), {}, 0.0, kept=1)
    assert plan(pipeline.workspace, mono, BatchLimits(), "test") == Reprocessing((), {}, 0.0, kept=0), "said once"
    assert plan_names(pipeline, replace(mono, model_sha256="1" * 64))[0] == {"transcript": 1}, (
        "the normalized audio is still there"
    )
    (pipeline.data / "away.wav").rename(pipeline.raw / "a.wav")
    assert plan_names(pipeline, mono, "a.wav")[0] == {"normalized": 1}, "what is named is always looked at"
    (pipeline.raw / "a.wav").unlink()
    (pipeline.data / "input_audio" / "a.wav.wav").unlink()
    assert plan_names(pipeline, replace(mono, model_sha256="2" * 64)) == ({}, [])


def test_of_two_claims_on_the_same_recording_one_succeeds(pipeline: StepPipeline) -> None:
    pipeline.write_silence("a.wav")
    pipeline.run(pipeline.form_batch())
    (member,) = pipeline.workspace.ledger.iter_finished()
    retry = replace(member.delivery, attempt=1)
    assert pipeline.workspace.ledger.reclaim("first", [retry], "test")
    assert not pipeline.workspace.ledger.reclaim("second", [retry], "test")
    assert set(pipeline.get_states("first")) == {"a.wav"}


def test_a_finished_recording_with_a_failed_annotation_is_enriched_again(
    pipeline: StepPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Transcript, __: OpenAudio) -> dict[str, Any]:
        raise ValueError("not now")

    working = enriched.ANNOTATORS
    monkeypatch.setattr(enriched, "ANNOTATORS", (PAUSES, Annotator("failing", "1", fail)))
    pipeline.write_silence("a.wav", "b.wav")
    pipeline.run(pipeline.form_batch())
    assert plan_names(pipeline, CURRENT_OPTIONS) == ({"enriched": 1}, [{"a.wav", "b.wav"}])
    monkeypatch.setattr(enriched, "ANNOTATORS", working)
    assert plan_names(pipeline, CURRENT_OPTIONS) == ({}, []), "nobody wants that annotation any more"
