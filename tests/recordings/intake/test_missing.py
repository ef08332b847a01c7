"""Outputs of finished recordings that were deleted or damaged are found, and made anew from what is left."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from recordings.batches import BatchLimits
from recordings.intake.bucket_scan import BucketScanCursor, BucketScanLimits
from recordings.intake.intake import form_batches, scan_bucket
from recordings.intake.missing import MissingOutputs, Restoration, iter_all_missing, iter_missing_of, restore_outputs
from recordings.ledger.ledger import Ledger
from recordings.states import State
from recordings.steps.enriched import EnrichOptions
from recordings.workspace import Workspace
from tests.recordings.backends import BucketBackend
from tests.recordings.step_pipeline import StepPipeline, count_worked, expected_outputs


def list_missing(pipeline: StepPipeline, options: EnrichOptions | None = None) -> dict[str, str]:
    """Name -> the first step whose output is gone."""
    missing = iter_all_missing(pipeline.workspace, options or EnrichOptions())
    return {each.member.delivery.name: each.step.value for each in missing}


def restore(pipeline: StepPipeline, *names: str, folders: tuple[str, ...] = ()) -> Restoration:
    return restore_outputs(pipeline.workspace, iter_missing_of(pipeline.workspace, names, folders, EnrichOptions()))


def make_anew(pipeline: StepPipeline) -> dict[str, int]:
    """Run the batch of what waits. Returns step -> number of recordings it worked on."""
    (key,) = form_batches(pipeline.workspace, BatchLimits(), "test", max_batches=10)
    worked = count_worked(pipeline.run(key))
    assert set(pipeline.get_states(key).values()) == {State.DONE}
    return worked


def finish_in_bucket(backend: BucketBackend, ledger: Ledger, folder: Path) -> StepPipeline:
    """A bucket with one finished recording, ``a.wav``."""
    pipeline = StepPipeline(folder, Workspace(backend.store, ledger))
    sound = io.BytesIO()
    soundfile.write(sound, np.zeros(2000, np.int16), 16_000, format="WAV")
    backend.put(b"a.wav", sound.getvalue())
    scan_bucket(pipeline.workspace, BucketScanCursor(), BucketScanLimits())
    make_anew(pipeline)
    return pipeline


ALL = {"normalized": 1, "transcript": 1, "enriched": 1}


@pytest.mark.parametrize(
    ("deleted", "step", "worked"),
    [
        (["transcripts/a.wav.srt"], "enriched", {"normalized": 0, "transcript": 0, "enriched": 1}),
        (["annotations/a.wav.pauses.json"], "enriched", {"normalized": 0, "transcript": 0, "enriched": 1}),
        (["whisper_json/a.wav.json"], "transcript", {"normalized": 0, "transcript": 1, "enriched": 1}),
        (["input_audio/a.wav.wav"], "normalized", ALL),
        (["transcripts/a.wav.txt", "whisper_json/a.wav.json"], "transcript", {**ALL, "normalized": 0}),
        (["transcripts/a.wav.html", "input_audio/a.wav.wav"], "normalized", ALL),
    ],
)
def test_what_is_gone_is_made_anew_with_all_below_it(
    pipeline: StepPipeline, deleted: list[str], step: str, worked: dict[str, int]
) -> None:
    pipeline.write_silence("a.wav")
    pipeline.write_silence("other.wav")
    pipeline.run(pipeline.form_batch())
    assert list_missing(pipeline) == {}
    before = pipeline.list_outputs()
    for path in deleted:
        (pipeline.data / path).unlink()
    assert list_missing(pipeline) == {"a.wav": step}
    assert restore(pipeline, "other.wav").recordings_by_step == {}
    assert restore(pipeline, "a.wav") == Restoration({step: 1}, ())
    assert restore(pipeline, "a.wav").recordings_by_step == {}, "it waits already"
    assert make_anew(pipeline) == worked
    assert list_missing(pipeline) == {}
    assert set(pipeline.list_outputs()) == set(before)
    others = expected_outputs("other.wav")
    assert {path: pipeline.list_outputs()[path] for path in others} == {path: before[path] for path in others}


@pytest.mark.parametrize("path", ["input_audio/a.wav.wav", "transcripts/a.wav.html"])
def test_a_damaged_output_counts_as_gone(pipeline: StepPipeline, path: str) -> None:
    pipeline.write_silence("a.wav")
    pipeline.run(pipeline.form_batch())
    whole = (pipeline.data / path).read_bytes()
    (pipeline.data / path).write_bytes(whole[: len(whole) // 2 if path.endswith(".wav") else 0])
    assert "a.wav" in list_missing(pipeline)
    assert sum(restore(pipeline, "a.wav").recordings_by_step.values()) == 1
    make_anew(pipeline)
    assert (pipeline.data / path).read_bytes() == whole
    assert list_missing(pipeline) == {}


def test_outputs_of_one_name_are_copied_from_another(pipeline: StepPipeline) -> None:
    pipeline.write_silence("a/1.wav", "b/1.wav")
    pipeline.run(pipeline.form_batch())
    for path in expected_outputs("b/1.wav"):
        (pipeline.data / path).unlink()
    (pipeline.raw / "b/1.wav").unlink()
    assert list_missing(pipeline) == {"b/1.wav": "normalized"}
    assert restore(pipeline, folders=("c/", "a0/")).recordings_by_step == {}
    assert restore(pipeline, folders=("b/",)).recordings_by_step == {"normalized": 1}
    assert make_anew(pipeline) == {"normalized": 0, "transcript": 0, "enriched": 1}
    assert list_missing(pipeline) == {}


def test_what_cannot_be_made_is_named_and_the_rest_is_kept(pipeline: StepPipeline) -> None:
    pipeline.write_silence("a.wav")
    key = pipeline.form_batch()
    pipeline.run(key)
    (pipeline.raw / "a.wav").rename(pipeline.data / "kept")
    (pipeline.data / "input_audio/a.wav.wav").unlink()
    (only,) = restore(pipeline, "a.wav").impossible
    assert only.has_results, "only what steps read is gone"
    (pipeline.data / "transcripts/a.wav.txt").unlink()
    restored = restore(pipeline, "a.wav")
    (hopeless,) = restored.impossible
    assert (restored.recordings_by_step, hopeless.has_results, len(hopeless.found)) == ({}, False, 2)
    assert pipeline.workspace.ledger.list_waiting(10) == []
    assert pipeline.get_states(key) == {"a.wav": State.DONE}
    (pipeline.data / "kept").rename(pipeline.raw / "a.wav")
    assert restore(pipeline, folders=("",)).recordings_by_step == {"normalized": 1}
    assert make_anew(pipeline) == ALL


def test_formats_that_were_not_asked_for_are_not_missed(pipeline: StepPipeline) -> None:
    pipeline.write_silence("a.wav")
    pipeline.run(pipeline.form_batch(), enrich=EnrichOptions(page=False))
    assert list_missing(pipeline) == {}
    assert list_missing(pipeline, EnrichOptions(page=False)) == {}


def test_outputs_in_a_bucket_are_made_anew(
    make_bucket: Callable[..., BucketBackend], sqlite_ledger: Ledger, tmp_path: Path
) -> None:
    backend = make_bucket()
    pipeline = finish_in_bucket(backend, sqlite_ledger, tmp_path)
    assert list_missing(pipeline) == {}
    client, store = backend.client, backend.store
    for key in ("transcripts/a.wav.srt", "whisper_json/a.wav.json"):
        bucket, _, place = store.locate(key).removeprefix("s3://").partition("/")
        client.delete_object(Bucket=bucket, Key=place)
    (found,) = iter_all_missing(pipeline.workspace, EnrichOptions())
    assert isinstance(found, MissingOutputs)
    assert found.found == (
        f"{store.locate('whisper_json/a.wav.json')} is gone",
        f"{store.locate('transcripts/a.wav.srt')} is gone",
    )
    assert restore(pipeline, "a.wav").recordings_by_step == {"transcript": 1}
    assert make_anew(pipeline) == {"normalized": 0, "transcript": 1, "enriched": 1}
    assert list_missing(pipeline) == {}
