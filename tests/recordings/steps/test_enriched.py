"""The ``enriched`` step: a few failures and many failures."""

from __future__ import annotations

import pytest

from recordings.states import State
from recordings.steps.runner import StepFailedError
from tests.recordings.step_pipeline import (
    STEPS,
    StepPipeline,
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
