"""Duplicates: the work is done once, and every name gets its outputs."""

from __future__ import annotations

import json

from speech.models.registry import Weights
from tests.recordings.step_pipeline import (
    StepPipeline,
    count_worked,
    expected_outputs,
)


def test_same_bytes_are_transcribed_once_and_every_name_gets_its_outputs(
    pipeline: StepPipeline, base_weights: Weights
) -> None:
    """Within a batch and in a later one. Each output holds the name it was written for."""
    pipeline.weights = base_weights
    pipeline.write_speech("a.wav", "team/a.wav")
    first = pipeline.form_batch()
    assert count_worked(pipeline.run(first)) == {"normalized": 1, "transcript": 1, "enriched": 1}
    pipeline.write_speech("later.wav")
    second = pipeline.form_batch()
    assert count_worked(pipeline.run(second))["transcript"] == 0
    assert len(pipeline.engines) == 1

    names = ("a.wav", "team/a.wav", "later.wav")
    assert set(pipeline.list_outputs()) == set().union(*map(expected_outputs, names))
    texts = set()
    for name in names:
        for output in (f"whisper_json/{name}.json", f"transcripts/{name}.json"):
            output_json = json.loads((pipeline.data / output).read_text())
            assert (output_json["file"], output_json["meta"]["audio_file"]) == (name, name)
        assert f"<title>{name}" in (pipeline.data / "transcripts" / f"{name}.html").read_text()
        texts.add((pipeline.data / "transcripts" / f"{name}.txt").read_text())
    assert len(texts) == 1
    assert "you can do for your country" in texts.pop()
    members = [*pipeline.workspace.ledger.list_members(first), *pipeline.workspace.ledger.list_members(second)]
    assert {m.delivery.name: dict(m.flags) for m in members} == {
        "a.wav": {},
        "team/a.wav": {"duplicate": "same bytes as a.wav"},
        "later.wav": {"duplicate": "same bytes as a.wav"},
    }


def test_outputs_of_a_duplicate_hold_its_full_name_even_if_their_file_names_are_shortened(
    pipeline: StepPipeline,
) -> None:
    pipeline.write_silence("a.wav")
    name = f"{'x' * 250}.wav"
    (pipeline.raw / name).write_bytes((pipeline.raw / "a.wav").read_bytes())
    pipeline.run(pipeline.form_batch())
    for folder in ("whisper_json", "transcripts"):
        (output_json,) = (json.loads(path.read_text()) for path in (pipeline.data / folder).glob("x*.json"))
        assert (output_json["file"], output_json["meta"]["audio_file"]) == (name, name)
