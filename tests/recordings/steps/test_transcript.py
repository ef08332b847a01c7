"""The ``transcript`` step: when a model is loaded, and what happens without a GPU or without audio."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import pytest

from recordings.states import State
from recordings.steps import checks, verify
from recordings.steps.runner import StepFailedError
from speech.asr.model_pool import EngineConfig
from speech.asr.whisper import DeviceUnavailableError
from speech.models.registry import Weights
from speech.transcript import TranscribeOptions, Transcript
from tests.recordings.step_pipeline import (
    PROJECT,
    STEPS,
    StepPipeline,
)
from tests.speech.audio.encodings import encode
from tests.speech.machine.control_group import control_group, run_in


def test_a_silent_batch_loads_no_model(pipeline: StepPipeline, base_weights: Weights) -> None:
    pipeline.weights = base_weights
    pipeline.write_silence("a.wav")
    key = pipeline.form_batch()
    pipeline.run(key)
    assert [engine.is_loaded for engine in pipeline.engines] == [False]
    assert pipeline.get_states(key) == {"a.wav": State.DONE}


TRANSCRIBE = """
import sys
from pathlib import Path
from recordings.steps.verify import check_transcript
from recordings.workspace import Workspace
from speech.asr.model_pool import EngineConfig
from speech.models.registry import resolve
from tests.recordings.step_pipeline import StepPipeline
data, ledger, model_dir, key = sys.argv[1:]
with Workspace.open(Path(data).as_uri(), ledger) as workspace:
    weights = resolve("base", model_dir=Path(model_dir), cache_dir=Path(model_dir))
    pipeline = StepPipeline(Path(data), workspace, weights)
    report = pipeline.run(key, ["transcript"], config=EngineConfig(workers=4))["transcript"]
    print(check_transcript(workspace, report, None)[-1].sentence)
    print(report.throttling.throttled, report.throttling.throttled_s)
"""


def test_a_step_under_a_tight_quota_tells_how_often_the_kernel_stopped_it(
    pipeline: StepPipeline, base_weights: Weights
) -> None:
    pipeline.write_speech("a.wav")
    key = pipeline.form_batch()
    pipeline.run(key, STEPS[:2])
    ledger = pipeline.workspace.ledger.address
    with control_group(0.2) as group:
        arguments = [str(pipeline.data), ledger, str(base_weights.path), key]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        result = run_in(group, [sys.executable, "-c", TRANSCRIBE, *arguments], env=environment, timeout=250)
    assert result.returncode == 0, result.stderr
    sentence, counters = result.stdout.splitlines()
    periods, seconds = counters.split()
    assert int(periods) > 0
    assert float(seconds) > 0
    assert sentence.startswith(f"The kernel stopped the container in {periods} of ")
    assert sentence.endswith(checks.CPU_NOT_THROTTLED.remedy)


def test_a_missing_gpu_fails_the_step_and_no_recording(pipeline: StepPipeline) -> None:
    """The recordings are fine, however many there are, and wait for the GPU."""
    import ctranslate2

    if ctranslate2.get_cuda_device_count() > 0:
        pytest.skip("this machine has a GPU")
    pipeline.write_speech("a.wav")
    key = pipeline.form_batch()
    with pytest.raises(DeviceUnavailableError, match="none is visible here"):
        pipeline.run(key, config=EngineConfig(device="cuda", compute_type="float16"))
    assert pipeline.get_states(key) == {"a.wav": State.NORMALIZED}


def read_transcript(pipeline: StepPipeline, name: str) -> Transcript:
    path = pipeline.data / "whisper_json" / f"{name}.json"
    return Transcript.model_validate_json(path.read_bytes())


def test_each_recording_is_transcribed_with_its_own_options(pipeline: StepPipeline, base_weights: Weights) -> None:
    pipeline.weights = base_weights
    pipeline.write_speech("plain.wav", "french.wav", "prompted.wav")
    (pipeline.raw / "french.wav.options.yaml").write_text("language: fr\n")
    (pipeline.raw / "prompted.wav.options.yaml").write_text("prompt: John F. Kennedy\nhotwords: [country, ask]\n")
    key = pipeline.form_batch()
    pipeline.run(key)
    assert set(pipeline.get_states(key).values()) == {State.DONE}
    transcripts = {name: read_transcript(pipeline, f"{name}.wav") for name in ("plain", "french", "prompted")}
    assert len({each.meta.audio_sha256 for each in transcripts.values()}) == 1
    assert [each.language for each in transcripts.values()] == ["en", "fr", "en"]
    options = transcripts["prompted"].meta.options
    assert (options.initial_prompt, options.hotwords) == ("John F. Kennedy", "country, ask")
    assert all("country" in each.text for each in transcripts.values())
    again = pipeline.run(key)
    assert {report.worked for report in again.values()} == {0}, "nothing to do a second time"


def test_what_a_model_cannot_do_for_one_recording_quarantines_that_alone(
    pipeline: StepPipeline, base_weights: Weights
) -> None:
    pipeline.weights = replace(base_weights, name="tiny.en")  # what a model can do is known by its name
    pipeline.write_speech("plain.wav", "translated.wav", "forced.wav")
    (pipeline.raw / "translated.wav.options.yaml").write_text("translate: true\n")
    (pipeline.raw / "forced.wav.options.yaml").write_text("language: vi\n")
    key = pipeline.form_batch()
    pipeline.run(key)
    assert pipeline.get_states(key) == {
        "plain.wav": State.DONE,
        "translated.wav": State.QUARANTINED,
        "forced.wav": State.QUARANTINED,
    }
    state, kind, reason = pipeline.get_outcome("translated.wav")
    assert (state, kind) == (State.QUARANTINED, "options")
    assert (
        "The options that came with it ask for what the model cannot do. tiny.en cannot translate to English" in reason
    )
    assert "tiny.en knows English only" in pipeline.get_outcome("forced.wav")[2]


def test_what_was_found_when_reading_reaches_ledger_transcript_page_and_a_check(pipeline: StepPipeline) -> None:
    encode(pipeline.raw / "gap.webm", "webm", gap=(4, 2.5))
    pipeline.write_silence("whole.wav")
    key = pipeline.form_batch()
    reports = pipeline.run(key)
    for beam_size in (2, 3):
        (member,) = (m for m in pipeline.workspace.ledger.list_members(key) if m.delivery.name == "gap.webm")
        assert member.recording is not None
        assert set(member.recording.flags) == {"gaps", "no_speech"}
        assert {step: set(flags) for step, flags in member.recording.step_flags.items()} == {
            "normalized": {"gaps"},
            "transcript": {"no_speech"},
        }
        assert dict(read_transcript(pipeline, "gap.webm").meta.flags) == member.recording.flags
        assert "The timestamps jump" in (pipeline.data / "transcripts" / "gap.webm.html").read_text()
        reports = pipeline.run(key, options=TranscribeOptions(language="en", beam_size=beam_size))
    (complete,) = (
        result
        for result in verify.check_normalized(pipeline.workspace, reports["normalized"])
        if result.check is checks.AUDIO_COMPLETE
    )
    assert not complete.passed
    assert [name for name, _ in complete.examples] == ["gap.webm"]
    assert "gaps: The timestamps jump: 2.5 s" in complete.sentence


def test_normalized_audio_lost_between_two_steps_fails_the_step_with_a_remedy(pipeline: StepPipeline) -> None:
    pipeline.write_silence("a.wav")
    key = pipeline.form_batch()
    pipeline.run(key, STEPS[:2])
    (pipeline.data / "input_audio" / "a.wav.wav").unlink()
    with pytest.raises(
        StepFailedError, match=r"a\.wav\.wav is gone\. Run the whole batch again: the normalized step makes it"
    ):
        pipeline.run(key, ["transcript"])
    assert pipeline.get_states(key) == {"a.wav": State.NORMALIZED}
    pipeline.run(key)
    assert pipeline.get_states(key) == {"a.wav": State.DONE}


def test_an_unknown_batch_is_an_error(pipeline: StepPipeline) -> None:
    with pytest.raises(LookupError, match="There is no batch 'batch-x'"):
        pipeline.run("batch-x", ["transcript"])
