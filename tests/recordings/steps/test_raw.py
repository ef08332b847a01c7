"""The ``raw`` step: what is not audio is quarantined, and so is a name whose outputs cannot be written."""

from __future__ import annotations

import os

import pytest
import soundfile

from recordings.states import State
from tests.recordings.step_pipeline import (
    StepPipeline,
    expected_outputs,
)


def test_files_that_are_not_audio_are_quarantined_and_the_others_go_on(pipeline: StepPipeline) -> None:
    pipeline.write_silence("good.wav")
    (pipeline.raw / "page.mp3").write_text("<html>Please log in</html>")
    (pipeline.raw / "empty.wav").touch()
    key = pipeline.form_batch()
    report = pipeline.run(key)["enriched"]
    assert pipeline.get_states(key) == {
        "good.wav": State.DONE,
        "page.mp3": State.QUARANTINED,
        "empty.wav": State.QUARANTINED,
    }
    assert {m.delivery.name for m in report.broken} == {"page.mp3", "empty.wav"}
    assert (report.counts[State.DONE], report.counts[State.QUARANTINED]) == (1, 2)
    assert pipeline.get_outcome("page.mp3")[1] == "not_audio"
    assert pipeline.get_outcome("empty.wav")[1] == "empty"
    assert set(pipeline.list_outputs()) == expected_outputs("good.wav")


def test_options_that_cannot_be_used_quarantine_their_recording_alone(pipeline: StepPipeline) -> None:
    pipeline.write_silence("good.wav", "same.wav", "bad.wav")
    (pipeline.raw / "bad.wav.options.yaml").write_text("promt: Anna\n")
    (pipeline.raw / "same.wav.options.yaml").write_text("prompt: Anna\n")
    key = pipeline.form_batch()
    pipeline.run(key)
    assert pipeline.get_states(key) == {
        "good.wav": State.DONE,
        "same.wav": State.DONE,
        "bad.wav": State.QUARANTINED,
    }
    _, kind, reason = pipeline.get_outcome("bad.wav")
    assert kind == "options"
    assert "bad.wav.options.yaml cannot be used: there is no option 'promt'; options are language, prompt" in reason
    (pipeline.raw / "bad.wav.options.yaml").write_text("prompt: Anna\n")
    corrected = pipeline.form_batch()
    pipeline.run(corrected)
    assert pipeline.get_states(corrected) == {"bad.wav": State.DONE}
    totals = pipeline.workspace.ledger.count_totals()
    assert totals.is_consistent
    assert totals.states[State.QUARANTINED] == 0, "nobody has to mend the wrong options any more"
    assert pipeline.workspace.ledger.list_broken() == []


def test_options_that_come_before_the_end_are_not_called_other_bytes(pipeline: StepPipeline) -> None:
    pipeline.write_silence("a.wav")
    key = pipeline.form_batch()
    pipeline.run(key, ["raw", "normalized"])
    (pipeline.raw / "a.wav.options.yaml").write_text("prompt: Anna")
    newer = pipeline.form_batch()
    pipeline.run(newer)
    pipeline.run(key)
    (member,) = pipeline.workspace.ledger.list_members(key)
    assert (
        member.shown_reason
        == "The options of a.wav came or changed before it was finished. Its newer delivery has them."
    )
    assert pipeline.get_states(newer) == {"a.wav": State.DONE}


@pytest.mark.parametrize("name", ["a.wav.options.yml", "a.wav.OPTIONS.yaml"])
def test_a_misspelt_file_of_options_is_told_its_right_name(pipeline: StepPipeline, name: str) -> None:
    pipeline.write_silence("a.wav")
    (pipeline.raw / name).write_text("prompt: Anna")
    pipeline.run(pipeline.form_batch())
    assert "Options of a recording are read from NAME.options.yaml" in pipeline.get_outcome(name)[2]


def test_options_that_come_later_make_a_new_delivery_that_supersedes_the_first(pipeline: StepPipeline) -> None:
    pipeline.write_silence("a.wav", "twin.wav")
    first = pipeline.form_batch()
    pipeline.run(first)
    path = pipeline.raw / "a.wav.options.yaml"
    path.write_text("prompt: Anna")
    second = pipeline.form_batch()
    pipeline.run(second)
    (member,) = pipeline.workspace.ledger.list_members(second)
    assert member.recording is not None
    assert (member.state, member.recording.options) == (State.DONE, {"prompt": "Anna"})
    assert {m.delivery.name: m.superseded for m in pipeline.workspace.ledger.list_members(first)} == {
        "a.wav": True,
        "twin.wav": False,
    }
    path.unlink()
    third = pipeline.form_batch()
    pipeline.run(third)
    (member,) = pipeline.workspace.ledger.list_members(third)
    assert member.recording is not None
    assert (member.state, member.recording.options) == (State.DONE, {})
    assert member.recording.sha256 == member.recording.bytes_sha256


def test_options_that_come_between_scan_and_step_say_so(pipeline: StepPipeline) -> None:
    pipeline.write_silence("a.wav")
    key = pipeline.form_batch()
    (pipeline.raw / "a.wav.options.yaml").write_text("prompt: Anna")
    pipeline.run(key)
    state, kind, reason = pipeline.get_outcome("a.wav")
    assert (state, kind) == (State.QUARANTINED, "changed")
    assert "The options file of a.wav came, changed or went" in reason
    newer = pipeline.form_batch()
    pipeline.run(newer)
    assert pipeline.get_states(newer) == {"a.wav": State.DONE}


def test_a_superseded_delivery_ends_and_changes_no_output(pipeline: StepPipeline) -> None:
    pipeline.write_silence("a.wav")
    older = pipeline.form_batch()
    pipeline.run(older, ["raw", "normalized"])
    pipeline.write_silence("a.wav")
    newer = pipeline.form_batch()
    pipeline.run(newer)
    before = pipeline.list_outputs()
    pipeline.run(older)
    (member,) = pipeline.workspace.ledger.list_members(older)
    assert member.state is State.QUARANTINED
    assert "a.wav was replaced by newer bytes before it was finished" in str(member.shown_reason)
    assert pipeline.get_states(newer) == {"a.wav": State.DONE}
    assert pipeline.list_outputs() == before


def test_older_bytes_put_back_with_their_old_time_are_worked_on_again(pipeline: StepPipeline) -> None:
    pipeline.write_silence("a.wav")
    path = pipeline.raw / "a.wav"
    older, status = path.read_bytes(), path.stat()
    pipeline.run(pipeline.form_batch())
    pipeline.write_silence("a.wav")
    pipeline.run(pipeline.form_batch())
    path.write_bytes(older)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    third = pipeline.form_batch()
    pipeline.run(third)
    assert pipeline.get_states(third) == {"a.wav": State.DONE}
    assert soundfile.info(pipeline.data / "input_audio" / "a.wav.wav").duration == soundfile.info(path).duration
    assert pipeline.workspace.ledger.count_totals().inputs == 2
    pipeline.run(third)
    with pytest.raises(ValueError, match="not enough values"):
        pipeline.form_batch()  # nothing new waits


def test_a_file_that_was_gone_and_comes_back_unchanged_is_worked_on(pipeline: StepPipeline) -> None:
    pipeline.write_silence("a.wav")
    path = pipeline.raw / "a.wav"
    key = pipeline.form_batch()
    path.rename(pipeline.data / "away.wav")
    pipeline.run(key)
    assert pipeline.get_outcome("a.wav")[:2] == (State.QUARANTINED, "changed")
    (pipeline.data / "away.wav").rename(path)
    pipeline.run(pipeline.form_batch())
    assert pipeline.get_outcome("a.wav")[0] is State.DONE


@pytest.mark.parametrize("first", ["the file", "the folder", "both at once"])
def test_a_name_whose_outputs_cannot_be_written_is_quarantined_alone(pipeline: StepPipeline, first: str) -> None:
    """``x.wav`` needs the file ``input_audio/x.wav.wav``; recordings below ``x.wav.wav/`` need a folder of that name."""
    files = {"the file": ["x.wav"], "the folder": ["x.wav.wav/y.wav"], "both at once": ["x.wav", "x.wav.wav/y.wav"]}[
        first
    ]
    pipeline.write_silence(*files)
    pipeline.run(pipeline.form_batch())
    pipeline.write_silence("good.wav", *({"x.wav", "x.wav.wav/y.wav"} - set(files)))
    pipeline.run(pipeline.form_batch())
    loser = "x.wav.wav/y.wav" if first == "the file" else "x.wav"
    state, kind, reason = pipeline.get_outcome(loser)
    assert (state, kind) == (State.QUARANTINED, "name")
    assert "x.wav.wav" in reason
    assert "Rename the recording" in reason
    winner = ({"x.wav", "x.wav.wav/y.wav"} - {loser}).pop()
    states = {m.delivery.name: m.state for m in pipeline.workspace.ledger.list_newest(10)}
    assert (states[winner], states["good.wav"]) == (State.DONE, State.DONE)


def test_a_path_too_long_for_its_outputs_is_quarantined_alone(pipeline: StepPipeline) -> None:
    """The path of the input is just short enough for the file system; the path of its output is not."""
    room = 4095 - len(os.fsencode(pipeline.raw)) - len("/x.wav") - 1
    parts = ["d" * 200] * (room // 201)
    parts.append("d" * (room - 201 * len(parts)))
    deep = "/".join(part for part in parts if part)
    pipeline.write_silence("good.wav")
    long = pipeline.raw / deep / "x.wav"
    long.parent.mkdir(parents=True)
    long.write_bytes((pipeline.raw / "good.wav").read_bytes())
    key = pipeline.form_batch()
    pipeline.run(key)
    state, kind, reason = pipeline.get_outcome(f"{deep}/x.wav")
    assert (state, kind) == (State.QUARANTINED, "name")
    assert "longer than the file system allows" in reason
    assert pipeline.get_outcome("good.wav")[0] is State.DONE
