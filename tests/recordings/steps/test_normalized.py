"""The ``normalized`` step: errors that only decoding shows."""

from __future__ import annotations

import numpy as np

from recordings.states import State, Step
from recordings.steps import verify
from recordings.steps.normalized import NormalizeOptions
from tests.recordings.step_pipeline import (
    StepPipeline,
    count_worked,
    expected_outputs,
)
from tests.speech.audio.encodings import TrackSource, make_syllables, write_tracks


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


def test_of_several_audio_tracks_the_ledger_has_what_was_taken_and_a_check_names_what_was_left_out(
    pipeline: StepPipeline,
) -> None:
    pipeline.write_silence("one.wav")
    sounds = [make_syllables(3, seed=seed) for seed in range(3)]
    tracks = [
        TrackSource(sound, language=language) for sound, language in zip(sounds, ("eng", "eng", "deu"), strict=True)
    ]
    write_tracks(pipeline.raw / "film.mkv", TrackSource(np.zeros(48_000), language="eng"), *tracks)
    reports = pipeline.run(pipeline.form_batch(), ("raw", "normalized"))
    members = {member.delivery.name: member.recording for member in reports["normalized"].members}
    film, one = members["film.mkv"], members["one.wav"]
    assert film is not None
    assert one is not None
    assert one.tracks is None
    assert film.tracks == (
        "4 audio tracks. 1 (eng): silent; 2 (eng): transcribed; 3 (eng): transcribed; 4 (deu): left out, in another language"
    )
    assert film.channels == 2
    assert set(film.step_flags[Step.NORMALIZED]) == {"tracks_left_out"}
    *_, complete = verify.check_normalized(pipeline.workspace, reports["normalized"])
    assert not complete.passed
    assert "film.mkv: tracks_left_out: Of 4 audio tracks these were not transcribed: 4 (deu)" in complete.sentence
