"""The ``transcript`` step: when a model is loaded, and what happens without a GPU or without audio."""

from __future__ import annotations

import pytest

from recordings.states import State
from recordings.steps.runner import StepFailedError
from speech.asr.model_pool import EngineConfig
from speech.asr.whisper import DeviceUnavailableError
from speech.models.registry import Weights
from tests.recordings.step_pipeline import (
    STEPS,
    StepPipeline,
)


def test_a_silent_batch_loads_no_model(pipeline: StepPipeline, base_weights: Weights) -> None:
    pipeline.weights = base_weights
    pipeline.write_silence("a.wav")
    key = pipeline.form_batch()
    pipeline.run(key)
    assert [engine.is_loaded for engine in pipeline.engines] == [False]
    assert pipeline.get_states(key) == {"a.wav": State.DONE}


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
