"""What the steps share: delivered files that change, errors of a recording, and errors of the machine."""

from __future__ import annotations

import logging
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from recordings.states import State
from recordings.steps.normalized import NormalizeOptions
from recordings.steps.runner import StepFailedError
from tests.recordings.step_pipeline import (
    PROJECT,
    StepPipeline,
    expected_outputs,
    write_five,
)


def test_a_finished_recording_keeps_its_outputs_if_they_cannot_be_made_again(
    pipeline: StepPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """Users move recordings away when they are done. A changed option must not undo their results."""
    pipeline.write_silence("a.wav")
    key = pipeline.form_batch()
    pipeline.run(key)
    before = pipeline.list_outputs()
    (pipeline.raw / "a.wav").unlink()
    with caplog.at_level(logging.WARNING, "stt"):
        pipeline.run(key, normalize=NormalizeOptions(max_hours=1))
    assert "a.wav stays as it is" in caplog.text
    assert pipeline.get_states(key) == {"a.wav": State.DONE}
    assert pipeline.list_outputs() == before


@pytest.mark.parametrize("when", ["before it was ever read", "before it was normalized"])
def test_a_recording_that_was_removed_is_quarantined_with_the_reason(pipeline: StepPipeline, when: str) -> None:
    pipeline.write_silence("gone.wav")
    pipeline.write_silence("good.wav")
    key = pipeline.form_batch()
    if when == "before it was normalized":
        pipeline.run(key, ["raw"])
    (pipeline.raw / "gone.wav").unlink()
    pipeline.run(key)
    removed = "gone.wav was removed before it could be read. Deliver it again."
    assert pipeline.get_outcome("gone.wav") == (State.QUARANTINED, "changed", removed)
    assert pipeline.get_outcome("good.wav")[0] is State.DONE
    assert set(pipeline.list_outputs()) == expected_outputs("good.wav")


@pytest.mark.parametrize("when", ["before it was ever read", "before it was normalized"])
def test_a_recording_that_changed_is_quarantined_and_its_new_bytes_are_a_new_delivery(
    pipeline: StepPipeline, when: str
) -> None:
    """Half old and half new bytes would be a recording that nobody delivered."""
    pipeline.write_silence("a.wav")
    size = (pipeline.raw / "a.wav").stat().st_size
    key = pipeline.form_batch()
    if when == "before it was normalized":
        pipeline.run(key, ["raw"])
    pipeline.write_silence("a.wav")
    pipeline.run(key)
    state, kind, reason = pipeline.get_outcome("a.wav")
    assert (state, kind) == (State.QUARANTINED, "changed")
    assert f"a.wav changed after it was seen with {size} bytes" in reason
    assert pipeline.list_outputs() == {}

    newer = pipeline.form_batch()
    pipeline.run(newer)
    assert pipeline.get_states(newer) == {"a.wav": State.DONE}
    assert pipeline.get_states(key) == {"a.wav": State.QUARANTINED}


def corrupt(pipeline: StepPipeline, *names: str) -> None:
    for name in names:
        (pipeline.data / "input_audio" / f"{name}.wav").write_bytes(b"damaged")


def test_a_few_unexpected_errors_fail_these_recordings_and_a_retry_finishes_them(pipeline: StepPipeline) -> None:
    names = write_five(pipeline)
    key = pipeline.form_batch()
    pipeline.run(key, ["raw", "normalized"])
    corrupt(pipeline, names[0])
    pipeline.run(key, ["transcript", "enriched"])
    state, kind, reason = pipeline.get_outcome(names[0])
    assert (state, kind) == (State.FAILED, "error")
    assert reason.startswith("The transcript step failed on it: ValueError: ")
    assert "is no normalized audio" in reason
    assert "`stt retry`" in reason
    assert [pipeline.get_outcome(name)[0] for name in names[1:]] == [State.DONE] * 4

    assert pipeline.workspace.ledger.reset_for_retry(pipeline.workspace.ledger.list_broken()) == 1
    retry_key = pipeline.form_batch()
    pipeline.run(retry_key)
    assert pipeline.get_states(retry_key) == {names[0]: State.DONE}


def test_errors_in_more_than_half_fail_the_step_and_recordings_keep_their_state(pipeline: StepPipeline) -> None:
    """A lost mount or a bad build breaks a whole batch; its recordings should not each need a retry."""
    names = write_five(pipeline)
    key = pipeline.form_batch()
    pipeline.run(key, ["raw", "normalized"])
    corrupt(pipeline, *names[:3])
    with pytest.raises(
        StepFailedError, match=r"^3 of 5 recordings failed in the transcript step.*is no normalized audio"
    ):
        pipeline.run(key, ["transcript"])
    assert pipeline.get_states(key) == dict.fromkeys(names[:3], State.NORMALIZED) | dict.fromkeys(
        names[3:], State.TRANSCRIBED
    )
    assert pipeline.workspace.ledger.list_broken() == []

    for name in names[:3]:
        (pipeline.data / "input_audio" / f"{name}.wav").unlink()
    pipeline.run(key)
    assert set(pipeline.get_states(key).values()) == {State.DONE}


LIMITED_STEP = """
import resource, sys
from pathlib import Path
from recordings.ledger.ledger import Ledger
from recordings.steps import normalized, raw
from recordings.storage.directory import DirectoryStore
from recordings.workspace import Workspace

root, ledger, key, step, limit = sys.argv[1:]
workspace = Workspace(DirectoryStore(Path(root)), Ledger.open(ledger))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
if step == "raw":
    raw.run(workspace, key, print)
else:
    normalized.run(workspace, key, normalized.NormalizeOptions(), print)
"""


@pytest.mark.parametrize(
    ("step", "limit", "error"),
    [
        ("normalized", 500_000, "OSError: [Errno 27] File too large"),
        ("raw", 4096, "LedgerError: The ledger sqlite:///"),
    ],
)
def test_a_full_disk_fails_the_step_and_every_recording_keeps_its_state(
    pipeline: StepPipeline, step: str, limit: int, error: str
) -> None:
    """A limit on file size stands for a full disk: a minute of audio does not fit, or a page of the ledger."""
    minute = pipeline.raw / "minute.flac"
    soundfile.write(minute, np.zeros(60 * 16_000, np.int16), 16_000)
    key = pipeline.form_batch()
    if step == "normalized":
        pipeline.run(key, ["raw"])
    ledger = pipeline.workspace.ledger.address
    result = subprocess.run(
        [sys.executable, "-c", LIMITED_STEP, str(pipeline.data), ledger, key, step, str(limit)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert error in result.stderr.splitlines()[-1]
    assert pipeline.get_states(key) == {"minute.flac": State.RECEIVED}
    assert pipeline.list_outputs() == {}, "no partial file is left"
    pipeline.run(key)
    assert pipeline.get_states(key) == {"minute.flac": State.DONE}
