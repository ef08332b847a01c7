"""A bounded look at outputs finds what people deleted, and goes round; what was removed to make room stays away."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from recordings.intake.audit import FOLDER_AUDIT, SAMPLE_AUDIT, AuditLimits, audit_outputs
from recordings.intake.missing import Restoration
from recordings.ledger.audits import Audit
from recordings.ledger.ledger import Ledger
from recordings.steps.enriched import EnrichOptions
from tests.recordings.backends import BucketBackend
from tests.recordings.intake.test_missing import finish_in_bucket, make_anew
from tests.recordings.step_pipeline import StepPipeline

NOTHING = Restoration({}, ())
NO_SAMPLE = AuditLimits(recordings=0)


def audit(pipeline: StepPipeline, limits: AuditLimits | None = None) -> Restoration:
    return audit_outputs(pipeline.workspace, EnrichOptions(), limits)


def read_audit(pipeline: StepPipeline, name: str) -> Audit:
    return next(each for each in pipeline.workspace.ledger.list_audits() if each.name == name)


def let_pass(folder: Path, seconds: float) -> None:
    """Let the folder, and all folders below it, have changed so long ago."""
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            changed = path.stat().st_mtime - seconds
            os.utime(path, (changed, changed))


def test_looks_go_on_where_they_stopped_and_begin_again_after_the_last(pipeline: StepPipeline) -> None:
    names = [f"{i:02}.wav" for i in range(12)]
    for name in names:
        pipeline.write_silence(name)
    pipeline.run(pipeline.form_batch())
    five = AuditLimits(recordings=5, seconds=60)
    in_turn = [sha256 for sha256, _ in pipeline.workspace.ledger.list_recordings_after("", 20)]
    for last in (4, 9, 2, 7):
        assert audit(pipeline, five) == NOTHING
        found = read_audit(pipeline, SAMPLE_AUDIT)
        assert (found.looked_at, found.cursor) == (5, in_turn[last])
    assert found.sentence == "all outputs of 5 of 12 finished recordings are there"
    assert audit(pipeline, AuditLimits(recordings=99, seconds=60)) == NOTHING
    assert read_audit(pipeline, SAMPLE_AUDIT).looked_at == 12, "none twice"

    (pipeline.data / "transcripts/11.wav.txt").unlink()
    no_time = AuditLimits(recordings=0, seconds=0)
    assert audit(pipeline, no_time) == NOTHING
    assert read_audit(pipeline, FOLDER_AUDIT).sentence == (
        "all outputs of 10 finished recordings in folders that changed, as far as 09.wav are there"
    )
    assert audit(pipeline, no_time) == Restoration({"enriched": 1}, ())


def test_the_sample_finds_what_no_folder_shows(pipeline: StepPipeline) -> None:
    pipeline.write_silence("a.wav")
    pipeline.write_silence("b.wav")
    pipeline.run(pipeline.form_batch())
    audit(pipeline)
    (pipeline.data / "transcripts/b.wav.txt").unlink()
    let_pass(pipeline.data, 100_000)
    assert audit(pipeline, NO_SAMPLE) == NOTHING
    assert read_audit(pipeline, FOLDER_AUDIT).looked_at == 0
    assert audit(pipeline) == Restoration({"enriched": 1}, ())
    found = read_audit(pipeline, SAMPLE_AUDIT)
    assert (found.looked_at, found.wrong) == (2, 1)
    assert found.sentence == "among 2 of 2 finished recordings, 1 lacked outputs that are made anew"


def test_a_deletion_shows_in_its_folder_and_other_folders_cost_nothing(pipeline: StepPipeline) -> None:
    pipeline.write_silence("old/a.wav")
    pipeline.write_silence("new/b.wav")
    pipeline.run(pipeline.form_batch())
    assert audit(pipeline, NO_SAMPLE) == NOTHING
    let_pass(pipeline.data, 100_000)

    (pipeline.data / "input_audio/old/a.wav.wav").rename(pipeline.data / "kept")
    assert audit(pipeline, NO_SAMPLE) == NOTHING, "nobody reads the audio"
    found = read_audit(pipeline, FOLDER_AUDIT)
    assert (found.looked_at, found.wrong) == (1, 1)
    assert found.sentence.endswith("1 lacked only what later steps read, which stays away")
    (pipeline.data / "kept").rename(pipeline.data / "input_audio/old/a.wav.wav")
    let_pass(pipeline.data, 100_000)

    (pipeline.data / "transcripts/old/a.wav.vtt").unlink()
    assert audit(pipeline, NO_SAMPLE) == Restoration({"enriched": 1}, ())
    assert read_audit(pipeline, FOLDER_AUDIT).looked_at == 1
    make_anew(pipeline)
    let_pass(pipeline.data, 100_000)

    shutil.rmtree(pipeline.data / "transcripts/old")
    assert audit(pipeline, NO_SAMPLE) == Restoration({"enriched": 1}, ())
    make_anew(pipeline)
    let_pass(pipeline.data, 100_000)
    assert audit(pipeline, NO_SAMPLE) == NOTHING
    assert read_audit(pipeline, FOLDER_AUDIT).looked_at == 0


def test_what_cannot_be_made_is_told(pipeline: StepPipeline) -> None:
    pipeline.write_silence("a.wav")
    pipeline.run(pipeline.form_batch())
    for path in ("raw_audio/a.wav", "input_audio/a.wav.wav", "transcripts/a.wav.txt"):
        (pipeline.data / path).unlink()
    for _ in range(2):
        (only,) = audit(pipeline).impossible
        assert only.member.delivery.name == "a.wav"
    assert "1 lacked outputs that cannot be made anew" in read_audit(pipeline, SAMPLE_AUDIT).sentence


def test_a_bucket_has_the_sample_alone(
    make_bucket: Callable[..., BucketBackend], sqlite_ledger: Ledger, tmp_path: Path
) -> None:
    backend = make_bucket()
    pipeline = finish_in_bucket(backend, sqlite_ledger, tmp_path)
    assert audit(pipeline) == NOTHING
    bucket, _, place = backend.store.locate("transcripts/a.wav.srt").removeprefix("s3://").partition("/")
    backend.client.delete_object(Bucket=bucket, Key=place)
    assert audit(pipeline) == Restoration({"enriched": 1}, ())
    make_anew(pipeline)
    assert [each.name for each in pipeline.workspace.ledger.list_audits()] == [SAMPLE_AUDIT]
    assert backend.store.exists("transcripts/a.wav.srt")
