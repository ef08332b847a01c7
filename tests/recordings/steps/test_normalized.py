"""The ``normalized`` step: errors that only decoding shows."""

from __future__ import annotations

from recordings.states import State
from recordings.steps.normalized import NormalizeOptions
from tests.recordings.step_pipeline import (
    StepPipeline,
    count_worked,
    expected_outputs,
)


def test_a_recording_that_is_too_long_is_quarantined_and_a_retry_with_other_options_finishes_it(
    pipeline: StepPipeline,
) -> None:
    pipeline.write_silence("long.wav")
    pipeline.write_silence("longer.wav")
    key = pipeline.form_batch()
    with_limit = NormalizeOptions(max_hours=0.115 / 3600)  # between the two
    assert count_worked(pipeline.run(key, normalize=with_limit)) == {"normalized": 1, "transcript": 1, "enriched": 1}
    state, kind, reason = pipeline.get_outcome("longer.wav")
    assert (state, kind) == (State.QUARANTINED, "too_long")
    assert reason
    assert pipeline.get_outcome("long.wav")[0] is State.DONE
    assert set(pipeline.list_outputs()) == expected_outputs("long.wav")
    pipeline.workspace.ledger.reset_for_retry(pipeline.workspace.ledger.list_broken())
    second_key = pipeline.form_batch()
    pipeline.run(second_key)
    assert pipeline.get_states(second_key) == {"longer.wav": State.DONE}
